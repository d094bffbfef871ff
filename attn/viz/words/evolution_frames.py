"""The frames of how a word's map forms, as a page and as an animation.

Where it is known, each has beside the map what the sampler expects of the finished image at that
step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from attn.viz.figures import Frames, Pixels, Subject, new_figure
from attn.viz.labels import short
from attn.viz.overlay import (
    COLOURS,
    colour_scale,
    name_scale,
    range_scale,
    show_bar,
    show_ends,
    show_heat,
    show_image,
)
from attn.viz.page import (
    GAP,
    LETTER,
    LINE,
    MARGIN,
    TITLE,
    Sheet,
    add_axes,
    arrange,
    write_heading,
    write_title,
)
from attn.viz.strokes import say_strokes, show_strokes
from attn.wording import percent

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from attn.viz.overlay import ColourScale

SIDE = 4.6  # inches of the map of an animation, and of the colour bar
BESIDE = 3.1  # of each of three panels
FOOTER, BAR = 0.72, 0.13
SPLIT = GAP / 3  # between the two halves of a cell
EXPECTED = "what the sampler expects"
UNIT = "attention probability{}"
BAR_COLOURS = 64
"""Colours of the bar that an animation has, whatever its images look like."""


@dataclass(frozen=True)
class Formation:
    """What the frames of one sample show.

    Attributes:
        maps: step, row, column.
        image: the generated image, or None.
        frames: what the sampler expected at each of these steps, or None.
        subject: for the heading.
        told: what else the heading says, such as the sample's number.
    """

    maps: xr.DataArray
    image: Pixels | None
    frames: Frames | None
    subject: Subject
    told: str = ""

    @property
    def aspect(self) -> float:
        """Height of a panel divided by its width."""
        height, width = self.maps.shape[1:] if self.image is None else self.image.shape[:2]
        return float(height / width)

    @property
    def unit(self) -> str:
        """Label of the colour bar, which says if tokens of several encoders are added."""
        segments = self.maps.attrs["segments"]
        return UNIT.format(f" of {' + '.join(segments)}" if len(segments) > 1 else "")


def bar_colours() -> NDArray[np.uint8]:
    """Return colours of the bar, evenly spaced, and the page's white: colour, channel; 0-255."""
    bar = colormaps[COLOURS](np.linspace(0, 1, BAR_COLOURS), bytes=True)[:, :3]
    return np.asarray([*bar, (255, 255, 255)], np.uint8)


def draw_page(formation: Formation) -> Figure:
    """Draw every step on one page and one scale."""
    maps, image, frames = formation.maps, formation.image, formation.frames
    count = 1 if frames is None else 2
    heading = (formation.subject.prompt, _subtitle(formation))
    offset = 0 if image is None else 1
    aspect = formation.aspect / count
    sheet = arrange(maps.sizes["step"] + offset, aspect, heading, narrowest=SIDE, footer=FOOTER)
    figure = new_figure(*sheet.size)
    write_heading(figure, sheet.heading, sheet.small)
    common, is_own = colour_scale(maps.values), maps.attrs["scale"] == "own"
    if image is not None:
        first, *rest = _panels(figure, sheet, 0, count)
        show_image(first, image)
        write_title(first, "result", size=9.5)
        for axes in rest:
            axes.remove()
    for number, step_map in enumerate(maps):
        panels = _panels(figure, sheet, number + offset, count)
        scale = range_scale(step_map.values) if is_own else common
        if frames is not None:
            show_image(panels[0], frames[number])
        show_heat(panels[-1], step_map.values, image, scale)
        show_strokes(panels[-1], formation.subject.strokes)
        _name_step(panels, step_map, name_scale(scale) if is_own else "")
    if is_own:
        show_ends(figure, _bar(figure), f"{formation.unit}, each step on its own scale")
    else:
        _write_bar(figure, common, formation.unit)
    return figure


