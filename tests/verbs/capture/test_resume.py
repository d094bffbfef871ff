"""Resuming a capture: equal to an unbroken one, and never mixed with another one."""

import fcntl
import json
import os
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import attn
from attn import demo
from attn.backends.testing import FakeBackend
from attn.errors import CaptureError, ModelError, RequestError, TraceError, UsageError
from attn.files.disk import AGAIN
from attn.verbs.analyze.analyze import analyze
from attn.verbs.capture import manifest as manifests
from attn.verbs.capture.capture import capture
from attn.verbs.capture.collection import read_collection, read_index, write_index
from attn.verbs.capture.remains import find_previous
from attn.verbs.capture.resume import DAMAGED
from attn.verbs.report import Report
from tests.helpers.editing import edit, unsealed
from tests.helpers.toy_runs import capture_fake, contents, use_fake

PROMPTS = ["a red cat", "a dog", "a bad idea", "trees", "rain"]
"""With batches of two: two whole ones, of which one fails, and half a one."""
TAIL = ". Nothing was changed; ask for the same run, or choose another folder with --out"


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Capture with the fake family."""
    use_fake(monkeypatch.setattr)


@pytest.fixture
def out(tmp_path):
    """Where a run goes."""
    return tmp_path / "run"


class Told(Report):
    """Keeps notes; presses Ctrl-C after some steps."""

    def __init__(self, stop=None):
        super().__init__()
        self.notes, self.stop, self.steps = [], stop, []

    def note(self, text):
        self.notes.append(text)

    def progress(self, done, total, written):
        self.steps.append((done, total))
        if done == self.stop:
            raise KeyboardInterrupt


def run(out, prompts=PROMPTS, *, stop=None, **arguments):
    """Capture a collection in batches of two, up to some step of the whole job."""
    given = {"batch": 2, "resume": True, "report": Told(stop)} | arguments
    if stop is None:
        return capture_fake(out, prompts, **given)
    with pytest.raises(KeyboardInterrupt):
        capture_fake(out, prompts, **given)
    return None


def resumed(out, prompts=PROMPTS, **arguments):
    """Resume; return what the run told."""
    report = Told()
    run(out, prompts, report=report, **arguments)
    return report


def times(folder):
    """Return when every file of a folder was last written, and as which file."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def whole(tmp_path):
    """What an unbroken run leaves."""
    run(tmp_path / "whole", resume=False)
    return contents(tmp_path / "whole")


@pytest.mark.parametrize("stop", range(1, 9))
def test_resumed_equals_unbroken(out, whole, stop):
    """Wherever a run breaks, the resumed one has the same bytes in the same files."""
    run(out, stop=stop)
    assert contents(out) != whole
    run(out)
    assert contents(out) == whole


def test_traces_that_do_not_spell_their_tokens(out):
    """What was captured before the spelling of tokens was kept is kept, not made again."""
    run(out, ["a dog"], stop=None)
    pieces = set()
    edit(
        out / "trace.json",
        lambda manifest: pieces.update(token.pop("piece") for token in manifest["tokens"]["cond"]),
    )
    assert pieces > {"a", "dog"}
    before = times(out)
    run(out, ["a dog"])
    assert times(out) == before


def test_broken_again_and_again(out, whole):
    """Also if the resumed run breaks itself, at every one of its steps."""
    for stop in (1, 2, 3, 1, 2, 3):
        run(out, stop=stop)
    run(out)
    assert contents(out) == whole


def test_finished_traces_are_not_touched(out):
    """What is complete is neither written nor made again."""
    run(out, stop=3)
    before = times(out / "0000") | times(out / "0001")
    report = resumed(out)
    assert times(out / "0000") | times(out / "0001") == before
    assert report.notes[-1] == f"resuming {out}: 2 of 5 traces are complete; 19.5 kB to write"
    assert report.steps[0] == (1, 4)


def test_half_a_batch(out, whole):
    """If one of a batch is missing all are made, for the same bits, and only the one is written."""
    run(out)
    shutil.rmtree(out / "0001")
    before = times(out / "0000")
    run(out)
    assert contents(out) == whole
    assert times(out / "0000") == before
    run(out.parent / "alone", PROMPTS[1:2])
    assert (out.parent / "alone" / SHARD).read_bytes() != whole[f"0001/{SHARD}"]


