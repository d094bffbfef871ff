"""Base and variant beside each other: the pictures, and one word over both."""

from __future__ import annotations

from typing import Literal

import numpy as np

from attn.viz.compare.comparison_scene import ComparisonScene, show_map, show_side
from attn.viz.figures import FigureFile, new_figure
from attn.viz.labels import short, wrap
from attn.viz.overlay import Scale, colour_scale, name_scale, range_scale, show_bar, show_ends
from attn.viz.page import (
    GAP,
    LETTER,
    LINE,
    MARGIN,
    SMALLER,
    TITLE,
    add_axes,
    write_heading,
    write_title,
)

WIDEST, TALLEST = 4.6, 5.2  # inches of a picture
FOOT = 0.62
BAR = 0.12
SAID = {"auto": "both maps on one scale", "shared": "all words on one scale"}


def draw_images(scene: ComparisonScene) -> FigureFile:
    """Draw `image_comparison.png`: what the baseline and one variant painted."""
    width, height = _cell(scene)
    lines, top = _heading(scene, 2 * width + GAP)
    figure = new_figure(2 * (width + MARGIN) + GAP, top + TITLE + height + MARGIN)
    write_heading(figure, lines, small=len(lines) - 1)
    for number, side in enumerate(scene.sides[:2]):
        axes = add_axes(figure, MARGIN + number * (width + GAP), top + TITLE, width, height)
        show_side(axes, side)
        write_title(axes, side.label, side.remark("variant" if number else "baseline"), size=12)
    return FigureFile("image_comparison.png", figure, scene.texts)


def draw_word(
    scene: ComparisonScene, word: int, path: str, scale: Scale | Literal["auto"] = "auto"
) -> FigureFile:
    """Draw the images, and below them where one word is attended to.

    Args:
        scene: what is compared.
        word: index of the word.
        path: of the file.
        scale: `auto` is the range of both maps, `shared` that of all words of both, `own` that of
            each map.
    """
    width, height = (size * 0.8 for size in _cell(scene))
    across = 2 * width + GAP
    lines, top = _heading(scene, across)
    below = top + 2 * (TITLE + height) + GAP
    figure = new_figure(across + 2 * MARGIN, below + FOOT + MARGIN)
    write_heading(figure, lines, small=len(lines) - 1)
    maps = [side.maps[word] for side in scene.sides[:2] if side.maps is not None]
    every = [side.maps for side in scene.sides[:2] if side.maps is not None]
    common = colour_scale(np.stack(every)) if scale == "shared" else range_scale(np.stack(maps))
    scales = [range_scale(heat) if scale == "own" else common for heat in maps]
    for number, side in enumerate(scene.sides[:2]):
        left = MARGIN + number * (width + GAP)
        axes = add_axes(figure, left, top + TITLE, width, height)
        show_side(axes, side)
        write_title(axes, side.label, side.remark("variant" if number else "baseline"), size=11)
        axes = add_axes(figure, left, top + 2 * TITLE + height + GAP, width, height)
        show_map(axes, side, word, scales[number])
        mean = float(maps[number].mean())
        remark = f"mean {mean:.3g} · {name_scale(scales[number])}"
        write_title(axes, scene.words[word].label, remark, size=11)
    bar = add_axes(figure, MARGIN + across * 0.15, below + GAP, across * 0.7, BAR)
    if scale == "own":
        show_ends(figure, bar, "attention probability, each map on its own scale")
    else:
        show_bar(figure, bar, common, f"attention probability, {SAID[scale]}")
    return FigureFile(path, figure, scene.texts | {"word": scene.words[word].text})


def _heading(scene: ComparisonScene, across: float) -> tuple[list[str], float]:
    """Return the prompt on one line and the subtitle on up to three, and where they end."""
    letters = across / LETTER
    subtitle = wrap(scene.subtitle_of_images, SMALLER * letters, 3)
    lines = [short(scene.prompt, int(letters)), *subtitle]
    return lines, MARGIN + len(lines) * LINE + GAP


def _cell(scene: ComparisonScene) -> tuple[float, float]:
    aspect = scene.sides[0].aspect
    width = min(WIDEST, TALLEST / aspect)
    return width, width * aspect
