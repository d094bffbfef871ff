"""Figures of a sketch's part in a generation: what it became, who reads it, and what it adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray

from attn.analysis.result import Result
from attn.analysis.sketch.edges import find_edges
from attn.analysis.sketch.shapes import MOST_CHANCE
from attn.analysis.words.curves import ending
from attn.viz.charts import new_charts, show_names, show_scale
from attn.viz.figures import FigureFile, Pixels, Subject
from attn.viz.labels import printable
from attn.viz.lines import COLOURS, look_handles
from attn.viz.overlay import COLOURS as HEAT
from attn.viz.overlay import colour_scale, show_heat, show_image
from attn.viz.page import write_title
from attn.viz.strokes import Lines, say_strokes, show_strokes, trace_lines
from attn.viz.style import FAINT, INK
from attn.viz.words.evolution import CURVES, draw_curves, plot_curves
from attn.viz.words.word_colours import word_looks
from attn.wording import digits

if TYPE_CHECKING:
    import xarray as xr

TITLES = {
    "on": "Part of each word's map on the strokes",
    "on_ratio": "Each word's map on the strokes, against an even map",
    "near": "Part of each word's map on or beside the strokes",
    "inside": "Part of each word's map inside closed shapes, all together",
    "inside_ratio": "Each word's map inside closed shapes, all together, against an even map",
    "iou": "Each word's highest cells and the strokes: intersection over union",
}
PANEL = 3.6  # inches of an image's longer side
ROW, COLUMN, NAMES = 0.34, 1.15, 1.1  # inches of the table of shapes
TINT = 0.25
"""Part of a shape's colour on the drawing's paper."""
FAR = 0.05
"""Part of the shorter side from which on a deviation has the last colour."""
DEVIATIONS = "autumn_r"
EDGE = "#1a1a1a"
"""Colour of the image's edges."""
STRONGEST = 8.0
"""Lift, and its inverse, that have the last colours."""
DARK = 2.0
"""Logarithm of the lift from which on numbers are white."""
PALE = 0.55
"""Part of the contrast that is left of an image below lines."""


@dataclass(frozen=True)
class _Sample:
    """One image of a trace, with the arrays that are about it."""

    number: int
    arrays: Mapping[str, xr.DataArray]
    image: Pixels | None
    subject: Subject

    @property
    def subtitle(self) -> str:
        """What the image was made of."""
        return f"{self.subject.backend} · seed {self.subject.seed} · {self.subject.prompt}"

    @property
    def subtitle_of_image(self) -> str:
        """The same where strokes are drawn over the image."""
        return f"{self.subtitle}{say_strokes(self.subject.strokes)}"

    @property
    def drawing(self) -> NDArray[np.bool_]:
        """The strokes, in pixels."""
        return np.asarray(self.arrays["drawing"].values)

    @property
    def numbers(self) -> NDArray[np.intp]:
        """The closed shape at each pixel; 0 is none."""
        return np.asarray(self.arrays["numbers"].values)


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw `sketch/{drawing,shapes,overlap,tokens,residuals}.png` of each sample, where there are.

    The arrays of the result: `drawing` (row, column); `numbers` (row, column) of closed shapes and
    `lifts` (sample, word, shape); `deviation N` (point, field) of sample N; `overlap` and
    `residuals` (sample, series, step); `tokens` (sample, series, row, column).
    """
    for number, image in enumerate(subject.images):
        arrays = {
            name: array.isel(sample=number) if "sample" in array.dims else array
            for name, array in result.arrays.items()
        }
        sample = _Sample(number, arrays, image, subject)
        end = ending(number, len(subject.images))
        for name in filter(CHARTS.__contains__, arrays):
            file, chart = CHARTS[name]
            yield FigureFile(f"sketch/{file}{end}.png", chart(sample), _texts(sample, name))


def _texts(sample: _Sample, name: str) -> dict[str, str]:
    """Return what the PNG of one array says of itself."""
    attrs = sample.arrays[name].attrs
    branch = {"branch": str(attrs["branch"])} if "branch" in attrs else {}
    return {"measure": name, "sample": str(sample.number)} | branch


def draw_drawing(sample: _Sample) -> Figure:
    """Draw the drawing, the image, and how far the image's edges are from the strokes."""
    deviation = sample.arrays.get(f"deviation {sample.number}")
    title = "The drawing" if deviation is None else str(deviation.attrs["headline"])
    columns = 1 if sample.image is None else 2 if deviation is None else 3
    wide, high = _panel(sample.drawing.shape)
    foot = 0.75 if columns == 3 else 0.35  # noqa: PLR2004 - with a colour bar
    figure, axes = new_charts(
        (title, sample.subtitle), (columns * wide, high + foot), ncols=columns
    )
    _show_paper(axes[0], sample)
    write_title(axes[0], "drawing", _count_shapes(sample), size=10.5)
    if sample.image is not None:
        show_image(axes[1], sample.image)
        write_title(axes[1], "image", size=10.5)
    if sample.image is not None and deviation is not None:
        _show_deviation(figure, axes, deviation, sample.image, sample.subject.strokes)
    return figure