def test_nothing_to_do(out, whole, monkeypatch):
    """A finished run is told as such, and the model does not run."""
    prompts = PROMPTS[:2]
    run(out, prompts)
    before = times(out / "0000")
    monkeypatch.setattr(FakeBackend, "open", unable_to_generate(FakeBackend.open))
    report = resumed(out, prompts)
    assert report.notes[-1] == f"nothing to do: all 2 traces in {out} are complete"
    assert times(out / "0000") == before


def unable_to_generate(real):
    """Open a session that must not generate."""

    def opened(*arguments, **keywords):
        session = real(*arguments, **keywords)
        session.generate = lambda *_: pytest.fail("generated")
        return session

    return opened


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_single_trace(out, tmp_path, stop):
    """A single trace that is partial is made again whole; one that is complete is left."""
    run(tmp_path / "whole", "a cat", resume=False, steps=4)
    run(out, "a cat", stop=stop, steps=4)
    assert attn.open(out).manifest.status == "partial"
    run(out, "a cat", steps=4)
    assert contents(out) == contents(tmp_path / "whole")
    before = times(out)
    report = resumed(out, "a cat", steps=4)
    assert report.notes[-1] == f"nothing to do: {out} is complete"
    assert times(out) == before


@pytest.mark.parametrize("is_there", [False, True])
def test_nothing_to_resume(out, whole, is_there):
    """A job script can always say --resume: without an earlier run it is an ordinary one."""
    if is_there:
        out.mkdir()
    run(out)
    assert contents(out) == whole


def test_debris(out, whole):
    """What a process leaves that was killed before it began to write is no earlier run."""
    (out / "attention").mkdir(parents=True)
    (out / ".attn-probe").touch()
    (out / "index.json.77.part").write_text("{")
    (out / "trace.json.77.part").touch()
    run(out)
    assert contents(out) == whole


def test_debris_in_a_single_trace(out, tmp_path):
    """The same of a single trace, which is made without --resume here."""
    run(tmp_path / "whole", "a cat", resume=False)
    (out / "attention").mkdir(parents=True)
    (out / "trace.json.77.part").touch()
    run(out, "a cat", resume=False)
    assert contents(out) == contents(tmp_path / "whole")


