"""The pictures of `docs/studio.md`, taken anew: `python -m benchmarks.demo.studio_pictures`.

Needs Chromium. Draws a square and a triangle on the pad of the first page, takes a picture of the
page while it runs, and one of the comparison with the same run without the drawing.
"""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from attn.studio.app import StudioServer
from attn.studio.options import StudioOptions

PICTURES = Path(__file__).parents[2] / "docs" / "pictures" / "studio"
PATIENCE = 120_000
COLOURS = 128
"""Of a picture, which are enough, and a third of the bytes."""
SHAPES = (
    ((-85, -30), (-85, 75), (20, 75), (20, -30), (-85, -30)),
    ((95, -30), (45, 75), (150, 75), (95, -30)),
)
"""Corners of what is drawn, in pixels from the middle of the pad."""


def take() -> None:
    """Take both pictures."""
    from playwright.sync_api import sync_playwright

    with TemporaryDirectory() as runs, sync_playwright() as play:
        server = StudioServer(StudioOptions(out=runs))
        server.start()
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1150})
        page.set_default_timeout(PATIENCE)
        page.goto(server.url)
        _tell(page, "plan", "layers")
        for corners in SHAPES:
            _draw(page, corners)
        page.get_by_label("Analyse when it is done").uncheck()
        page.mouse.move(0, 0)
        page.get_by_role("button", name="Run", exact=True).click()
        _tell(page, "progress", "^Step (1[5-9]|2[0-9]) ")
        keep("run", page.screenshot())
        _tell(page, "progress", "^Done")
        page.get_by_role("button", name="Again without the drawing").click()
        page.locator("iframe.explorer[src*=',']").wait_for()
        page.frame_locator("iframe.explorer").locator("td").first.wait_for()
        keep("again", page.locator("iframe.explorer").screenshot())
        browser.close()
        server.stop()


def keep(name: str, data: bytes) -> None:
    """Write a picture, with as many colours as are needed."""
    Image.open(BytesIO(data)).convert("RGB").quantize(COLOURS).save(PICTURES / f"{name}.png")


def _tell(page: Any, box: str, pattern: str) -> None:
    """Wait until a text stands in a box."""
    page.wait_for_function(
        "([box, text]) => document.querySelector(`.${box} textarea`)?.value.match(text)",
        arg=[box, pattern],
    )


def _draw(page: Any, corners: tuple[tuple[int, int], ...]) -> None:
    """Draw along corners."""
    box = page.locator(".pad canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + corners[0][0], y + corners[0][1])
    page.mouse.down()
    for across, down in corners[1:]:
        page.mouse.move(x + across, y + down, steps=9)
    page.mouse.up()


if __name__ == "__main__":
    take()