def _show_deviation(
    figure: Figure, axes: list[Axes], deviation: xr.DataArray, image: Pixels, strokes: Lines
) -> None:
    """Shade what lies between each stroke and the nearest edge of the image."""
    height, width = image.shape[:2]
    side, panel = min(height, width), axes[2]
    show_image(panel, _pale(image))
    points = np.asarray(deviation.values)
    scale = Normalize(0.0, 100 * FAR)
    pixel = 72 * PANEL / max(height, width)  # points
    shade = LineCollection(
        list(points[:, [1, 0, 3, 2]].reshape(-1, 2, 2)),
        cmap=DEVIATIONS,
        norm=scale,
        linewidths=1.5 * pixel,
    )
    shade.set_array(100 * points[:, 4] / side)
    panel.add_collection(shade, autolim=False)
    edges = trace_lines(find_edges(image))
    show_strokes(panel, edges, EDGE, halo=False)
    show_strokes(panel, strokes, halo=False)
    write_title(panel, "deviation", "cyan: strokes · black: the image's edges", size=10.5)
    label = f"stroke to nearest edge, % of shorter side; red: {100 * FAR:.0f} or more"
    show_scale(figure, axes, (DEVIATIONS, scale), label)


def draw_shapes(sample: _Sample) -> Figure:
    """Draw the numbered drawing over the image, and how much each word reads each shape."""
    lifts = sample.arrays["lifts"]
    told = lifts.isel(word=np.flatnonzero(lifts["telling"].values & lifts.notnull().all("shape")))
    told = told if told.sizes["word"] else lifts
    wide, high = _panel(sample.drawing.shape)
    table = NAMES + COLUMN * max(told.sizes["shape"], 2)
    size = (wide + table, max(high, ROW * told.sizes["word"]) + 1.1)
    hidden = lifts.sizes["word"] - told.sizes["word"]
    more = f" · {hidden} more words in shapes.csv" if hidden else ""
    subtitle = f"{sample.subtitle_of_image} · 1× is an even map{more}"
    heading = (str(lifts.attrs["headlines"][sample.number]), subtitle)
    figure, (left, right) = new_charts(heading, size, ncols=2, width_ratios=(wide, table))
    if sample.image is None:
        _show_paper(left, sample)
    else:
        show_image(left, _pale(sample.image))
        show_strokes(left, sample.subject.strokes)
        _number_shapes(left, sample.numbers)
    write_title(left, "closed shapes", size=10.5)
    scale = Normalize(-np.log2(STRONGEST), np.log2(STRONGEST))
    _show_table(right, told, scale)
    write_title(right, "attention", "bold: no accident of its place", size=10.5)
    ticks = FixedLocator(list(range(-3, 4)))
    label = "lift: part of the word's map by part of the image"
    show_scale(
        figure, [right], ("RdBu_r", scale), label, ticks=ticks, spell=lambda at: f"{2.0**at:.3g}×"
    )
    return figure


