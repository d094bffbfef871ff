"""Figures of a video's words: frames beside each other, curves over them, and films."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.analysis.result import Result
from attn.analysis.words.curves import ending
from attn.viz.charts import new_charts, show_names
from attn.viz.figures import (
    AnimationFile,
    FigureFile,
    Frames,
    Subject,
    in_shared_colours,
    new_figure,
    shrink,
)
from attn.viz.labels import file_stem, printable, ranges, short
from attn.viz.lines import dress, look_handles, mark_steps, name_axes
from attn.viz.overlay import (
    ColourScale,
    colour_scale,
    range_scale,
    show_bar,
    show_ends,
    show_heat,
    show_image,
)
from attn.viz.page import (
    FAMILY,
    GAP,
    LETTER,
    MARGIN,
    SHEET_WIDTH,
    add_axes,
    write_heading,
    write_title,
)
from attn.viz.page import LINE as HEIGHT
from attn.viz.style import INK
from attn.viz.words.sheets import FOOTER, LONG_SIDE, draw_sheet
from attn.viz.words.word_colours import word_looks
from attn.wording import count_noun

if TYPE_CHECKING:
    import xarray as xr

COLUMNS = 11
"""So many frames are beside each other at most; of more, some in equal distances."""
NAMES, BETWEEN = 1.25, 0.06  # inches of the words at the left; between frames
TALLEST = 1.7  # inches of a frame
CURVES = (9.6, 3.4)  # inches of both charts
BAR = 0.13
SHORTEST = 20
"""Milliseconds of a GIF's frame below which browsers slow it down."""


def draw(result: Result, subject: Subject) -> Iterator[FigureFile | AnimationFile]:
    """Draw a video's words.

    Files: `<segment>/heatmaps/frames.png`, all on one scale, and `frames-own-scale.png`, with one
    for each word; `frames.gif`, the video beside all words; `<segment>/curves/frames.png`; and with
    `films` `<segment>/heatmaps/frames/<index>-<word>.gif`. With several samples names end in
    `-sample-<number>`.
    """
    for segment, maps in result.arrays.items():
        samples = maps.sizes["sample"]
        for sample in range(samples):
            of_sample, end = maps.isel(sample=sample), ending(sample, samples)
            video = _video(subject, sample)
            texts = _texts(maps) | {"sample": str(sample)}
            start = f"{segment}/heatmaps/frames"
            for name, is_own in _sheets(maps.attrs["scale"]).items():
                figure = draw_frames(of_sample, video, subject, is_own=is_own)
                yield FigureFile(f"{start}{name}{end}.png", figure, texts)
            curves = f"{segment}/curves/frames{end}.png"
            yield FigureFile(curves, draw_curves(of_sample, subject), texts)
            if maps.attrs["film"]:
                yield _film(f"{start}{end}.gif", of_sample, video, subject, texts)
            for at, word in enumerate(maps["word"].values) if maps.attrs["films"] else ():
                path = f"{start}/{file_stem(at, str(word))}{end}.gif"
                alone = of_sample.isel(word=[at])
                yield _film(path, alone, video, subject, texts | {"word": str(word)})


