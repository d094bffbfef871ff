"""Figures of curves: the attention to words over the steps, a small plot for every layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.analysis.result import Result
from attn.analysis.words.curves import ending
from attn.viz.charts import new_charts, show_names
from attn.viz.figures import FigureFile, Subject
from attn.viz.labels import printable, ranges
from attn.viz.lines import Look, Time, dress, look_handles, mark_time, name_time, read_time
from attn.viz.page import MARGIN, arrange, write_title
from attn.viz.words.word_colours import word_looks
from attn.wording import count_noun

if TYPE_CHECKING:
    import xarray as xr

ASPECT = 0.62  # height of a plot to its width
BELOW = 0.42  # for the marks of time
LEFT = 0.2  # besides the margin, for the scale
PATH = 26
"""Letters of a path that fit beside a title in the grid."""
NARROWEST = 4.6
SINGLE = (6.6, 4.4)  # a layer on a page of its own, in inches


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw all layers on one page and one scale, and each on its own if that was asked for.

    Files: `<segment>/curves/words.png`, and `<segment>/curves/words_mean_block<block>.png` as
    sd3.5-attention-analysis names them, `words_mean_layer<layer>.png` where blocks have no numbers;
    or `phrases` for `words`.
    """
    for curves in result.arrays.values():
        start = f"{curves.attrs['segment']}/curves/{curves.attrs['kind']}"
        samples = curves.sizes["sample"]
        for sample in range(samples):
            of_sample, end = curves.isel(sample=sample), ending(sample, samples)
            texts = _texts(curves) | {"sample": str(sample)}
            yield FigureFile(f"{start}{end}.png", draw_grid(of_sample, subject), texts)
            if curves.attrs["files"] != "all":
                continue
            for layer, row in zip(of_sample["layer"].values, of_sample["row"].values, strict=True):
                path = f"{start}_mean_{curves.attrs['numbered']}{row}{end}.png"
                figure = draw_layer(of_sample, int(layer), subject)
                yield FigureFile(path, figure, texts | {"layers": str(layer)})


def draw_grid(curves: xr.DataArray, subject: Subject) -> Figure:
    """Draw a small plot per layer, in numeric order.

    Args:
        curves: word, layer, step.
        subject: for the heading.
    """
    heading = (subject.prompt, _subtitle(curves, subject))
    ordered = curves.sortby("layer")
    names = [printable(str(label)) for label in curves["label"].values]
    cells = curves.sizes["layer"]
    sheet = arrange(cells, ASPECT, heading, narrowest=NARROWEST, footer=BELOW)
    width, height = sheet.size
    size = (width - 2 * MARGIN + LEFT, height - sheet.top - MARGIN)
    grid = {"nrows": sheet.rows, "ncols": sheet.columns}
    figure, panels = new_charts(heading, size, legend=names, **grid)
    time, highest, looks = read_time(curves), _top(curves), _looks(curves, subject)
    for axes in panels[cells:]:
        axes.remove()
    for number, layer in enumerate(ordered["layer"].values):
        axes = panels[number]
        of_layer = ordered.sel(layer=layer)
        _plot(axes, of_layer, time, highest, looks)
        is_lowest = number + sheet.columns >= cells
        mark_time(axes, time, is_labelled=is_lowest)
        if number % sheet.columns:
            axes.tick_params(labelleft=False)
        elif is_lowest:
            name_time(axes, time)
        name = subject.layers.get(int(layer))
        path = _ends(str(of_layer["path"].item()))
        title, remark = (name, f"layer {layer}") if name else (f"layer {layer}", path)
        write_title(axes, title, remark, size=9)
    show_names(figure, look_handles(looks), names)
    return figure


def _ends(path: str) -> str:
    """Return the two ends of a long path: blocks and the module tell layers apart."""
    half = PATH // 2
    return path if len(path) <= PATH else f"{path[:half]}…{path[-half:]}"


def draw_layer(curves: xr.DataArray, layer: int, subject: Subject) -> Figure:
    """Draw one layer on the scale of all.

    Args:
        curves: word, layer, step.
        layer: its index.
        subject: for the heading.
    """
    names = [printable(str(label)) for label in curves["label"].values]
    heading = (subject.prompt, _subtitle(curves, subject))
    figure, (axes,) = new_charts(heading, SINGLE, legend=names)
    time, of_layer = read_time(curves), curves.sel(layer=layer)
    looks = _looks(curves, subject)
    _plot(axes, of_layer, time, _top(curves), looks)
    mark_time(axes, time)
    name_time(axes, time)
    block = f"block {int(of_layer['row'])} · " if curves.attrs["numbered"] == "block" else ""
    name = f" · {subject.layers[layer]}" if layer in subject.layers else ""
    write_title(axes, f"{block}layer {layer}{name}", str(of_layer["path"].item()), size=11)
    show_names(figure, look_handles(looks), names)
    return figure


def _looks(curves: xr.DataArray, subject: Subject) -> list[Look]:
    return word_looks([str(label) for label in curves["label"].values], subject.vocabulary)


def _plot(
    axes: Axes, curves: xr.DataArray, time: Time, highest: float, looks: Sequence[Look]
) -> None:
    for curve, (colour, dashes) in zip(curves.values, looks, strict=True):
        axes.plot(time.x, curve, dashes, color=colour, linewidth=1.3, marker=".", markersize=2.5)
    dress(axes, highest)


def _top(curves: xr.DataArray) -> float:
    values = curves.values
    return 1.05 * float(np.nanmax(values)) if not np.isnan(values).all() else 1.0


def _subtitle(curves: xr.DataArray, subject: Subject) -> str:
    attrs = curves.attrs
    branch = "" if attrs["branch"] == "cond" else f" · {attrs['branch']}"
    count, noun = attrs["left_out"], attrs["kind"].removesuffix("s")
    rest = f" · {count_noun(count, f'more {noun}')} not shown" if count else ""
    facts = f"{subject.backend} · seed {subject.seed} · {attrs['segment']}{branch}"
    return f"{facts} · {attrs['unit']}{rest}"


def _texts(curves: xr.DataArray) -> dict[str, str]:
    attrs = curves.attrs
    return {
        "segment": attrs["segment"],
        "branch": attrs["branch"],
        "measure": attrs["measure"],
        "unit": attrs["unit"],
        attrs["kind"]: ", ".join(str(label) for label in curves["label"].values),
        "layers": ranges(int(layer) for layer in curves["layer"].values),
        "shown_steps": ranges(int(step) for step in curves["step"].values),
    }
