"""How a text appears, step by step, as frames of an animation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from attn.viz.fonts import BOX, FONT, NOTE, font_runs
from attn.viz.labels import printable

if TYPE_CHECKING:
    import xarray as xr

WIDTH, EDGE = 900, 24
"""Pixels."""
LETTERS, SMALL = 19, 15
LINE, GAP, PAD = 34, 5, 4
INK, FAINT, MASKED, PAPER = (26, 26, 26), (107, 107, 107), (214, 217, 222), (255, 255, 255)
MOST = 160
"""Frames; of more steps several share one."""
WHOLE, LAST = 8000, 2500
"""Milliseconds of all frames, and of the last."""
DARK = 0.6
"""Confidence up to which a cell is too dark for black letters."""


@dataclass(frozen=True)
class Cell:
    """Where a token stands: left and upper edge and width in pixels, and what it says."""

    left: int
    upper: int
    width: int
    text: str


def animate(confidence: xr.DataArray, prompt: str) -> tuple[Iterator[Image.Image], list[int]]:
    """Return the frames, and how many milliseconds each is shown.

    Args:
        confidence: (step, position), NaN where a position is not decided in a step.
        prompt: for the heading.
    """
    values = confidence.values
    cells = _lay_out([str(text) for text in confidence["token"].values])
    groups = np.array_split(np.arange(len(values)), min(len(values), MOST))
    duration = max(40, min(500, WHOLE // len(groups)))
    heading = _fit(printable(prompt))
    steps = confidence["step"].values

    def frames() -> Iterator[Image.Image]:
        yield _frame(cells, np.full(values.shape[1], np.nan), set(), (heading, "all is masked"))
        decided: set[int] = set()
        for group in groups:
            now = _merge(values[group])
            fresh = np.flatnonzero(~np.isnan(now)).tolist()
            facts = f"step {steps[group[-1]]} · {len(decided) + len(fresh)} of {len(now)} decided"
            yield _frame(cells, now, decided, (heading, facts))
            decided |= set(fresh)
        done = f"{len(decided)} of {values.shape[1]} decided"
        yield _frame(cells, np.full(values.shape[1], np.nan), decided, (heading, done))

    return frames(), [duration, *([duration] * len(groups)), LAST]


def _merge(values: np.ndarray) -> np.ndarray:
    """Merge the decisions of several steps, (position); each position is decided once."""
    return np.where(np.isnan(values).all(0), np.nan, np.nansum(values, axis=0))


def _frame(
    cells: Sequence[Cell], now: np.ndarray, decided: set[int], lines: tuple[str, str]
) -> Image.Image:
    height = cells[-1].upper + LINE + EDGE
    image = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(image)
    _write(draw, (EDGE, EDGE), lines[0], INK, LETTERS)
    lacks = any(BOX in text for text in (lines[0], *(cell.text for cell in cells)))
    told = f"{lines[1]} · colour: confidence{' · ' + NOTE if lacks else ''}"
    _write(draw, (EDGE, EDGE + LINE), told, FAINT, SMALL)
    for index, cell in enumerate(cells):
        box = (cell.left, cell.upper, cell.left + cell.width, cell.upper + LINE - 2 * GAP)
        sure = float(now[index])
        is_fresh = not np.isnan(sure)
        if is_fresh:
            colour = tuple(round(255 * part) for part in colormaps["viridis"](sure)[:3])
            draw.rectangle(box, colour)
        elif index not in decided:
            draw.rectangle(box, MASKED)
            continue
        ink = PAPER if is_fresh and sure < DARK else INK
        _write(draw, (cell.left + PAD, cell.upper), cell.text, ink, LETTERS)
    return image


def _lay_out(tokens: Sequence[str]) -> list[Cell]:
    """Set the tokens in lines, as wide as they will be, so that nothing moves."""
    cells, left, upper = [], EDGE, EDGE + 2 * LINE + GAP
    for token in tokens:
        text = _fit(printable(token) or "\u00b7")
        width = int(_length(text)) + 2 * PAD
        if left > EDGE and left + width > WIDTH - EDGE:
            left, upper = EDGE, upper + LINE
        cells.append(Cell(left, upper, width, text))
        left += width + GAP
    return cells


def _fit(text: str) -> str:
    """Cut a text to one line."""
    room = WIDTH - 2 * EDGE - 2 * PAD
    while len(text) > 1 and _length(text) > room:
        text = f"{text[:-2]}…"
    return text


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, ink: tuple[int, int, int], size: int
) -> None:
    """Write a text from its upper left corner, each letter in a font that has it."""
    left, baseline = float(at[0]), at[1] + _font(FONT, size).getmetrics()[0]
    for path, run in font_runs(text):
        draw.text((left, baseline), run, ink, _font(path, size), anchor="ls")
        left += _font(path, size).getlength(run)


def _length(text: str) -> float:
    return sum(_font(path, LETTERS).getlength(run) for path, run in font_runs(text))


@cache
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)
