"""The studio in a real browser: drawn, run, watched, cancelled, killed, compared."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import watched

ROOT = Path(__file__).parents[2]
HOSTILE = 'a red square <img src=x onerror="document.title=1">'
RECORD = """() => {
  window.seen = new Set();
  setInterval(() => {
    const area = document.querySelector('.progress textarea');
    if (area) seen.add(area.value.split('\\n')[0]);
    if (document.querySelector('iframe.explorer')) seen.add('frame');
    if (document.querySelector('img.forming')) seen.add('forming');
  }, 5);
}"""
"""Notes what is seen between two looks of a test."""
STEP = re.compile(r"Step (\d+) of (\d+) ")


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Serve the studio as a user would, with the models that ship; its facts as JSON."""
    out = tmp_path_factory.mktemp("studio") / "runs"
    command = [sys.executable, "-m", "attn", "studio", "--no-browser", "--json", "-o", str(out)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        yield json.loads(process.stdout.readline()) | {"out": out}
        process.send_signal(signal.SIGINT)


@pytest.fixture
def page(studio, chromium):
    """The page of the first family, once it says what a run would keep."""
    with watched(chromium, urlsplit(studio["url"]).netloc) as page:
        page.set_default_timeout(120_000)
        page.goto(studio["url"])
        wait(page, ".plan", "steps")
        page.evaluate(RECORD)
        yield page


def wait(page, where, text):
    """Wait until a text stands in a box, and return all that stands there."""
    page.wait_for_function(
        "([where, text]) => new RegExp(text).test("
        "document.querySelector(`${where} textarea`)?.value ?? '')",
        arg=[where, text],
    )
    return page.locator(f"{where} textarea").input_value()


def fill(page, name, value):
    """Type into a field, and leave it."""
    box = page.locator(f".field-{name}").locator("input, textarea").first
    box.fill(value)
    box.blur()


def draw(page):
    """Draw a stroke with the mouse: the first thing that is done with the pad."""
    box = page.locator(".pad canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y - 50)
    page.mouse.down()
    page.mouse.move(x + 60, y - 50, steps=2)
    page.mouse.move(x + 60, y + 50, steps=2)
    page.mouse.up()


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def steps_seen(page):
    """Return the steps that were told while they ran."""
    seen = page.evaluate("[...seen]")
    return sorted({int(match[1]) for text in seen if (match := STEP.match(text))})


def frame_of(page):
    return page.frame_locator("iframe.explorer")


def command_of(page):
    return shlex.split(page.locator(".command textarea").input_value())


def shards(folder):
    manifest = json.loads((Path(folder) / "trace.json").read_text())
    return [(shard["file"], shard["sha256"]) for shard in manifest["shards"]]


def pictures(folder):
    return [path.read_bytes() for path in sorted(folder.glob("outputs/image*.png"))]


def same_by_command(words, target):
    """Run the command that the page shows, to another folder; return both folders."""
    at = words.index("-o") + 1
    folder, words[at] = Path(words[at]), str(target)
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True, capture_output=True)
    return folder, target


def test_draw_run_compare(page, studio, tmp_path):
    """A drawing is run and watched; the trace is that of the command; then without the drawing."""
    draw(page)
    page.get_by_label("Analyse when it is done").uncheck()
    page.get_by_label("Prompt", exact=True).fill(HOSTILE)
    fill(page, "steps", "0")
    wait(page, ".plan", "This cannot run: steps must be at least 1; got 0")
    fill(page, "steps", "40")
    fill(page, "size", "100x100")
    wait(page, ".plan", "100x100.*divisible by 8")
    fill(page, "size", "128x128")
    wait(page, ".plan", "^40 steps, maps of")
    press(page, "Run")
    told = wait(page, ".progress", "^Done: 40 steps")
    assert "sketch: dark strokes on light ground" in told
    assert len([step for step in steps_seen(page) if step < 40]) >= 3
    assert {"frame", "forming"} <= set(page.evaluate("[...seen]"))
    frame = frame_of(page)
    frame.get_by_text("Same picture as without capture").wait_for()
    assert "<img src=x onerror" in frame.locator("body").inner_text()
    assert page.title() == "attn studio"
    assert page.locator("img[src='x']").count() == frame.locator("img[src='x']").count() == 0

    ours, theirs = same_by_command(command_of(page), tmp_path / "same")
    assert shards(ours) == shards(theirs)
    assert pictures(ours) == pictures(theirs) != []

    press(page, "Again without the drawing")
    wait(page, ".command", "--sketch none")
    wait(page, ".progress", "^Done: 40 steps")
    frame.get_by_text(ours.name).first.wait_for()
    page.wait_for_function("document.querySelector('iframe.explorer').src.includes(',')")
    page.get_by_role("tab", name="Gallery").click()
    page.locator("iframe.explorer[src*='index']").wait_for()
    listed = page.frame_locator("iframe.explorer[src*='index']")
    listed.get_by_text("a red square <img").nth(1).wait_for()


def tab_to(page, role, name):
    """Press Tab until something has the focus."""
    target = page.get_by_role(role, name=re.compile(f"^{re.escape(name)}")).first
    target.wait_for()
    for _ in range(200):
        page.keyboard.press("Tab")
        if target.evaluate("node => node === document.activeElement"):
            return
    raise AssertionError(f"Tab does not lead to {role} {name}")


def test_text_as_it_is_written(page, studio):
    """A model that writes shows its text while masks are left in it."""
    page.goto(f"{studio['url'].partition('?')[0]}with-mmada")
    wait(page, ".plan", "steps")
    page.get_by_label("Analyse when it is done").uncheck()
    fill(page, "steps", "16")
    wait(page, ".plan", "^16 steps")
    press(page, "Run")
    wait(page, ".text-so-far", "░")
    wait(page, ".progress", "^Done: 16 steps")


def test_space(chromium, tmp_path):
    """The example for a hosted Space starts, lets a browser in without a token, and runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"PORT": str(port), "ATTN_RUNS": str(tmp_path / "runs")}
    command = [sys.executable, str(ROOT / "examples/space/app.py")]
    with subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE) as process:
        next(line for line in process.stderr if "Uvicorn running on" in line)
        with watched(chromium, f"localhost:{port}") as page:
            page.set_default_timeout(120_000)
            page.goto(f"http://localhost:{port}/")
            wait(page, ".plan", "steps")
            page.get_by_label("Analyse when it is done").uncheck()
            fill(page, "steps", "2")
            wait(page, ".plan", "^2 steps")
            press(page, "Run")
            wait(page, ".progress", "^Done: 2 steps")
        process.send_signal(signal.SIGINT)
        process.stderr.read()
