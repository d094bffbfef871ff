"""What the page of `attn view` takes, against its bars: `python -m benchmarks.explorer`.

Needs Chromium. Writes a trace of a gigabyte and 10,000 manifests below a temporary folder.
"""

from __future__ import annotations

import gzip
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attn
from attn.explorer.joined import ENTRY, STATIC, WORKER, join_script, join_styles
from attn.explorer.opened import open_library
from tests.helpers.hovering import hover_times
from tests.helpers.large_traces import write_large
from tests.helpers.toy_traces import manifest, write_trace

Figure = tuple[str, float, float, str]
"""What was measured, the figure, its bar, the unit."""
FIRST_MAP = ".scale canvas"
ROW = """async () => {
  const { exactRow } = await import("/static/factors.js");
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
    sizes = [len(gzip.compress(text.encode())) for text in code]
    yield "code of the page", sum(sizes) / 1000, 150, "KB"
    yield from index_times(folder / "many")
    large = write_large(folder / "large", layers=38, steps=28)
    attn.view(large).save(folder / "page.html")
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        shown = attn.view(large)
        page = browser.new_page()
        yield "first map of a trace of 1 GB", first_map(page, shown.url), 2, "s"
        yield "hover to words, 4,096 × 116, 95th of 100", hover_times(page, 100)[94], 50, "ms"
        yield "exact row of a head, 4,429 tokens", page.evaluate(ROW), 5, "ms"
        shown.close()
        address = (folder / "page.html").as_uri()
        yield "first map of a page of 20 MB", first_map(browser.new_page(), address), 1.5, "s"
        browser.close()


def first_map(page: Any, address: str) -> float:
    """Return seconds until a map is seen."""
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(FIRST_MAP)
    return time.perf_counter() - began


def index_times(folder: Path) -> Iterator[Figure]:
    """Yield what a list of 10,000 traces takes at the first look, and when they were seen."""
    text = (write_trace(folder / "0", manifest(samples=1)) / "trace.json").read_bytes()
    for number in range(1, 10_000):
        (folder / str(number)).mkdir()
        (folder / str(number) / "trace.json").write_bytes(text)
    for name in ("never seen before", "seen before"):
        began = time.perf_counter()
        open_library([folder]).index()
        yield f"index of 10,000 traces, {name}", time.perf_counter() - began, 1, "s"


def main() -> None:
    """Print the figures."""
    with TemporaryDirectory() as folder:
        for name, figure, bar, unit in measure(Path(folder)):
            print(f"{name:45} {figure:8.2f} {unit:2}  bar {bar:g} {unit}", flush=True)


if __name__ == "__main__":
    main()