def flip(path):
    """Change the last byte of a file."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def paint(path):
    """Change a picture, but not what its text says."""
    with Image.open(path) as picture:
        info = PngInfo()
        for name in ("prompt", "seed"):
            info.add_text(name, picture.info[name])
        Image.eval(picture, lambda value: 255 - value).save(path, pnginfo=info)


SHARD = "attention/step-0001.safetensors"
DAMAGES = {
    "short shard": (SHARD, lambda path: os.truncate(path, 9), " has 9 bytes, expected "),
    "flipped byte": (SHARD, flip, " has SHA-256 "),
    "no shard": (SHARD, Path.unlink, ": the file or its folder does not exist."),
    "no picture": ("outputs/image.png", Path.unlink, ": the file or its folder does not exist."),
    "half a picture": (
        "outputs/image.png",
        lambda path: os.truncate(path, 99),
        " has SHA-256 ",
    ),
    "cut journal": (
        "attention/shards.jsonl",
        lambda path: os.truncate(path, 9),
        " lists other shards than trace.json",
    ),
    "edited manifest": (
        "trace.json",
        lambda path: path.write_text(
            unsealed(path.read_text()).replace('"special": true', '"special": false')
        ),
        " has other tokens than this run gives",
    ),
    "no steps": (
        "trace.json",
        lambda path: path.write_text(
            re.sub(r'"steps": \[.*?\]', '"steps": []', unsealed(path.read_text()), flags=re.S)
        ),
        " makes no sense: it lists other steps than its shards are of",
    ),
    "edited request": (
        "trace.json",
        lambda path: path.write_text(
            unsealed(path.read_text()).replace('"guidance": 3.0', '"guidance": 4.0')
        ),
        " is of another request than index.json lists: guidance: 4.0 → 3.0",
    ),
    "no outputs": (
        "trace.json",
        lambda path: path.write_text(
            re.sub(r'"outputs": \[.*?\]', '"outputs": []', unsealed(path.read_text()), flags=re.S)
        ),
        " lists no outputs",
    ),
    "the picture of another trace": (
        "outputs/image.png",
        lambda path: shutil.copy(path.parents[2] / "0001" / "outputs" / "image.png", path),
        " has SHA-256 ",
    ),
    "a painted picture": ("outputs/image.png", paint, " has SHA-256 "),
    "flipped manifest": ("trace.json", flip, " is not a valid trace: "),
    "no manifest": ("trace.json", lambda path: path.write_text("{"), " is not a valid trace: "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_trace(out, whole, damage):
    """A trace that says complete but is damaged is made again, with a warning of what is wrong."""
    file, spoil, message = DAMAGES[damage]
    run(out)
    spoil(out / "0003" / file)
    before = times(out / "0004")
    (warning,) = (item for item in resumed(out).warnings if "damaged" in item)
    where = out / "0003" / file
    assert warning.startswith("a trace is damaged and will be made again: ")
    assert f"{where}{message}" in warning
    assert AGAIN not in warning
    (out / "0003" / DAMAGED).unlink(missing_ok=True)
    assert contents(out) == whole
    assert times(out / "0004") == before


def test_damaged_single_trace(out, tmp_path):
    """Also of a single trace, as long as its manifest says what it is."""
    run(tmp_path / "whole", "a cat", resume=False)
    run(out, "a cat")
    flip(out / SHARD)
    run(out, "a cat")
    assert contents(out) == contents(tmp_path / "whole")


def test_a_broken_off_repair(out, whole):
    """A damaged trace is partial from the moment it is given up: it is never listed as complete."""
    run(out)
    flip(out / "0003" / SHARD)
    run(out, stop=1)
    assert attn.open(out / "0003").manifest.status == "partial"
    assert read_index(out)[3].status == "pending"
    run(out)
    assert contents(out) == whole


INDEX_DAMAGES = {
    "flipped": flip,
    "empty": lambda path: path.write_text(""),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "journal": lambda path: path.with_suffix(".jsonl").write_text("{\n{\n"),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("stop", [None, 3], ids=["finished", "broken"])
@pytest.mark.parametrize("damage", INDEX_DAMAGES)
def test_damaged_index(out, whole, damage, stop):
    """A collection whose index is damaged goes on from its traces, which are left as they are."""
    run(out, stop=stop)
    INDEX_DAMAGES[damage](out / "index.json")
    (out / "notes.txt").write_text("mine")
    before = times(out / "0000") | times(out / "0001")
    (warning,) = (item for item in resumed(out).warnings if "the index will be" in item)
    assert str(out / "index.json") in warning
    assert times(out / "0000") | times(out / "0001") == before
    assert contents(out) == whole | {"notes.txt": b"mine"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"prompts": PROMPTS[:1]}, "traces: 5 → 1"),
        ({"prompts": PROMPTS[:3]}, "traces: 5 → 3"),
        ({"prompts": ["a blue cat", *PROMPTS[1:]]}, "0000: prompt: a red cat → a blue cat"),
        ({"steps": 3}, "0000: steps: 2 → 3"),
        ({"keep": "heads"}, "0000: keep: maps → heads"),
    ],
    ids=["single", "fewer", "prompt", "steps", "keep"],
)
def test_damaged_index_of_another_run(out, other, message):
    """Without its index a collection is still not mixed with another run, nor changed."""
    run(out)
    flip(out / "index.json")
    before = times(out)
    with pytest.raises(UsageError) as error:
        run(out, **other)
    assert str(error.value) == f"{out} holds another run than this one (was → now): {message}{TAIL}"
    assert times(out) == before


def test_damaged_index_of_many(out):
    """Without an index the traces keep the order of the run, also beyond four digits."""
    run(out, PROMPTS[:2])
    (out / "index.json").write_text("{")
    wishes = [attn.open(out / "0000").manifest.request] * 10007
    folders = [entry.folder for entry in find_previous(out, wishes).entries]
    assert folders == [f"{index:04d}" for index in range(10007)]


def test_damaged_index_and_trace(out, whole):
    """Where a trace does not say either what it is, the message tells which folder is to go."""
    run(out)
    flip(out / "index.json")
    flip(out / "0003" / "trace.json")
    before = times(out)
    with pytest.raises(TraceError) as error:
        run(out)
    assert (
        f"Put one of the two files back as it was written; or move the folder {out / '0003'} "
        in (str(error.value))
    )
    assert times(out) == before
    (out / "0003").rename(out.parent / "elsewhere")
    run(out)
    assert contents(out) == whole


@pytest.mark.parametrize("stop", [None, 1], ids=["finished", "broken"])
def test_damaged_manifest(out, tmp_path, stop):
    """A single trace with a damaged manifest is made again as is asked now; the file is kept."""
    run(tmp_path / "whole", "a cat", resume=False)
    run(out, "a cat", stop=stop)
    flip(out / "trace.json")
    damaged = (out / "trace.json").read_bytes()
    (warning,) = (item for item in resumed(out, "a cat").warnings if "damaged" in item)
    assert warning.endswith(f"It is kept as {DAMAGED}")
    assert (out / DAMAGED).read_bytes() == damaged
    (out / DAMAGED).unlink()
    assert contents(out) == contents(tmp_path / "whole")


def test_damaged_manifest_of_another_request(out):
    """A picture says what it is of: another request does not take its place."""
    run(out, "a cat")
    flip(out / "trace.json")
    before = times(out)
    with pytest.raises(UsageError, match="prompt: a cat → a dog"):
        run(out, "a dog")
    assert times(out) == before


def test_foreign_manifest(out):
    """A trace.json that cannot be read might be anybody's: a single one is not overwritten."""
    out.mkdir()
    (out / "trace.json").write_text('{"traceEvents": []}')
    with pytest.raises(TraceError, match=r"trace\.json is not a valid trace: "):
        run(out, "a cat")
    assert (out / "trace.json").read_text() == '{"traceEvents": []}'