def draw_frames(
    maps: xr.DataArray, video: Frames | None, subject: Subject, *, is_own: bool
) -> Figure:
    """Draw frames beside each other, and below them what each word gets in them.

    Args:
        maps: frame, word, row, column; with the video's `first` and `last` frame of each.
        video: every frame of the video, or None: then there are the words alone.
        subject: for the heading.
        is_own: whether each word has a scale of its own, the same in all frames.
    """
    shown = _spread(maps.sizes["frame"])
    rows = maps.sizes["word"] + (video is not None)
    height, width = maps.shape[2:] if video is None else video.shape[1:3]
    wide = (SHEET_WIDTH - NAMES + BETWEEN) / len(shown) - BETWEEN
    wide = min(wide, TALLEST * width / height)
    high = wide * height / width
    across = max(NAMES + len(shown) * (wide + BETWEEN) - BETWEEN, LONG_SIDE)
    heading = _heading(maps, subject, len(shown), across)
    top = MARGIN + HEIGHT * len(heading) + GAP + HEIGHT
    down = top + rows * (high + BETWEEN) + FOOTER + MARGIN
    figure = new_figure(across + 2 * MARGIN, down)
    write_heading(figure, heading)
    scales = _word_scales(maps) if is_own else [colour_scale(maps.values)] * maps.sizes["word"]
    for column, frame in enumerate(shown):
        left = MARGIN + NAMES + column * (wide + BETWEEN)
        cells = [
            add_axes(figure, left, top + row * (high + BETWEEN), wide, high) for row in range(rows)
        ]
        write_title(cells[0], "", _name_frame(maps, frame, wide), size=8.5)
        image = None if video is None else _still(video, maps, frame, subject)
        if image is not None:
            show_image(cells.pop(0), image)
        for axes, word_map, scale in zip(cells, maps.values[frame], scales, strict=True):
            show_heat(axes, word_map, image, scale)
    for row, label in enumerate([*(["video"] * (video is not None)), *maps["word"].values]):
        _name_row(figure, printable(str(label)), top + row * (high + BETWEEN) + high / 2)
    _write_foot(figure, maps, None if is_own else scales[0])
    return figure


def draw_curves(maps: xr.DataArray, subject: Subject) -> Figure:
    """Draw what each word gets over the frames, and that by its mean.

    Args:
        maps: frame, word, row, column.
        subject: for the heading.
    """
    mass = maps.mean(("row", "column")).transpose("word", "frame").values.astype(np.float64)
    whole = mass.mean(1, keepdims=True)
    lift = np.divide(mass, whole, out=np.full_like(mass, np.nan), where=whole > 0)
    names = [printable(str(word)) for word in maps["word"].values]
    looks = word_looks([str(word) for word in maps["word"].values], subject.vocabulary)
    heading = (subject.prompt, f"{_facts(maps, subject)} · {maps.attrs['unit']}")
    figure, charts = new_charts(heading, CURVES, legend=names, ncols=2)
    for axes, values, title, remark in zip(
        charts,
        (mass, lift),
        ("mass", "lift"),
        ("part of the frame's attention", "mass, by its mean over all frames"),
        strict=True,
    ):
        for curve, (colour, dashes) in zip(values, looks, strict=True):
            axes.plot(curve, dashes, color=colour, linewidth=1.3, marker=".", markersize=4)
        dress(axes, 1.05 * float(np.nanmax(values, initial=0.0)))
        mark_steps(axes)
        write_title(axes, title, remark, size=10)
        name_axes(axes, "frame of latents", "")
    show_names(figure, look_handles(looks), names)
    return figure


def _film(
    path: str, maps: xr.DataArray, video: Frames | None, subject: Subject, texts: dict[str, str]
) -> AnimationFile:
    """Return the video beside its words, a picture for each frame of latents."""
    scales = _word_scales(maps)
    figures = (_film_frame(maps, frame, video, subject, scales) for frame in range(len(maps)))
    count = maps["last"].values - maps["first"].values + 1
    each = [max(round(1000 * int(many) / maps.attrs["fps"]), SHORTEST) for many in count]
    return AnimationFile(path, in_shared_colours(figures), each, texts)


def _film_frame(
    maps: xr.DataArray,
    frame: int,
    video: Frames | None,
    subject: Subject,
    scales: Sequence[ColourScale],
) -> Figure:
    image = None if video is None else _still(video, maps, frame, subject)
    here = maps.isel(frame=frame).assign_coords(label=("word", maps["word"].values))
    here.attrs |= {"unit": f"{maps.attrs['unit']} · scales are the same in all frames"}
    digits = len(str(len(maps) - 1))
    told = f"frame {frame:0{digits}} of {len(maps) - 1} · {_facts(maps, subject)}"
    return draw_sheet(here, image, (subject.prompt, told), "own", subject.strokes, scales)


