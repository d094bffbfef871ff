"""What the page of `attn view` takes, against its bars: `python -m benchmarks.explorer`.

Needs Chromium. Writes a trace of a gigabyte and 10,000 manifests below a temporary folder. Each
figure is the median of several rounds, with the lowest and the highest.
"""

from __future__ import annotations

import gzip
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import attn
from attn.explorer.joined import ENTRY, STATIC, WORKER, join_script, join_styles
from attn.explorer.listing.library import open_library
from attn.trace.writer import TraceWriter
from tests.helpers.browsing.hovering import hover_times
from tests.helpers.browsing.large_traces import make_large, write_large, write_long
from tests.helpers.toy_traces import manifest, write_trace

Figure = tuple[str, list[float], float, str]
"""What was measured, the figure in each round, its bar, the unit."""
ROUNDS = 5
LEAST_PAGE = 19_000_000
"""Bytes of a page that is as large as it may be."""
MAP, MATRIX = "#picture-figure .scale canvas", "#matrix canvas"
ALL_READ = "() => document.querySelector('.status')?.innerText === ''"
ROW = """async () => {
  const { exactRow } = await import("/static/sums/factors.js");
  const numbers = (count) => Float32Array.from({ length: count }, () => Math.random());
  const factors = { query: numbers(4429 * 64), key: numbers(4429 * 64), lse: numbers(4429),
                    scale: 0.125, mask: null };
  const times = [];
  for (let at = 0; at < 50; at++) {
    const began = performance.now();
    exactRow(factors, at);
    times.push(performance.now() - began);
  }
  return times.sort((a, b) => a - b)[25];
}"""


def measure(folder: Path) -> Iterator[Figure]:
    """Yield each figure."""
    from playwright.sync_api import sync_playwright

    page = (STATIC / "index.html").read_text("utf-8")
    code = (page, join_styles(), join_script(ENTRY), join_script(WORKER))
    yield (
        "code of the page",
        [sum(len(gzip.compress(text.encode())) for text in code) / 1000],
        150,
        "KB",
    )
    yield from index_times(folder / "many")
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield from large_times(browser, folder)
        long = write_long(folder / "long", 4429)
        yield "matrix of 4,429 tokens", served_times(browser, long, MATRIX), 2, "s"
        yield "step on disk to screen", growing_times(browser, folder / "growing"), 1, "s"
        browser.close()


def large_times(browser: Any, folder: Path) -> Iterator[Figure]:
    """Yield what a trace of a gigabyte takes, served and as one file."""
    large = write_large(folder / "large", layers=38, steps=28)
    yield "first map of a trace of 1 GB", served_times(browser, large, MAP), 2, "s"
    shown, reading, quiet = attn.view(large), [], []
    for _ in range(ROUNDS):
        page = browser.new_page()
        first_seen(page, shown.url, MAP)
        reading.append(hover_times(page, 100)[94])
        page.wait_for_function(ALL_READ)
        quiet.append(hover_times(page, 100)[94])
        rows = [page.evaluate(ROW)]
        page.close()
    shown.close()
    yield "hover to words while all is read, 95th of 100", reading, 50, "ms"
    yield "hover to words, 4,096 × 116, 95th of 100", quiet, 50, "ms"
    yield "exact row of a head, 4,429 tokens", rows, 5, "ms"
    attn.view(large).save(folder / "page.html", size="26MB")  # what fits of this trace is less
    if (folder / "page.html").stat().st_size < LEAST_PAGE:
        raise ValueError("the page is smaller than what is to be measured")
    address = (folder / "page.html").as_uri()
    times = [first_seen(browser.new_page(), address, MAP) for _ in range(ROUNDS)]
    yield "first map of a page of 20 MB", times, 1.5, "s"


def served_times(browser: Any, trace: Path, selector: str) -> list[float]:
    """Return seconds until something of a trace is seen, each time by a new browser."""
    times = []
    for _ in range(ROUNDS):
        shown, context = attn.view(trace), browser.new_context()
        times.append(first_seen(context.new_page(), shown.url, selector))
        context.close()
        shown.close()
    return times


def first_seen(page: Any, address: str, selector: str) -> float:
    """Return seconds until something is seen."""
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_selector(selector)
    return time.perf_counter() - began


def growing_times(browser: Any, folder: Path) -> list[float]:
    """Return seconds from each step of 36 MB on the disk to the page that shows it."""
    about, values = make_large(layers=38, steps=9)
    page, times = browser.new_page(), []
    with TraceWriter(folder, about) as writer:
        writer.put(about.steps[0], values)
        shown = attn.view(folder)
        page.goto(shown.url)
        page.wait_for_selector("output:has-text('the only step')")
        for count, step in enumerate(about.steps[1:], 2):
            writer.put(step, values)
            began = time.perf_counter()
            page.wait_for_selector(f"output:has-text('mean of all {count} steps')")
            times.append(time.perf_counter() - began)
        writer.finish(about)
    shown.close()
    return times


def index_times(folder: Path) -> Iterator[Figure]:
    """Yield what a list of 10,000 traces takes at the first look, and when they were seen."""
    text = (write_trace(folder / "0", manifest(samples=1)) / "trace.json").read_bytes()
    for number in range(1, 10_000):
        (folder / str(number)).mkdir()
        (folder / str(number) / "trace.json").write_bytes(text)
    times = []
    for _ in range(1 + ROUNDS):
        began = time.perf_counter()
        open_library([folder]).index()
        times.append(time.perf_counter() - began)
    yield "index of 10,000 traces, never seen before", times[:1], 1, "s"
    yield "index of 10,000 traces, seen before", times[1:], 1, "s"


def main() -> None:
    """Print the figures."""
    with TemporaryDirectory() as folder:
        for name, times, bar, unit in measure(Path(folder)):
            spread = f"({min(times):.2f} to {max(times):.2f})" if len(times) > 1 else ""
            print(
                f"{name:46} {median(times):7.2f} {unit:2} {spread:20} bar {bar:g} {unit}",
                flush=True,
            )


if __name__ == "__main__":
    main()
