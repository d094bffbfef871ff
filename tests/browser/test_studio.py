"""The studio in a real browser, with models whose steps the test lets go one by one."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

import attn
from tests.browser.conftest import watched
from tests.helpers.studio.family import STEPS

ROOT = Path(__file__).parents[2]
HOSTILE = 'a red square <img src=x onerror="document.title=1">'
PATIENCE = 60_000


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Serve the studio of models that are held: `url`, `out`, `worker`, and `let` steps go."""
    root = tmp_path_factory.mktemp("studio")
    os.mkfifo(root / "steps")
    pipe = os.open(root / "steps", os.O_RDWR)
    command = [sys.executable, "-m", "tests.helpers.studio.held", "studio", "--no-browser"]
    command += ["--json", "-o", str(root / "runs")]
    environment = os.environ | {STEPS: str(root / "steps")}
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        facts = json.loads(process.stdout.readline())
        yield SimpleNamespace(
            **facts, out=root / "runs", let=lambda count: os.write(pipe, b"x" * count)
        )
        process.send_signal(signal.SIGINT)
    os.close(pipe)


@pytest.fixture
def page(studio, chromium):
    """The page of the first family, once it says what a run would keep."""
    with watched(chromium, urlsplit(studio.url).netloc) as page:
        page.set_default_timeout(PATIENCE)
        page.goto(studio.url)
        told(page, "plan", "^3 steps")
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
    page.mouse.up()


def begin(page, steps):
    """Begin a run of so many steps."""
    page.get_by_label("Analyse when it is done").uncheck()
    fill(page, "steps", str(steps))
    told(page, "plan", f"^{steps} steps")
    press(page, "Run")


def frame_of(page):
    return page.frame_locator("iframe.explorer")


def test_draw_watch_and_compare(page, studio):
    """A drawing is run and watched step by step, and then compared with a run without it."""
    draw(page)
    page.get_by_label("Prompt", exact=True).fill(HOSTILE)
    begin(page, 5)
    for step in (1, 2, 3):
        studio.let(1)
        told(page, "progress", f"^Step {step} of 5 · noise left")
        frame_of(page).get_by_text(f"Not finished: {step} of 5 steps are here").wait_for()
    page.locator("img.forming").wait_for()
    studio.let(2)
    told(page, "progress", "^Done: 5 steps")
    assert "<img src=x onerror" in frame_of(page).locator("body").inner_text()
    assert page.title() == "attn studio"

    press(page, "Again without the drawing")
    studio.let(5)
    told(page, "command", "--sketch none")
    told(page, "progress", "^Done: 5 steps")
    page.locator("iframe.explorer[src*=',']").wait_for()
    page.get_by_role("tab", name="Gallery").click()
    listed = page.frame_locator("iframe.explorer[src*='index']")
    listed.get_by_text("a red square <img").nth(1).wait_for()


def test_cancel_and_two_tabs(page, studio):
    """A run ends after its step, one that waits before it begins, and each tab shows its own."""
    begin(page, 5)
    studio.let(1)
    told(page, "progress", "^Step 1 of 5")
    other = page.context.new_page()
    other.goto(studio.url)
    told(other, "plan", "The plan follows when the run is over")
    press(other, "Run")
    told(other, "progress", "^Waiting: 1 run first")
    press(other, "Cancel")
    told(other, "progress", "^Cancelled before the first step")
    press(page, "Cancel")
    told(page, "progress", "It ends after this step")
    studio.let(1)
    text = told(page, "progress", "^Cancelled after step 2 of 5")
    trace = attn.open(text.splitlines()[0].partition(": ")[2])
    assert (trace.manifest.status, len(trace.steps)) == ("partial", 2)
    frame_of(page).get_by_text("Not finished: 2 of 5 steps").wait_for()
    assert told(other, "progress", "^Cancelled before the first step")


def test_killed_worker(page, studio):
    """A worker that is killed fails its run with a message, and the next one has another."""
    begin(page, 5)
    studio.let(1)
    told(page, "progress", "^Step 1 of 5")
    os.kill(studio.worker, signal.SIGKILL)
    text = told(page, "progress", "^Failed after step 1 of 5")
    assert "the process that held the model was ended by SIGKILL" in text
    press(page, "Run")
    studio.let(5)
    told(page, "progress", "^Done: 5 steps")