@pytest.mark.parametrize("file", ["notes.txt", "index.json"])
def test_foreign_folder(out, file):
    """A folder with something else in it is refused, and left as it is."""
    out.mkdir()
    (out / file).write_text("mine")
    with pytest.raises(TraceError) as error:
        run(out)
    assert str(error.value) in {
        f"{out} holds no capture that could be resumed, but notes.txt; choose another folder "
        "with --out",
        f"{out / 'index.json'} is not the index of a collection: JSON is malformed: invalid "
        "character (byte 0). Its traces can be opened one by one. Nothing was changed, since no "
        f"folder beside it ({out / '0000'}, …) holds a trace that says what was captured here. "
        "Put the file back as it was written; or rename or remove it, and run the same command "
        "again, if nothing else is in the folder; or choose another folder with --out",
    }
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(file, "mine")]


def test_not_out_of_reach(out, monkeypatch):
    """What cannot be read just now is no damage: a finished trace is not thrown away for it."""
    run(out)

    def refuse(*arguments):
        try:
            raise PermissionError(13, "Permission denied")
        except PermissionError as exc:
            raise TraceError("could not read it: permission denied.") from exc

    monkeypatch.setattr("attn.verbs.capture.resume.open_files", refuse)
    before = times(out)
    with pytest.raises(TraceError, match="permission denied"):
        run(out)
    assert times(out) == before


