"""Pictures of sinks: one token over heads and steps, and what every role receives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attn.analysis.result import Result
from attn.analysis.words.word_sums import mean_present
from attn.viz.figures import FigureFile, Subject, new_figure
from attn.viz.labels import ranges
from attn.viz.lines import (
    COLOURS,
    dress,
    legend_rows,
    mark_layers,
    mark_time,
    name_axes,
    name_time,
    read_time,
    show_legend,
    spread,
)
from attn.viz.overlay import COLOURS as HEAT
from attn.viz.overlay import ColourScale, colour_scale
from attn.viz.page import (
    FAINT,
    FAMILY,
    GAP,
    INK,
    LINE,
    MARGIN,
    TITLE,
    add_axes,
    shorten,
    write_heading,
    write_title,
)

if TYPE_CHECKING:
    import xarray as xr

LEFT, BELOW = 0.55, 0.55  # for scales and their names
CELL = (0.3, 0.22)  # of the heatmap of layers and heads, inches
WIDE = (5.0, 11.0)
BAR = 0.13
GREY = "#d5d8dc"  # heads that a layer does not have
THIN = "#b3c7d9"

ROLES = {
    "bos": "#c8394f",
    "word": "#2f6f9f",
    "punctuation": "#86b6d9",
    "eos": "#e8a838",
    "padding": "#b8bcc4",
    "sketch": "#8a63a6",
    "image": "#5b9a72",
    "unknown": "#8f7f6f",
}


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw `sinks/roles.png` and, of a token, `layer_head_heatmap.png` and `timestep_curve.png`."""
    roles = result.arrays["roles"]
    if "heads" in result.arrays:
        heads, steps = result.arrays["heads"], result.arrays["steps"]
        texts = {"token": heads.attrs["token"], "measure": heads.attrs["value"]} | _texts(heads)
        yield FigureFile("sinks/layer_head_heatmap.png", draw_heads(heads, subject), texts)
        yield FigureFile("sinks/timestep_curve.png", draw_steps(steps, subject), texts)
    yield FigureFile("sinks/roles.png", draw_roles(roles, subject), _texts(roles))


def draw_heads(values: xr.DataArray, subject: Subject) -> Figure:
    """Draw (layer, head) as a table of colours: layers to the right, in numeric order."""
    layers, heads = values.sizes["layer"], values.sizes["head"]
    width = min(max(CELL[0] * layers, WIDE[0]), WIDE[1])
    height = CELL[1] * heads
    figure, axes = _page(subject, values, (width, height, 1.15))
    scale = colour_scale(values.values[~np.isnan(values.values)])
    axes.set_facecolor(GREY)
    ordered = values.sortby("layer")
    axes.imshow(ordered.values.T, aspect="auto", cmap=HEAT, norm=scale, interpolation="nearest")
    mark_layers(axes, [int(layer) for layer in ordered["layer"].values])
    axes.set_xlim(-0.5, layers - 0.5)
    axes.set_yticks(spread(np.arange(heads, dtype=np.float64), height, 0.2))
    axes.tick_params(labelsize=7.5, length=0, labelcolor=FAINT, labelfontfamily=FAMILY)
    axes.spines[:].set_visible(False)
    name_axes(axes, "layer", "head")
    write_title(axes, values.attrs["title"], "mean over steps", size=10)
    _show_bar(figure, scale, values.attrs["unit"], min(4.0, width))
    return figure


def draw_steps(values: xr.DataArray, subject: Subject) -> Figure:
    """Draw the mean over layers of (layer, step), and every layer as a thin line behind it."""
    figure, axes = _page(subject, values, (6.6, 3.6, BELOW))
    time = read_time(values)
    for curve in values.values:
        axes.plot(time.x, curve, color=THIN, linewidth=0.8, marker=".", markersize=2)
    mean = mean_present(values.values, axis=0)
    axes.plot(time.x, mean, color=COLOURS[0], linewidth=2.2, marker=".", markersize=5)
    dress(axes, 1.05 * float(np.nanmax(values.values)))
    mark_time(axes, time)
    name_time(axes, time)
    axes.set_ylabel(values.attrs["unit"], fontsize=8.5, color=INK, fontfamily=FAMILY)
    remark = "mean over heads; thick: and over layers"
    write_title(axes, values.attrs["title"], remark, size=10)
    return figure


def draw_roles(values: xr.DataArray, subject: Subject) -> Figure:
    """Draw how the picture's attention is shared out among roles, a bar per layer."""
    layers = values.sizes["layer"]
    names = [str(name) for name in values["role"].values]
    width = min(max(CELL[0] * layers, WIDE[0]), WIDE[1])
    rows = legend_rows(names, width + LEFT)
    figure, axes = _page(subject, values, (width, 3.2, BELOW + LINE * rows))
    ordered = values.sortby("layer")
    bottom = np.zeros(layers)
    patches = []
    for name, heights in zip(names, np.nan_to_num(ordered.values), strict=True):
        colour, hatch = _look(name, names)
        axes.bar(
            np.arange(layers),
            heights,
            0.8,
            bottom,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
        )
        patches.append(Patch(facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0))
        bottom += heights
    dress(axes, 1.0)
    mark_layers(axes, [int(layer) for layer in ordered["layer"].values])
    name_axes(axes, "layer", values.attrs["unit"])
    title = "what the picture attends to"
    write_title(axes, title, "mean over steps, heads and places", size=10)
    show_legend(figure, patches, names, rows)
    return figure


def _page(
    subject: Subject, values: xr.DataArray, sizes: tuple[float, float, float]
) -> tuple[Figure, Axes]:
    """Return a page with a heading, and axes on it of that width and height, with room below."""
    width, height, below = sizes
    top = MARGIN + 2 * LINE + GAP + TITLE
    figure = new_figure(width + 2 * MARGIN + LEFT, top + height + below + MARGIN)
    facts = f"{subject.backend} · seed {subject.seed} · {values.attrs['branch']}"
    write_heading(figure, (shorten(subject.prompt, width + LEFT), facts))
    return figure, add_axes(figure, MARGIN + LEFT, top, width, height)


def _show_bar(figure: Figure, scale: ColourScale, unit: str, width: float) -> None:
    down = figure.get_size_inches()[1]
    bar = add_axes(figure, MARGIN + LEFT, down - MARGIN - 0.48, width, BAR)
    drawn = figure.colorbar(
        ScalarMappable(scale, colormaps[HEAT]),
        cax=bar,
        orientation="horizontal",
        ticks=MaxNLocator(5),
        format=FuncFormatter(lambda value, _: f"{value:.6g}"),
    )
    drawn.outline.set_visible(False)
    bar.tick_params(labelsize=7.5, length=2, color=FAINT, labelcolor=INK)
    bar.set_xlabel(unit, fontsize=8.5, color=INK, fontfamily=FAMILY)


def _look(name: str, names: Sequence[str]) -> tuple[str, str]:
    """Return colour and hatching of a role: plain in the first text segment, or without text."""
    segment, _, role = name.rpartition(" ")
    is_plain = role in ("image", "sketch") or segment == names[0].rpartition(" ")[0]
    return ROLES[role], "" if is_plain else "////"


def _texts(values: xr.DataArray) -> dict[str, str]:
    return {
        "branch": values.attrs["branch"],
        "unit": values.attrs["unit"],
        "layers": ranges(int(layer) for layer in values["layer"].values),
    }