def _show_table(axes: Axes, lifts: xr.DataArray, scale: Normalize) -> None:
    """Write the lifts of words, in rows, in shapes, in columns."""
    values = np.asarray(lifts.values)
    with np.errstate(divide="ignore"):
        axes.imshow(np.log2(values), cmap="RdBu_r", norm=scale, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        is_dark = abs(np.log2(max(value, 1e-9))) > DARK
        colour = "white" if is_dark else INK
        text = "–" if np.isnan(value) else f"{digits(value)}×"
        is_shown = lifts["chance"].values[row, column] <= MOST_CHANCE
        weight = "bold" if is_shown else "normal"
        about = {"fontsize": 9, "color": colour, "fontweight": weight}
        axes.text(column, row, text, about, ha="center", va="center")
    axes.set_xticks(range(values.shape[1]), [str(name) for name in lifts["shape"].values])
    axes.set_yticks(range(values.shape[0]), [printable(name) for name in lifts["word"].values])
    axes.tick_params(labelsize=9, length=0, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_overlap(sample: _Sample) -> Figure:
    """Draw the curves of each word's map against the strokes, beside the image with these."""
    every = sample.arrays["overlap"]
    telling = np.flatnonzero(every["telling"].values)
    curves = every.isel(series=telling) if len(telling) else every
    hidden = every.sizes["series"] - curves.sizes["series"]
    more = f" · {hidden} more words in steps.csv" if hidden else ""
    measure = str(curves.attrs["value"])
    even = " · 1 is an even map" if measure.endswith("_ratio") else ""
    names = [str(name) for name in curves["series"].values]
    wide, high = _panel(sample.drawing.shape)
    size = (wide + CURVES[0], max(CURVES[1], high + 0.4))
    figure, (left, right) = new_charts(
        (TITLES[measure], sample.subtitle_of_image + even + more),
        size,
        legend=names,
        ncols=2,
        width_ratios=(wide, CURVES[0]),
    )
    if sample.image is None:
        _show_paper(left, sample)
    else:
        show_image(left, sample.image)
        show_strokes(left, sample.subject.strokes)
    looks = word_looks(names, sample.subject.vocabulary)
    plot_curves(right, curves, looks)
    show_names(figure, look_handles(looks), names)
    return figure


def draw_tokens(sample: _Sample) -> Figure:
    """Draw the image, and where it reads the drawing's tokens: all together, and the strongest."""
    maps = sample.arrays["tokens"]
    shape = maps.shape[1:] if sample.image is None else sample.image.shape[:2]
    wide, high = (0.8 * side for side in _panel(shape))
    heading = ("Where the image reads the drawing's tokens", sample.subtitle_of_image)
    count = 1 + maps.sizes["series"]
    figure, panels = new_charts(heading, (count * wide, high + 0.9), ncols=count)
    if sample.image is None:
        _show_paper(panels[0], sample)
    else:
        show_image(panels[0], sample.image)
        show_strokes(panels[0], sample.subject.strokes)
    write_title(panels[0], "drawing" if sample.image is None else "image", size=9.5)
    common = colour_scale(maps.values) if maps.attrs["scale"] == "shared" else None
    for axes, token_map in zip(panels[1:], maps, strict=True):
        values = np.asarray(token_map.values)
        scale = common or colour_scale(values)
        show_heat(axes, values, sample.image, scale, shape=(shape[0], shape[1]))
        show_strokes(axes, sample.subject.strokes)
        write_title(axes, str(token_map["series"].item()), f"mean {values.mean():.3g}", size=9.5)
        if common is None:
            label = "attention probability, own scale"
            show_scale(figure, [axes], (HEAT, scale), label, ticks=MaxNLocator(3))
    if common is not None:
        label = "attention probability, all maps on one scale"
        show_scale(figure, panels[1:], (HEAT, common), label)
    return figure


def draw_residuals(sample: _Sample) -> Figure:
    """Draw how strongly a ControlNet acts, block by block."""
    heading = ("What the ControlNet adds, relative to the UNet's own", sample.subtitle)
    residuals = sample.arrays["residuals"]
    names = [_name_block(str(name)) for name in residuals["series"].values]
    curves = residuals.assign_coords(series=names)
    return draw_curves(curves, heading, "norm of what is added ÷ norm of the UNet's features")


def _name_block(name: str) -> str:
    """Return a block by its short name: `down.0.1` is the second thing in the first block down."""
    short = name.replace("down_blocks", "down").replace("mid_block", "mid")
    return short.replace("conv_in", "input")


CHARTS: dict[str, tuple[str, Callable[[_Sample], Figure]]] = {
    "drawing": ("drawing", draw_drawing),
    "lifts": ("shapes", draw_shapes),
    "overlap": ("overlap", draw_overlap),
    "tokens": ("tokens", draw_tokens),
    "residuals": ("residuals", draw_residuals),
}
"""The file and the figure of each array."""


def _panel(shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the width and height of an image on the page, inches."""
    height, width = shape[:2]
    return PANEL * width / max(height, width), PANEL * height / max(height, width)


def _pale(image: Pixels) -> Pixels:
    """Return an image in the light half of its levels, so that lines stand out."""
    return np.asarray(255 - (255 - image.astype(int)) * PALE, np.uint8)


def _show_paper(axes: Axes, sample: _Sample) -> None:
    """Show the drawing in black on white, its closed shapes tinted and numbered."""
    paper = np.ones((*sample.drawing.shape, 3))
    if "numbers" in sample.arrays:
        for number in range(1, sample.numbers.max() + 1):
            colour = np.array(to_rgb(COLOURS[(number - 1) % len(COLOURS)]))
            paper[sample.numbers == number] = TINT * colour + 1 - TINT
    paper[sample.drawing] = to_rgb(INK)
    axes.imshow(paper, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    if "numbers" in sample.arrays:
        _number_shapes(axes, sample.numbers)


def _number_shapes(axes: Axes, numbers: NDArray[np.intp]) -> None:
    """Write each shape's number where it has most room."""
    from scipy.ndimage import distance_transform_edt

    for number in range(1, numbers.max() + 1):
        room = distance_transform_edt(numbers == number)
        row, column = map(int, np.unravel_index(int(room.argmax()), room.shape))
        axes.text(
            column, row, str(number), fontsize=12, color=INK, ha="center", va="center",
            bbox={"boxstyle": "circle", "facecolor": "white", "edgecolor": FAINT, "alpha": 0.9},
        )  # fmt: skip


def _count_shapes(sample: _Sample) -> str:
    count = int(sample.numbers.max()) if "numbers" in sample.arrays else 0
    return {0: "no closed shapes", 1: "1 closed shape"}.get(count, f"{count} closed shapes")