OTHER = [
    ({"steps": 3}, "steps: 2 → 3"),
    ({"size": (24, 16)}, "size: 16,24 → 24,16"),
    ({"guidance": 1.0}, "guidance: 3.0 → 1.0"),
    ({"negative": "dogs"}, "negative: '' → dogs"),
    ({"images": 2}, "images: 1 → 2"),
    ({"batch": 1}, "batch: 2 → 1"),
    ({"keep": "heads"}, "keep: maps → heads"),
    ({"keys": "all"}, "keys: content → all"),
    ({"mass": "full"}, "mass: text → full"),
    ({"entropy": True}, "entropy: no → yes"),
    ({"layers": "0,2"}, "layers: 0,2,3 → 0,2"),
    ({"branch": "both"}, "branches: cond → cond,uncond"),
    ({"blocks": "image.image"}, "layers: 0,2,3 → 0,1,4; blocks: image.text → image.image"),
    ({"dtype": "bfloat16"}, "dtype: float32 → bfloat16"),
    ({"settings": {"skip_scale": "0.7"}}, "--set skip_scale: 0.5 → 0.7"),
    ({"seed": 3}, "0000: seed: 0 → 3; 0001: seed: 0 → 3"),
    ({"seed": (0, 1)}, "traces: 2 → 4"),
    ({"prompts": ["a cat", "a fox"]}, "0001: prompt: a dog → a fox"),
    ({"prompts": ["a cat"]}, "traces: 2 → 1"),
    (
        {"steps": 3, "guidance": 1.0, "keep": "mass", "keys": "all", "entropy": True},
        "steps: 2 → 3; guidance: 3.0 → 1.0; keep: maps → mass; and 2 more",
    ),
]


@pytest.mark.parametrize(("other", "message"), OTHER, ids=lambda value: str(value)[:30])
def test_another_run(out, other, message):
    """Whatever is asked for in another way is named, was and now, and nothing is changed."""
    prompts = ["a cat", "a dog"]
    run(out, prompts, stop=1)
    before = times(out)
    with pytest.raises(UsageError) as error:
        run(out, **{"prompts": prompts} | other)
    expected = f"{out} holds another run than this one (was → now): {message}{TAIL}"
    assert ordered(str(error.value)) == ordered(expected)
    assert times(out) == before


def test_another_run_where_all_is_finished(out):
    """Also where there is nothing left to do."""
    run(out, ["a cat", "a dog"])
    with pytest.raises(UsageError, match="steps: 2 → 3"):
        run(out, ["a cat", "a dog"], steps=3)


def ordered(message):
    """Return a message with the differences in alphabetical order."""
    head, _, tail = message.partition("(was → now): ")
    return head, sorted(tail.removesuffix(TAIL).split("; "))


@pytest.mark.parametrize("stop", [None, 1], ids=["finished", "broken"])
def test_another_single_run(out, stop):
    """A single trace knows its prompt itself."""
    run(out, "a cat", stop=stop)
    with pytest.raises(UsageError) as error:
        run(out, "a dog", seed=2)
    expected = f"{out} holds another run than this one (was → now): prompt: a cat → a dog; "
    assert str(error.value) == f"{expected}seed: 0 → 2{TAIL}"
    with pytest.raises(UsageError, match="traces: 1 → 2"):
        run(out, ["a cat", "a dog"])


def test_another_family(out):
    """Another family is told before its model is loaded."""
    run(out, PROMPTS[:2])
    edit(out / "index.json", lambda index: index["run"].update(backend="sdxl"))
    with pytest.raises(UsageError, match="backend: sdxl → fake"):
        run(out, PROMPTS[:2])


def test_other_columns(out):
    """A tokenizer that splits a prompt in another way is found where the model has no hash."""
    run(out, PROMPTS[:2])
    path = out / "0001" / "trace.json"
    edit(path, lambda manifest: manifest["kept"]["columns"].pop(0))
    with pytest.raises(UsageError, match=r"0001: columns of its maps: \w+ \d"):
        run(out, PROMPTS[:2])


def test_an_index_that_says_less(out, whole):
    """An index without the run's facts is resumed by what its traces say."""
    run(out, stop=3)
    write_index(out, read_index(out))
    with pytest.raises(UsageError, match="steps: 2 → 3"):
        run(out, steps=3)
    run(out)
    assert contents(out) == whole