def _video(subject: Subject, sample: int) -> Frames | None:
    frames = subject.video(sample)
    return None if frames is None else frames


def _still(video: Frames, maps: xr.DataArray, frame: int, subject: Subject) -> Frames:
    """Return the video's frame in the middle of those that a frame of latents stands for."""
    middle = (int(maps["first"].values[frame]) + int(maps["last"].values[frame]) + 1) // 2
    return shrink(video[min(middle, len(video) - 1)], LONG_SIDE, subject.dpi)


def _word_scales(maps: xr.DataArray) -> list[ColourScale]:
    """Return a scale for each word, from its smallest to its largest value in all frames."""
    return [range_scale(values) for values in np.moveaxis(maps.values, 1, 0)]


def _sheets(scale: str) -> dict[str, bool]:
    """Return the sheets that are drawn, by what is added to their names; whether scales are own."""
    return {"": False, "-own-scale": True} if scale == "auto" else {"": scale == "own"}


def _spread(count: int) -> list[int]:
    """Return the frames that are drawn: all, or some in equal distances."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, COLUMNS))})


def _name_frame(maps: xr.DataArray, frame: int, wide: float) -> str:
    first, last = int(maps["first"].values[frame]), int(maps["last"].values[frame])
    video = f"{first}" if first == last else f"{first}–{last}"
    return short(f"{frame}: {video}", max(int(wide / LETTER * 1.15), 3))


def _name_row(figure: Figure, label: str, down: float) -> None:
    """Write a word at the left of its frames, at a height from above."""
    width, height = figure.get_size_inches()
    figure.text(
        (MARGIN + NAMES - 0.1) / width,
        1 - down / height,
        short(label, int(NAMES / LETTER)),
        ha="right",
        va="center",
        fontsize=9.5,
        color=INK,
        fontfamily=FAMILY,
    )


def _write_foot(figure: Figure, maps: xr.DataArray, scale: ColourScale | None) -> None:
    """Draw the colour bar; None is a scale for each word."""
    width, height = figure.get_size_inches()
    left = (width - LONG_SIDE) / 2
    axes: Axes = add_axes(figure, left, height - MARGIN - FOOTER + 1.5 * GAP, LONG_SIDE, BAR)
    unit = str(maps.attrs["unit"])
    if scale is None:
        ends = ("the word's smallest", "its largest")
        show_ends(figure, axes, f"{unit} · each word on its own scale, one in all frames", ends)
    else:
        show_bar(figure, axes, scale, f"{unit} · all panels on this scale")


def _heading(maps: xr.DataArray, subject: Subject, shown: int, across: float) -> tuple[str, str]:
    letters = int(across / LETTER)
    count = maps.sizes["frame"]
    some = "" if shown == count else f" · {shown} of {count_noun(count, 'frame')}"
    told = f"{_facts(maps, subject)}{some} · above each frame of latents those of the video"
    return short(subject.prompt, letters), short(told, int(1.25 * letters))


def _facts(maps: xr.DataArray, subject: Subject) -> str:
    attrs = maps.attrs
    branch = "" if attrs["branch"] == "cond" else f" · {attrs['branch']}"
    left = f" · {count_noun(attrs['left_out'], 'more word')} not shown" if attrs["left_out"] else ""
    return f"{subject.backend} · seed {subject.seed} · {attrs['segment']}{branch}{left}"


def _texts(maps: xr.DataArray) -> dict[str, str]:
    attrs = maps.attrs
    return {
        "segment": attrs["segment"],
        "branch": attrs["branch"],
        "measure": "map.image.text",
        "unit": attrs["unit"],
        "words": ", ".join(str(word) for word in maps["word"].values),
        "layers": ranges(attrs["layers"]),
        "shown_steps": ranges(attrs["steps"]),
    }
