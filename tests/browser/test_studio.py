"""The studio in a real browser, with models whose steps the test lets go one by one."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from PIL import Image

import attn
from tests.browser.conftest import watched
from tests.helpers.browsing.axe import violations
from tests.helpers.studio.plugin import NO_DISK, NO_MEMORY, STEP, STEPS

ROOT = Path(__file__).parents[2]
HOSTILE = 'a red square <img src=x onerror="document.title=1">'
PATIENCE = 60_000


@contextmanager
def running(steps, *arguments, read="stdout", **environment):
    """Run a studio of models that are held, by a pipe of that name; yield what it prints.

    What it puts aside is taken away at its end.
    """
    command = [sys.executable, "-m", "tests.helpers.studio.held", *arguments]
    aside = steps.with_name(f"aside-{read}")
    aside.mkdir()
    environment = os.environ | environment | {STEPS: str(steps), "TMPDIR": str(aside)}
    pipe = {read: subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipe) as process:
        yield getattr(process, read)
        process.terminate()
        process.communicate()
    assert list(aside.glob("attn-*")) == []


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    """Return the path of the pipe that steps are let go by, and its end here."""
    path = tmp_path_factory.mktemp("held") / "steps"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    yield SimpleNamespace(path=path, end=end)
    os.close(end)


@pytest.fixture
def let(pipe):
    """Return what lets steps go; what a test before has left is taken out."""
    with suppress(BlockingIOError):
        os.read(pipe.end, 999)
    return lambda count, byte=STEP: os.write(pipe.end, byte * count)


@pytest.fixture(scope="module")
def studio(pipe, tmp_path_factory):
    """Serve the studio: `url`, `path`, `worker`."""
    runs = tmp_path_factory.mktemp("studio") / "runs"
    with running(pipe.path, "studio", "--no-browser", "--json", "-o", str(runs)) as printed:
        yield SimpleNamespace(**json.loads(printed.readline()))


@contextmanager
def opened(browser, address, path="/"):
    """Open the page of a family, once it says what a run would keep."""
    at = urlsplit(address)
    with watched(browser, at.netloc) as page:
        page.set_default_timeout(PATIENCE)
        if path != "/" and at.query:  # the address with the token leads to the first page
            value = at.query.partition("token=")[2]
            name, url = f"attn_{at.port}", f"http://{at.netloc}"
            page.context.add_cookies([{"name": name, "value": value, "url": url}])
        page.goto(at._replace(path=path).geturl())
        told(page, "plan", "^3 steps")
        yield page


@pytest.fixture
def pad(studio, chromium):
    """The page of the first family, which reads drawings."""
    with opened(chromium, studio.url) as page:
        yield page


@pytest.fixture
def page(studio, chromium):
    """The page of the other one."""
    with opened(chromium, studio.url, "/with-held-words") as page:
        yield page


def told(page, box, pattern):
    """Wait until a text stands in a box, and return all that stands there."""
    from playwright.sync_api import expect

    area = page.locator(f".{box} textarea")
    expect(area).to_have_value(re.compile(pattern), timeout=PATIENCE)
    return area.input_value()


def fill(page, name, value):
    """Type into a field, and leave it."""
    box = page.locator(f".field-{name}").locator("input, textarea").first
    box.fill(value)
    box.blur()


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def draw(page):
    """Draw a stroke with the mouse: the first thing that is done with the pad."""
    box = page.locator(".pad canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y - 50)
    page.mouse.down()
    page.mouse.move(x + 60, y - 50, steps=2)
    page.mouse.move(x + 60, y + 50, steps=2)
    page.evaluate(LISTEN)
    page.mouse.up()
    assert page.evaluate("said") == "Planning …"


LISTEN = """document.addEventListener("pointerup", () => {
    window.said = document.querySelector(".plan textarea").value;
}, true)"""
"""Keeps what stands in place of the plan in the moment in which a stroke ends."""


def begin(page, count):
    """Begin a run of so many steps."""
    page.get_by_label("Analyse when it is done").uncheck()
    fill(page, "steps", str(count))
    told(page, "plan", f"^{count} steps")
    press(page, "Run")


def tab_to(page, role, name, key="Tab"):
    """Press Tab until something has the focus, once it can have it."""
    from playwright.sync_api import expect

    target = page.get_by_role(role, name=re.compile(f"^{re.escape(name)}")).first
    expect(target).to_be_enabled(timeout=PATIENCE)
    for _ in range(200):
        page.keyboard.press(key)
        if target.evaluate("node => node === document.activeElement"):
            return
    raise AssertionError(f"Tab does not lead to {role} {name}")


def has_focus(page, name):
    """Wait until a button has the focus."""
    from playwright.sync_api import expect

    expect(page.get_by_role("button", name=name, exact=True)).to_be_focused(timeout=PATIENCE)


def type_at(page, role, name, text):
    """Go to a field by Tab, and type into it in place of what is there."""
    tab_to(page, role, name)
    page.keyboard.press("Control+A")
    page.keyboard.type(text)


def enter(page, role, name):
    """Go to something by Tab, and press Enter there."""
    tab_to(page, role, name)
    page.keyboard.press("Enter")


def frame_of(page):
    return page.frame_locator("iframe.explorer")


def test_draw_watch_and_compare(pad, let):
    """A drawing is run and watched step by step, and then compared with a run without it."""
    page = pad
    told(page, "plan", "nothing is drawn")
    draw(page)
    told(page, "plan", "something is drawn")
    page.get_by_label("Prompt", exact=True).fill(HOSTILE)
    begin(page, 5)
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option").first.click()  # the same, so what was typed stays
    for step in (1, 2, 3):
        let(1)
        told(page, "progress", f"^Step {step} of 5 · noise left")
        frame_of(page).get_by_text(f"Not finished: {step} of 5 steps are here").wait_for()
    page.locator("img.forming").wait_for()
    assert " --out " not in told(page, "command", " --sketch ")
    let(2)
    told(page, "progress", "^Done: 5 steps")
    told(page, "plan", "^5 steps, .* s a step as in the last run like it")
    assert violations(page) == []
    assert "<img src=x onerror" in frame_of(page).locator("body").inner_text()
    assert page.title() == "attn studio"

    press(page, "Again without the drawing")
    let(5)
    told(page, "command", "--sketch none")
    told(page, "progress", "^Done: 5 steps")
    page.locator("iframe.explorer[src*=',']").wait_for()
    frame_of(page).get_by_text(re.compile("held-without-drawing-a-red")).first.wait_for()
    page.get_by_role("tab", name="Gallery").click()
    listed = page.frame_locator("iframe.explorer[src*='index']")
    listed.get_by_text("a red square <img").nth(1).wait_for()


NO_PICTURES = {
    "large.png": (bytes(9 * 2**20), "large.png has 9.0 MB; a picture may have 8 MB."),
    "text.png": (b"a text", "text.png is no picture that the browser can read"),
}


def test_pictures_that_are_sent(pad, let, tmp_path):
    """A picture that is sent is the drawing, without the bars beside it; of others is said why."""
    page = pad
    page.get_by_role("button", name="Image", exact=True).click()
    for name, (data, said) in NO_PICTURES.items():
        send(page, name, data)
        page.get_by_text(said).wait_for()
    Image.new("RGB", (3000, 2000), "red").save(tmp_path / "red.png")  # more than is decoded here
    send(page, "red.png", (tmp_path / "red.png").read_bytes())
    page.get_by_role("button", name="Undo", exact=True).and_(page.locator(":enabled")).wait_for()
    assert page.locator(".refusal").inner_text() == ""
    begin(page, 2)
    let(2)
    told(page, "progress", "^Done: 2 steps")
    words = shlex.split(told(page, "command", " --sketch "))
    with Image.open(words[words.index("--sketch") + 1]) as sent:
        assert sent.size == (384, 256)


def test_cancel_and_two_tabs(page, let):
    """A run ends after its step, one that waits before it begins, and each tab shows its own.

    A page that is loaded again finds its run.
    """
    begin(page, 5)
    let(1)
    told(page, "progress", "^Step 1 of 5")
    page.reload()
    told(page, "progress", "^Step 1 of 5")
    other = page.context.new_page()
    other.goto(page.url)
    told(other, "plan", "The plan follows when the run, or its analysis, is over.")
    press(other, "Run")
    told(other, "progress", "^Waiting: 1 run first")
    press(other, "Cancel")
    told(other, "progress", "^Cancelled before the first step")
    press(page, "Cancel")
    told(page, "progress", "It ends after this step")
    let(1)
    text = told(page, "progress", "^Cancelled after step 2 of 5")
    trace = attn.open(text.splitlines()[0].partition(": ")[2])
    assert (trace.manifest.status, len(trace.steps)) == ("partial", 2)
    frame_of(page).get_by_text("Not finished: 2 of 5 steps").wait_for()
    told(other, "progress", "^Cancelled before the first step")
    told(other, "plan", "^3 steps")
    broken = other.get_by_label("Families that cannot be used").input_value()
    assert re.search("^lost: .*No module named 'flash_lost'", broken)


def test_killed_worker(page, let, studio):
    """A worker that is killed fails its run with a message, and the next one has another."""
    begin(page, 5)
    let(1)
    told(page, "progress", "^Step 1 of 5")
    os.kill(studio.worker, signal.SIGKILL)
    text = told(page, "progress", "^Failed after step 1 of 5")
    assert "the process that held the model was ended by signal 9 (SIGKILL)" in text
    press(page, "Run")
    let(5)
    told(page, "progress", "^Done: 5 steps")


def test_without_loras(page, let, studio):
    """A LoRA is chosen by name; the run is made again without it, and its page is saved.

    Once the run's folder is gone, it is said why neither is done.
    """
    runs = Path(studio.path)
    page.get_by_role("button", name=re.compile("^LoRAs")).click()
    page.get_by_label("LoRA 1", exact=True).click()
    page.get_by_role("option").nth(1).click()
    begin(page, 2)
    let(2)
    told(page, "command", " --lora ")
    press(page, "Again without the LoRAs")
    let(2)
    told(page, "command", "^((?! --lora ).)*$")
    page.locator("iframe.explorer[src*=',']").wait_for()
    frame_of(page).get_by_text(re.compile("held-words-without-loras-a-red")).first.wait_for()
    press(page, "One-file page")
    with page.expect_download() as saving:
        page.locator(".files a[download]").first.click()
    assert re.search(r"held-words-without-loras-a-red.*\.html$", saving.value.suggested_filename)
    assert saving.value.path().read_bytes().startswith(b"<!doctype html>")
    rmtree(next(path for path in runs.glob("*-without-loras-*") if path.is_dir()))
    press(page, "One-file page")
    told(page, "progress", "^The page was not written: .* does not exist")
    press(page, "Analyse")
    told(page, "progress", "^The analysis failed: could not read .*trace.json")


def test_by_keyboard_alone(pad, let):
    """Shapes are typed; run, cancel, run again, comparison and gallery need no mouse either."""
    page = pad
    enter(page, "button", "Draw by keyboard")
    type_at(page, "textbox", "Shapes, one a line", "circle 50 50 30")
    enter(page, "button", "Draw these")
    told(page, "plan", "something is drawn")
    type_at(page, "spinbutton", "Steps", "5")
    tab_to(page, "checkbox", "Analyse when it is done")
    page.keyboard.press("Space")
    tab_to(page, "button", "Run")
    told(page, "plan", "^5 steps")
    page.keyboard.press("Enter")
    for step in (1, 2, 3):
        let(1)
        told(page, "progress", f"^Step {step} of 5")
    has_focus(page, "Cancel")
    page.keyboard.press("Enter")
    told(page, "progress", "It ends after this step")
    let(1)
    told(page, "progress", "^Cancelled after step 4 of 5")
    has_focus(page, "Run")
    page.keyboard.press("Enter")
    let(5)
    told(page, "progress", "^Done: 5 steps")
    has_focus(page, "Run")
    tab_to(page, "checkbox", "Analyse when it is done", "Shift+Tab")
    page.keyboard.press("Space")
    enter(page, "button", "Again without the drawing")
    let(5)
    page.locator("iframe.explorer[src*=',']").wait_for()
    page.locator(".figures img[src*='attention_evolution.gif']").first.wait_for()
    enter(page, "tab", "Gallery")
    page.locator("iframe.explorer[src*='index']").wait_for()


def test_words_and_what_is_missing(page, let):
    """A text is shown as it is written; a run that lacks memory or disk says what to do."""
    begin(page, 5)
    let(2)
    told(page, "text-so-far", "^word word ░$")
    let(1, NO_MEMORY)
    text = told(page, "progress", "^Failed after step 2 of 5: the memory is not enough")
    assert "try a smaller 'Size' or fewer 'Images'" in text
    press(page, "Run")
    let(1)
    told(page, "progress", "^Step 1 of 5")
    let(1, NO_DISK)
    let(4)
    told(page, "progress", "^Failed after step .*: could not write .*: no space left on the disk")


def send(page, name, data):
    """Send a file to the pad."""
    file = {"name": name, "mimeType": "image/png", "buffer": data}
    page.locator(".pad input[type=file]").set_input_files(file)


def test_space(chromium, pipe, let, tmp_path):
    """The example for a hosted Space starts, lets a browser in without a token, and runs.

    It tells no paths of its machine.
    """
    app = str(ROOT / "examples/space/app.py")
    runs = str(tmp_path / "runs")
    with running(pipe.path, "script", app, read="stderr", PORT="0", ATTN_RUNS=runs) as printed:
        lines = (re.search(r"running on http://0.0.0.0:(\d+)", line) for line in printed)
        port = next(filter(None, lines))[1]
        with opened(chromium, f"http://localhost:{port}/", "/with-held-words") as page:
            begin(page, 2)
            let(2)
            assert str(tmp_path) not in told(page, "progress", "^Done: 2 steps, .* in runs/2")
            frame_of(page).locator(".about").wait_for()
            for frame in page.frames:
                assert str(tmp_path) not in frame.content()