def test_failed_traces_are_tried_again(out, monkeypatch):
    """What failed is made when its reason is gone; the failure is no part of it."""
    run(out)
    assert [item.status for item in read_index(out)][2] == "failed"
    report = resumed(out)
    assert report.notes[-1].startswith(
        f"resuming {out}: 4 of 5 traces are complete, 1 failed and will be tried again; "
    )
    monkeypatch.setattr("attn.verbs.capture.capture.guarded", lambda registered: FakeBackend())
    done = run(out)
    assert [item.status for item in done.entries] == ["complete"] * 5
    assert attn.open(out / "0002").manifest.warnings == ()


def test_without_a_folder():
    """The default folder is new each time, so that there is nothing to resume."""
    with pytest.raises(UsageError, match=r"^resume: say which folder to go on with, with --out"):
        run(None)


def test_two_at_once(out):
    """Two processes never write into one folder, whoever comes first."""
    run(out, stop=3)
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(TraceError) as error:
        run(out)
    os.close(handle)
    assert str(error.value) == (
        f"another capture is writing into {out}; wait for its end, or choose another folder "
        "with --out"
    )
    run(out)


def test_results_of_a_partial_trace(out):
    """Pictures of half a trace do not stay beside the whole one; a person's own files do."""
    run(out, "a cat", stop=1)
    analyze(out)
    (out / "notes.txt").write_text("mine")
    (out / "attention" / "notes.txt").write_text("mine")
    run(out, "a cat")
    assert not (out / "analysis").exists()
    assert (out / "notes.txt").read_text() == (out / "attention" / "notes.txt").read_text()


@pytest.mark.parametrize(
    "name",
    [
        *("analysis/notes.txt", "attention/step-0000.safetensors.bak", "attention/.tmp-notes"),
        *("outputs/draft.v2.part", "trace.json.old.part", ".attn-scratch-mine0000/new/notes.txt"),
    ],
)
def test_files_of_others(out, name):
    """What a person has in a trace stays when that is made again, whatever it is called."""
    run(out, "a cat", stop=1)
    analyze(out, pictures=False)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine")
    run(out, "a cat")
    assert (out / name).read_text() == "mine"
    assert not (out / "analysis" / "analysis.json").exists()


@pytest.mark.parametrize("link", ["0001", "0001/attention", "0001/analysis"])
def test_links_out_of_a_run(out, tmp_path, link):
    """Nothing is written or removed through a link that leads out of the run."""
    run(out, stop=1)
    for folder in ("0001/attention", "0001/analysis"):
        (out / folder).mkdir(parents=True, exist_ok=True)
        (out / folder / "step-0000.safetensors").write_text("mine")
    (out / link).rename(tmp_path / "elsewhere")
    (out / link).symlink_to(tmp_path / "elsewhere")
    before, elsewhere = contents(tmp_path), contents(tmp_path / "elsewhere")
    with pytest.raises(TraceError, match=rf"{link} leads out of .*run, to .*elsewhere: nothing is"):
        run(out)
    assert contents(tmp_path / "elsewhere") == elsewhere
    assert before.items() <= contents(tmp_path).items()


