"""Figures of sinks: one token over heads and steps, and what every role receives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from attn.analysis.numbers import mean_present
from attn.analysis.result import Result
from attn.viz.charts import new_charts, show_names, show_scale
from attn.viz.figures import FigureFile, Subject
from attn.viz.labels import ranges
from attn.viz.lines import (
    COLOURS,
    dress,
    layer_room,
    mark_layers,
    mark_time,
    name_axes,
    name_time,
    read_time,
    spread,
)
from attn.viz.overlay import COLOURS as HEAT
from attn.viz.overlay import colour_scale, say_dark
from attn.viz.page import (
    write_title,
)
from attn.wording import count_noun

if TYPE_CHECKING:
    import xarray as xr

LEFT, BELOW = 0.55, 0.55  # for scales and their names
CELL = (0.3, 0.22)  # of the heatmap of layers and heads, inches
WIDE = (5.0, 11.0)
BAR = 0.13
GREY = "#d5d8dc"  # heads that a layer does not have
THIN = "#b3c7d9"
MEAN = 2.2  # points of a mean's line

ROLES: Mapping[str, str] = {
    "start token": "#c8394f",
    "words": "#2f6f9f",
    "punctuation": "#86b6d9",
    "end token": "#e8a838",
    "template": "#c9a26b",
    "padding": "#b8bcc4",
    "drawing": "#8a63a6",
    "image": "#5b9a72",
    "unknown text": "#8f7f6f",
}
NAMED = 3
"""So many layers are named in a chart of lines, those that reach highest."""


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
    figure, axes = _page(
        subject, values, (width + LEFT, height + BELOW + 1.1 + layer_room(subject.layers))
    )
    scale = colour_scale(values.values[~np.isnan(values.values)])
    axes.set_facecolor(GREY)
    ordered = values.sortby("layer")
    axes.imshow(ordered.values.T, aspect="auto", cmap=HEAT, norm=scale, interpolation="nearest")
    mark_layers(axes, [int(layer) for layer in ordered["layer"].values], subject.layers)
    axes.set_xlim(-0.5, layers - 0.5)
    axes.set_yticks(spread(np.arange(heads, dtype=np.float64), height, 0.2))
    axes.spines[:].set_visible(False)
    name_axes(axes, "layer", "head")
    write_title(axes, values.attrs["title"], "mean over steps", size=10)
    label = f"{values.attrs['unit']}{say_dark(values.values, scale, 'heads')}"
    show_scale(figure, [axes], (HEAT, scale), label)
    return figure


def draw_steps(values: xr.DataArray, subject: Subject) -> Figure:
    """Draw the mean over layers of (layer, step), and every layer as a thin line behind it.

    The layers that reach highest have colours and names.
    """
    highest = np.nan_to_num(values.values).max(axis=1)
    named = [int(at) for at in np.argsort(-highest, kind="stable")[:NAMED]]
    others = values.sizes["layer"] - len(named)
    indices = [int(values["layer"].values[at]) for at in named]
    names = ["mean over layers", *(subject.layers.get(of, f"layer {of}") for of in indices)]
    names += [count_noun(others, "other layer")] if others else []
    figure, axes = _page(subject, values, (7.2, 4.4), names)
    time = read_time(values)
    looks = dict(zip(named, COLOURS[1:], strict=False))
    for at, curve in enumerate(values.values):
        colour, width = looks.get(at, THIN), 1.3 if at in looks else 0.8
        axes.plot(time.x, curve, color=colour, linewidth=width, marker=".", markersize=2)
    mean = mean_present(values.values, axis=0)
    axes.plot(time.x, mean, color=COLOURS[0], linewidth=MEAN, marker=".", markersize=5)
    colours = [COLOURS[0], *looks.values(), THIN][: len(names)]
    handles = [Line2D([], [], color=colour) for colour in colours]
    handles[0].set_linewidth(MEAN)
    show_names(figure, handles, names)
    dress(axes, 1.05 * float(np.nanmax(values.values)))
    mark_time(axes, time)
    name_time(axes, time)
    axes.set_ylabel(values.attrs["unit"])
    write_title(axes, values.attrs["title"], "mean over heads", size=10)
    return figure


def draw_roles(values: xr.DataArray, subject: Subject) -> Figure:
    """Draw how the picture's attention is shared out among roles, a bar per layer."""
    layers = values.sizes["layer"]
    names = [str(name) for name in values["role"].values]
    width = min(max(CELL[0] * layers, WIDE[0]), WIDE[1])
    figure, axes = _page(
        subject, values, (width + LEFT, 3.2 + BELOW + layer_room(subject.layers)), names
    )
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
    mark_layers(axes, [int(layer) for layer in ordered["layer"].values], subject.layers)
    name_axes(axes, "layer", values.attrs["unit"])
    title = "what the image attends to"
    write_title(axes, title, "mean over steps, heads and places", size=10)
    show_names(figure, patches, names)
    return figure


def _page(
    subject: Subject, values: xr.DataArray, size: tuple[float, float], legend: Sequence[str] = ()
) -> tuple[Figure, Axes]:
    """Return a page with a heading, and its axes."""
    facts = f"{subject.backend} · seed {subject.seed} · {values.attrs['branch']}"
    figure, (axes,) = new_charts((subject.prompt, facts), size, legend=legend)
    return figure, axes


def _look(name: str, names: Sequence[str]) -> tuple[str, str]:
    """Return colour and hatching of a role: plain in the first text segment, or without text."""
    (segment, role), (first, _) = _split(name), _split(names[0])
    is_plain = role in ("image", "drawing") or segment == first
    return ROLES[role], "" if is_plain else "////"


def _split(name: str) -> tuple[str, str]:
    """Return the segment of a role, if it is named, and the role."""
    role = next(role for role in ROLES if name.endswith(role))
    return name.removesuffix(role).strip(), role


def _texts(values: xr.DataArray) -> dict[str, str]:
    return {
        "branch": values.attrs["branch"],
        "unit": values.attrs["unit"],
        "layers": ranges(int(layer) for layer in values["layer"].values),
    }
