"""A real browser, and pages in it that complain about what no page of ours may do."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from attn.verbs.view import ViewOptions, make_server

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


@contextmanager
def watched(browser, host, **options):
    """Open an empty page; at the end, complain of errors and of requests to anywhere else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    page, complaints = context.new_page(), []
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: line.type == "error" and complaints.append(line.text))
    page.on(
        "request",
        lambda request: (
            urlsplit(request.url).netloc not in ("", host) and complaints.append(request.url)
        ),
    )
    yield page
    context.close()
    allowed = (
        "status of 404",
        "status of 416",
        "status of 422",
        "CONTENT_LENGTH_MISMATCH",
        "ERR_FAILED",
    )  # said by the browser of answers that we show
    assert [text for text in complaints if not any(item in text for item in allowed)] == []


@contextmanager
def served(browser, *paths):
    """Serve traces, and open their page."""
    server = make_server(paths, ViewOptions())
    server.start()
    try:
        with watched(browser, urlsplit(server.url).netloc) as page:
            page.goto(server.url)
            page.wait_for_selector("body[data-ready]")
            yield page
    finally:
        server.stop()


@pytest.fixture
def visit(chromium):
    """Serve traces, and open the page of them in the browser."""
    stack = []

    def open_page(*paths, at=""):
        server = make_server(paths, ViewOptions())
        server.start()
        netloc = urlsplit(server.url).netloc
        opening = watched(chromium, netloc)
        stack.append((server, opening))
        page = opening.__enter__()
        page.goto(server.url)
        if at:
            page.evaluate("hash => { location.hash = hash; location.reload(); }", at)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    failures = []
    for server, opening in reversed(stack):
        try:
            opening.__exit__(None, None, None)
        except AssertionError as error:
            failures.append(error)
        server.stop()
    if failures:
        raise failures[0]