def draw_frames(formation: Formation) -> Iterator[Figure]:
    """Yield a figure for every step, all alike but for what is of the step."""
    maps, image, frames = formation.maps, formation.image, formation.frames
    count = 1 if frames is None else 2 if image is None else 3
    side = SIDE if count == 1 else BESIDE
    aspect = formation.aspect
    wide, high = (side, side * aspect) if aspect <= 1 else (side / aspect, side)
    across = count * (wide + GAP) - GAP
    room = max(across, SIDE)
    scale, last = colour_scale(maps.values), int(maps["step"].values[-1])
    about = f"{facts(formation.subject)}{say_strokes(formation.subject.strokes)}"
    lines = (formation.subject.prompt, about)
    heading = tuple(short(line, int(room / LETTER)) for line in lines)
    top = MARGIN + 2 * LINE + GAP + TITLE
    for number, step_map in enumerate(maps):
        figure = new_figure(room + 2 * MARGIN, top + high + FOOTER + MARGIN)
        write_heading(figure, heading)
        left = MARGIN + (room - across) / 2
        axes = [add_axes(figure, left + at * (wide + GAP), top, wide, high) for at in range(count)]
        remark = f"{_noise(step_map)} · step {int(step_map['step'])} of {last}"
        if frames is not None:
            show_image(axes[0], frames[number])
            write_title(axes[0], EXPECTED, size=10)
        heat = axes[min(count, 2) - 1]
        show_heat(heat, step_map.values, image, scale)
        show_strokes(heat, formation.subject.strokes)
        write_title(heat, str(maps.attrs["word"]), remark, size=12)
        if image is not None and frames is not None:
            show_image(axes[2], image)
            write_title(axes[2], "result", size=10)
        _write_bar(figure, scale, formation.unit)
        yield figure


def facts(subject: Subject) -> str:
    """Name the generation."""
    return f"{subject.backend} · seed {subject.seed}"


def _panels(figure: Figure, sheet: Sheet, number: int, count: int) -> list[Axes]:
    """Return the axes of a cell, beside each other."""
    left, upper = sheet.corner(number)
    width, height = (sheet.cell[0] + SPLIT) / count - SPLIT, sheet.cell[1]
    return [
        add_axes(figure, left + at * (width + SPLIT), upper, width, height) for at in range(count)
    ]


def _name_step(panels: Sequence[Axes], step_map: xr.DataArray, scale: str) -> None:
    """Write above a step which one it is, and the ends of its scale if it has its own."""
    step = f"step {int(step_map['step'])}"
    if len(panels) > 1:
        write_title(panels[0], step if scale else _noise(step_map), size=9.5)
        write_title(panels[1], "", scale or step, size=9.5)
        return
    title, remark = (step, scale) if scale else (_noise(step_map), step)
    write_title(panels[0], title, remark, size=9.5)


def _write_bar(figure: Figure, scale: ColourScale, unit: str) -> None:
    show_bar(figure, _bar(figure), scale, f"{unit}, the same scale in every step")


def _bar(figure: Figure) -> Axes:
    """Return the axes of the colour bar."""
    width, height = figure.get_size_inches()
    return add_axes(figure, (width - SIDE) / 2, height - MARGIN - FOOTER + 1.5 * GAP, SIDE, BAR)


def _noise(step_map: xr.DataArray) -> str:
    noise = float(step_map["noise"])
    return "noise unknown" if np.isnan(noise) else f"noise {percent(round(noise, 2))}"


def _subtitle(formation: Formation) -> str:
    attrs = formation.maps.attrs
    branch = "" if attrs["branch"] == "cond" else f" · {attrs['branch']}"
    named = f"{facts(formation.subject)} · {' + '.join(attrs['segments'])}{branch}"
    beside = "" if formation.frames is None else f", beside {EXPECTED} of the image"
    strokes = say_strokes(formation.subject.strokes)
    return f"{named} · “{attrs['word']}” at every step{beside}{formation.told}{strokes}"