def test_space_that_a_resumed_run_frees(out, monkeypatch):
    """Shards that are made again need no room beside themselves."""
    run(out, PROMPTS[:2])
    before = contents(out)
    flip(out / "0001" / SHARD)
    size = (out / "0001" / SHARD).stat().st_size
    usage = shutil.disk_usage(out)._replace(free=size // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    run(out, PROMPTS[:2])
    assert contents(out) == before


@pytest.mark.parametrize("folder", [".", "0001"])
def test_a_failure_leaves_other_files(out, monkeypatch, folder):
    """A trace that fails before its first step takes only its own files away."""
    prompts = ["a cat", "a dog"] if folder != "." else "a cat"
    run(out, prompts, stop=1)
    (out / folder / "notes.txt").write_text("mine")
    monkeypatch.setattr("attn.engine.run.Recorder", broken)
    with pytest.raises(CaptureError) if folder == "." else nullcontext():
        run(out, prompts)
    assert [path.name for path in (out / folder).iterdir()] == ["notes.txt"]


def broken(*arguments):
    """Fail before the first step."""
    raise CaptureError("the dog ate it")


def test_budget_of_the_rest(out):
    """Only what is still to be written counts against the budget."""
    done = run(out, stop=3)
    with pytest.raises(
        RequestError, match=r"would write 19\.5 kB, more than the budget of 19\.0 kB"
    ):
        run(out, budget="19KB")
    done = run(out, budget="20KB")
    assert done.predicted_bytes > 30_000


def test_dry_run(out):
    """A dry run tells what would be made and changes nothing."""
    run(out, stop=3)
    before = times(out)
    report = Told()
    done = run(out, dry_run=True, report=report)
    expected = ["complete", "complete", "pending", "pending", "pending"]
    assert [entry.status for entry in done.entries] == expected
    assert report.notes[-1].startswith(f"resuming {out}: 2 of 5 traces are complete")
    assert times(out) == before


def test_other_surroundings(out):
    """Another torch, or another number of threads, may change the last bits: that is warned of."""
    run(out, stop=3)
    now = attn.open(out / "0000").manifest.environment["torch"]
    edit(out / "0000" / "trace.json", lambda manifest: manifest["environment"].update(torch="1.0"))
    assert (
        f"finished traces were made with something else (torch 1.0 → {now}), so the others may "
        "differ from an unbroken run in their last bits"
    ) in resumed(out).warnings


def test_seeds_of_numpy(out):
    """What a run was asked with is compared as it was written, whatever its types were."""
    run(out, "a cat", seed=np.arange(3), stop=1)
    assert read_collection(out).run.request["steps"] == 2
    done = run(out, "a cat", seed=range(3))
    assert [entry.status for entry in done.entries] == ["complete"] * 3


def test_interrupted_index(out):
    """The journal of a killed process is read, and gone when the next one begins."""
    run(out, stop=3)
    entries = read_index(out)
    pending = tuple(replace(entry, status="pending") for entry in entries)
    write_index(out, pending, read_collection(out).run)
    names = ("folder", "status", "error")
    lines = [{name: getattr(entry, name) for name in names} for entry in entries]
    journal = "".join(json.dumps(line) + "\n" for line in lines)
    (out / "index.jsonl").write_text(journal + '{"folder": "00')
    assert read_index(out) == entries
    run(out)
    assert not (out / "index.jsonl").exists()


@pytest.fixture
def model(demo_cache, tmp_path, monkeypatch):
    """A copy of a demo model, and the real families."""
    monkeypatch.undo()
    monkeypatch.setenv("ATTN_CACHE", str(demo_cache))
    return shutil.copytree(demo.checkpoint("sd35"), tmp_path / "model")


def real(out, model, **arguments):
    """Capture two traces with a real family."""
    given = {"steps": 1, "size": (32, 32), "guidance": 1.0, "device": "cpu"} | arguments
    return capture("sd35", ["a cat", "a dog"], model=model, out=out, resume=True, **given)


def test_another_model(out, model, tmp_path):
    """A model whose files changed is another one, though its name is the same."""
    with pytest.raises(KeyboardInterrupt):
        real(out, model, report=Told(2))
    shutil.rmtree(out / "0001")
    path = next(model.rglob("scheduler_config.json"))
    text = path.read_text()
    path.write_text(text + " ")
    before = times(out)
    with pytest.raises(UsageError) as error:
        real(out, model)
    assert "(was → now): 0000: model sha256: " in str(error.value)
    assert times(out) == before
    path.write_text(text)
    moved = model.rename(tmp_path / "elsewhere")
    assert [entry.status for entry in real(out, moved).entries] == ["complete"] * 2


def test_a_model_that_vanishes(out, model, monkeypatch):
    """A model that cannot be identified any more is an error, not a bug."""

    def vanish():
        raise FileNotFoundError(2, "No such file or directory")

    identify = manifests.identify
    with monkeypatch.context() as patch:
        patch.setattr(manifests, "identify", lambda info: identify(replace(info, identity=vanish)))
        with pytest.raises(ModelError, match=r"^cannot read the files of .* No such file or dir"):
            real(out, model)
    assert [item.status for item in read_index(out)] == ["pending"] * 2
    assert [item.status for item in real(out, model).entries] == ["complete"] * 2
