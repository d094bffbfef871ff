"""A real browser, and pages in it that complain about what no page of ours may do."""

import os
import re
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from attn.verbs.view import ViewOptions, make_server
from tests.helpers.browsing.pages import PATIENCE
from tests.helpers.toy_traces import write_trace

ARGUMENTS = [
    "--no-sandbox",  # in containers it cannot be had
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MISSING = "no Chromium here: apt-get install chromium"


def pytest_collection_modifyitems(items):
    """Mark what is in this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium():
    """Launch Debian's Chromium; without one, skip with the reason, but in CI fail."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None and os.environ.get("ATTN_TESTS_NEED_BROWSER"):
        pytest.fail(MISSING)
    if path is None:
        pytest.skip(MISSING)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


SHOWN = re.compile(r"status of (404|416|422) |net::ERR_(CONTENT_LENGTH_MISMATCH|FAILED)")
"""What the browser says of files that are gone, damaged, or written again while they are read."""


CUT = re.compile(r"BodyStreamBuffer was aborted|Connection errored out")
"""What Gradio says of its stream when a page is loaded again."""


def is_shown(line, host):
    """Whether a message is of a trace's file or of the list, whose failures the page shows."""
    address = urlsplit(line.location["url"])
    path = address.path.removeprefix("/explorer")
    is_told = path.startswith(("/t/", "/index.json")) and SHOWN.search(line.text)
    return (address.netloc == host and is_told) or CUT.search(line.text)


@contextmanager
def watched(browser, host, **options):
    """Open an empty page; at the end, complain of errors and of requests to anywhere else."""
    complaints = []

    def hear(line):
        if line.type == "error" and not is_shown(line, host):
            complaints.append(f"{line.text} {line.location['url']}")

    def see(request):
        if urlsplit(request.url).netloc not in ("", host):
            complaints.append(request.url)

    with browser.new_context(viewport={"width": 1280, "height": 900}, **options) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", hear)
        page.on("request", see)
        yield page
    assert complaints == []


HURRY = """const wait = window.setTimeout;
window.setTimeout = (run, time, ...more) => wait(run, time / 10, ...more);"""
"""Lets the page wait a tenth of its time before it looks again."""


@contextmanager
def served(browser, *paths, at="", hurry=False):
    """Serve traces, and open the page of them; it is closed before its server ends."""
    server = make_server(paths, ViewOptions())
    server.start()
    try:
        with watched(browser, urlsplit(server.url).netloc) as page:
            if hurry:
                page.add_init_script(HURRY)
            page.goto(f"{server.url}#{at}")
            page.wait_for_selector("body[data-ready]")
            yield page
    finally:
        server.stop()


@pytest.fixture
def visit(chromium):
    """Serve traces, and open the page of them in the browser: `visit(folder, at="steps=1")`."""
    with ExitStack() as pages:
        yield lambda *paths, **how: pages.enter_context(served(chromium, *paths, **how))


@pytest.fixture(scope="module")
def look(chromium):
    """Look at what several tests of a module only read, in one page: `look(folder, at="steps=1")`.

    The page comes from the list each time, so that nothing is left of what was looked at before.
    """
    held = {}

    def again(*paths, at=""):
        if paths not in held:
            held[paths] = pages.enter_context(served(chromium, *paths, at="t=index"))
        page = held[paths]
        page.emulate_media(color_scheme="light", forced_colors="none")
        page.mouse.move(0, 0)
        page.evaluate("location.hash = 't=index'")
        page.wait_for_selector("body[data-ready=index]")
        page.evaluate("hash => { location.hash = hash; }", at)
        page.wait_for_selector("body:not([data-ready=index])")
        return page

    with ExitStack() as pages:
        yield again


@pytest.fixture(scope="module")
def modules(chromium, tmp_path_factory):
    """A page in which the page's modules can be imported."""
    with served(chromium, write_trace(tmp_path_factory.mktemp("modules") / "t")) as page:
        yield page
