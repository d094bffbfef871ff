"""Runs that wait, one at a time, and what is said of them."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from attn.errors import UsageError
from attn.studio import studio
from attn.studio.child import Answer, Child
from attn.studio.jobs import ALONE_SECONDS, LEFT_SECONDS, MOST_WAITING, RunQueue, StudioRun
from attn.studio.options import StudioOptions
from attn.studio.telling import tell_job, tell_plan, tell_refusal
from attn.studio.worker.work import analyses_of
from tests.helpers import toy_texts, toy_traces
from tests.helpers.studio.scripted import ScriptedChild

REQUEST = {"backend": "toy", "prompt": "a cat"}
DONE = Answer("done", {})


class HeldChild:
    """Ends each order with an answer, once it may."""

    def __init__(self, answer=DONE):
        self.answer, self.may_end, self.began = answer, Event(), Event()

    def ask(self, order, tell):
        tell({"event": "step", "done": 1, "total": 3, "written": 7})
        self.began.set()
        assert self.may_end.wait(60)
        return self.answer

    def cancel(self):
        self.answer = Answer("cancelled", {})
        self.may_end.set()

    def stop(self):
        self.may_end.set()


@pytest.fixture
def queue_of(tmp_path):
    """Return a queue that a child works on."""
    made = []

    def make(child):
        made.append(RunQueue(child, tmp_path, lambda run: None))
        return made[-1]

    yield make
    for queue in made:
        queue.close()


def test_most_waiting(queue_of):
    """Sixteen wait behind the one that runs; one more is refused, and one that goes makes room."""
    child = HeldChild()
    queue = queue_of(child)
    queue.submit(REQUEST, is_analyzed=False)
    assert child.began.wait(60)
    waiting = [queue.submit(REQUEST, is_analyzed=False) for _ in range(MOST_WAITING)]
    with pytest.raises(UsageError, match="16 runs wait already"):
        queue.submit(REQUEST, is_analyzed=False)
    assert [queue.before(run) for run in waiting] == list(range(1, 17))
    queue.cancel(waiting[3])
    assert (waiting[3].status, queue.before(waiting[4])) == ("cancelled", 4)
    queue.submit(REQUEST, is_analyzed=False)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (DONE, "complete"),
        (Answer("failed", {"error": "no room"}), "failed"),
        (Answer("gone", {"error": "it is gone"}), "failed"),
    ],
)
def test_ends(answer, status, queue_of):
    """A run is followed to its end, whichever that is, and the next one is done."""
    child = HeldChild(answer)
    child.may_end.set()
    queue = queue_of(child)
    for _ in range(2):
        run = queue.submit(REQUEST, is_analyzed=False)
        *_, last = queue.follow(run)
        assert (last.status, last.error) == (status, answer.facts.get("error", ""))


def test_unexpected_error(queue_of, monkeypatch, capsys):
    """An error that nobody expects fails its run, and the next one is done."""
    child = HeldChild()
    child.may_end.set()
    queue = queue_of(child)
    with monkeypatch.context() as patch:
        patch.setattr("attn.studio.jobs.choose_folder", lambda *_: 1 // 0)
        *_, last = queue.follow(queue.submit(REQUEST, is_analyzed=False))
    assert last.error == "ZeroDivisionError: integer division or modulo by zero"
    assert "Traceback" in capsys.readouterr().err
    *_, last = queue.follow(queue.submit(REQUEST, is_analyzed=False))
    assert last.status == "complete"


def test_cancelled(queue_of):
    """The one that runs is ended by its worker."""
    child = HeldChild()
    queue = queue_of(child)
    run = queue.submit(REQUEST, is_analyzed=False)
    assert child.began.wait(60)
    queue.cancel(run)
    *_, last = queue.follow(run)
    assert tell_job(last, 0).startswith("Cancelled after step 1 of 3.")


def test_pages_that_were_closed(queue_of):
    """Runs of closed pages wait no more; one that goes on is found by another page, and ended."""
    child = HeldChild()
    queue = queue_of(child)
    run, waiting, last = (queue.submit(REQUEST, is_analyzed=False) for _ in range(3))
    assert child.began.wait(60)
    for each in (run, waiting, last):
        next(queue.follow(each))
    assert queue.find(run.key) is run
    assert queue.find("another") is queue.alone() is None
    waiting.seen -= LEFT_SECONDS
    run.seen -= ALONE_SECONDS
    assert (queue.alone(), queue.before(last)) == (run, 1)
    assert tell_job(waiting) == (
        "Cancelled before the first step.\n"
        "It was taken out of the queue: its page was closed for 60 s."
    )
    assert tell_job(last, 1, run) == (
        "Waiting: 1 run first.\n"
        "The first one's page was closed: the page 'toy', opened anew, shows and cancels it."
    )
    next(queue.follow(run))  # a page has it again
    assert queue.alone() is None
    queue.cancel(run)
    *_, over = queue.follow(run)
    assert over.status == "cancelled"


class OrderedChild(Child):
    """Ends each order once it may."""

    def __init__(self):
        super().__init__()
        self.began, self.may_end = Event(), Event()

    def _ask(self, order, tell):
        self.began.set()
        assert self.may_end.wait(60)
        return DONE


@pytest.mark.parametrize(("first", "is_done"), [("plan", True), ("capture", False)])
def test_what_is_waited_for(first, is_done):
    """A plan waits for another one to end, which is soon, and not for a run."""
    child = OrderedChild()
    with ThreadPoolExecutor() as pool:
        doing = pool.submit(child.ask, {"do": first})
        assert child.began.wait(60)
        asking = pool.submit(child.ask_soon, {"do": "plan"})
        if is_done:
            time.sleep(0.05)
            assert not asking.done()
            child.may_end.set()
        assert (asking.result(60) == DONE) == is_done
        child.may_end.set()
        assert doing.result(60) == DONE


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"status": "waiting"}, "Waiting: 2 runs first."),
        ({"status": "beginning"}, "Beginning …"),
        ({"status": "loading"}, "Loading the model …"),
        (
            {"status": "running", "done": 3, "total": 5, "seconds": 1.0, "written": 2000},
            "Step 3 of 5 · 0.5 s/step · 1 s left · 2.0 kB",
        ),
        (
            {"status": "running", "done": 3, "total": 5, "seconds": 1.0, "is_analyzed": True},
            "Step 3 of 5 · 0.5 s/step · 1 s left, then the analysis · 0 bytes",
        ),
        ({"status": "cancelled"}, "Cancelled before the first step."),
        ({"status": "failed", "error": "no room"}, "Failed: no room"),
        ({"status": "waiting", "remarks": ["a note"]}, "Waiting: 2 runs first.\na note"),
    ],
)
def test_what_is_said(facts, text):
    """A run is told in one line, with what is worth a remark below it."""
    assert tell_job(StudioRun(0, REQUEST, **facts), 2) == text


def test_plan_is_told():
    """A plan names its bytes, and its time where a run like it was timed."""
    plan = {"steps": 30, "level": "maps", "layers": 7, "bytes": 1_300_000, "warnings": ["short"]}
    assert tell_plan(plan, 4.0) == (
        "30 steps, maps of 7 layers: 1.3 MB; about 2 min 0 s, at 4 s a step as in the last run "
        "like it\nshort"
    )
    assert "is known after the first run like it" in tell_plan(plan, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "try a smaller --size or fewer --images, --dtype bfloat16, or --offload model",
            "try a smaller 'Size' or fewer 'Images', 'Dtype': bfloat16, or 'Offload': model",
        ),
        ("stretch it with --set fit=stretch", "stretch it with 'Fit': stretch"),
        ("leave --set ground out", "leave 'Ground' out"),
        ("--set text_encoder=PATH gives it.", "'Text encoder' gives it."),
        (
            "give one with --sketch FILE, or --sketch none for the model without one",
            "give one with 'Drawing', or 'Where nothing is drawn': none for the model without one",
        ),
        ("use --backend mmada; or --lora x.y", "use the page 'mmada'; or 'LoRA 1': x.y"),
        ("`attn lora F --model M`; --model", "`attn lora F --model M`; 'Model'"),
        (
            "with --resume, or another --out",
            "with --resume, or another --out (--resume is an option of attn capture.) "
            "(--out is an option of attn studio.)",
        ),
        ("a - b -- c", "a - b -- c"),
    ],
)
def test_options_are_fields(text, told):
    """What a message advises is named as it stands on the page, and commands stay commands."""
    assert tell_refusal(text) == f"This cannot run: {told}"
    assert tell_job(StudioRun(0, REQUEST, remarks=[text]), 2).endswith(told)


@pytest.mark.parametrize(
    ("manifest", "named"),
    [
        (toy_traces.manifest(), (None, "evolution")),
        (toy_traces.manifest(level="mass"), (None,)),
        (toy_texts.manifest(), (None,)),
    ],
)
def test_analyses(manifest, named):
    """A film is made of what has maps of a picture, and of nothing else."""
    assert analyses_of(manifest) == named


def test_worker_that_is_killed(monkeypatch):
    """Of a process that was killed is said what is known, and what may have been."""
    monkeypatch.setattr("attn.studio.child.COMMAND", ("/bin/sh", "-c", "kill -9 $$"))
    said = Child().ask({"do": "plan"}).facts["error"]
    assert re.search(
        r"was ended by signal 9 \(SIGKILL\), which somebody sent, or the system as", said
    )
    assert re.search(r"; [\d.]+ .B of memory are free now\. Its finished steps stay", said)


def test_names_in_messages(monkeypatch):
    """What the worker tells people is reworded before anybody has it."""
    answer = '{"event": "failed", "error": "/l/b", "warnings": ["/l/b"], "path": "/l/b"}'
    monkeypatch.setattr("attn.studio.child.COMMAND", ("/bin/echo", answer))
    child = Child(lambda text: text.replace("/l/", ""))
    facts = child.ask({"do": "plan"}).facts
    child.stop()
    assert facts == {"error": "b", "warnings": ["b"], "path": "/l/b"}


def test_worker_that_cannot_start(monkeypatch):
    """A process that ends at once ends its order, and is not waited for."""
    monkeypatch.setattr("attn.studio.child.COMMAND", ("/bin/false",))
    answer = Child().ask({"do": "plan"})
    assert answer.event == "gone"
    assert "was ended with exit code 1" in answer.facts["error"]


@pytest.fixture
def toy_studio(tmp_path, monkeypatch):
    """Return what makes a studio of one family."""
    monkeypatch.setattr(studio, "Child", ScriptedChild)
    monkeypatch.setattr(studio, "_first_family", lambda name: "toy")
    return lambda **how: studio.Studio(StudioOptions(out=tmp_path / "runs"), **how)


def test_paths_that_are_told(toy_studio, tmp_path, monkeypatch):
    """The command of a run can be pasted, and makes a folder; strangers are told no paths."""
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path / "cache"))
    drawing = tmp_path / "cache" / "drawings" / "drawing-1.png"
    run = StudioRun(0, REQUEST | {"sketch": str(drawing)})
    text = f"Done in {tmp_path}/runs/x, of {drawing}"
    for is_hosted, folder, sketch in [(False, f"{tmp_path}/", drawing), (True, "", drawing.name)]:
        made = toy_studio(is_hosted=is_hosted)
        command = f"attn capture -b toy -p 'a cat' --sketch {sketch}"
        assert made.reword(text) == f"Done in {folder}runs/x, of drawing-1.png"
        assert made.command(run) == command
        made.close()


def test_nothing_that_was_sent_stays(toy_studio):
    """What was sent to a server goes with it."""
    made = toy_studio()
    data = BytesIO()
    Image.new("RGB", (7, 5)).save(data, "PNG")
    kept = Path(made.uploads.keep(data.getvalue()))
    assert kept.exists()
    made.close()
    assert not kept.parent.exists()
