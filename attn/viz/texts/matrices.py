"""Attention matrices with the tokens at their edges: layers, their evolution, heads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from attn.analysis.result import Result
from attn.viz.figures import FigureFile, Subject, new_figure
from attn.viz.labels import printable, shown_token
from attn.viz.lines import mark_steps
from attn.viz.page import FAMILY, GAP, LINE, MARGIN, TITLE, add_axes, write_heading, write_title
from attn.viz.style import FAINT, INK

if TYPE_CHECKING:
    import xarray as xr

HEAT, CHANGE = "Reds", "RdBu_r"
"""Colours follow the root of a probability: most are small, and would all be white."""
STATES = ("#b2182b", "#8c929c", "#2166ac")
"""Of lines: prompt, masked, decided."""
WHOLE = 1.75
"""A matrix alone is so much larger than one of four."""
LABEL = 1.2
"""Inches for the tokens at an edge."""
SMALLEST = 4.0
"""Points of a label below which there is none."""
TOP = MARGIN + 2 * LINE + 2 * GAP
BAR = 0.14


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw a sheet of all layers, a page for each layer, and its heads where they were kept."""
    layers = result.arrays["layers"]
    for sample in range(layers.sizes["sample"]):
        of_sample = layers.isel(sample=sample)
        what = "the whole text" if layers.attrs["growing"] else "mean over the steps"
        sheet = _grid(of_sample.sel(kind="mean"), "layer", subject, f"every layer, {what}")
        yield _figure_file("matrices/layers", sheet, sample, subject)
        for layer in of_sample["layer"].values.tolist():
            of_layer, read = of_sample.sel(layer=layer), result.arrays["read"].sel(layer=layer)
            page = _whole(of_layer.sel(kind="mean"), subject, f"layer {layer}, {what}")
            yield _figure_file(f"matrices/layer_{layer:02d}", page, sample, subject)
            if layers.attrs["growing"]:
                continue
            page = _compare(of_layer, read.isel(sample=sample), subject, f"layer {layer}")
            yield _figure_file(
                f"matrices/attention_evolution_layer_{layer:02d}", page, sample, subject
            )
    heads = result.arrays.get("heads")
    if heads is None:
        return
    for step in heads["step"].values.tolist():
        for layer in heads["layer"].values.tolist():
            for sample in range(heads.sizes["sample"]):
                of_sample = heads.sel(step=step, layer=layer).isel(sample=sample)
                when = "the whole text" if layers.attrs["growing"] else f"step {step}"
                page = _grid(of_sample, "head", subject, f"{when}, layer {layer}, every head")
                stem = f"matrices/step_{step:04d}/layer_{layer:02d}_all_heads"
                yield _figure_file(stem, page, sample, subject)


def _whole(array: xr.DataArray, subject: Subject, what: str) -> Figure:
    """Draw one matrix, large, with the tokens at its edges."""
    side = WHOLE * float(array.attrs["size"])
    figure = _page(side + LABEL, side + LABEL + TITLE + 0.6, array, subject, what)
    scale = Normalize(0, float(np.sqrt(array.max())) or 1.0)
    axes = add_axes(figure, MARGIN + LABEL, TOP + GAP, side, side)
    axes.imshow(np.sqrt(array.values), cmap=HEAT, norm=scale, interpolation="nearest")
    _mark(axes, array, side)
    _bars(figure, scale, None)
    return figure


def _compare(array: xr.DataArray, read: xr.DataArray, subject: Subject, what: str) -> Figure:
    """Draw what the text reads over the steps, first, last and their difference."""
    side, (first, last) = float(array.attrs["size"]), array.attrs["steps"]
    titles = {
        "first": f"step {first}",
        "last": f"step {last}",
        "change": f"step {last} minus step {first}",
    }
    wide, high = side + LABEL, side + LABEL + TITLE + GAP
    figure = _page(2 * wide, 2 * high + 0.6, array, subject, what)
    scale = Normalize(0, float(np.sqrt(array[:3].max())) or 1.0)
    most = float(np.abs(array[3]).max()) or 1.0
    axes = add_axes(figure, MARGIN + LABEL, TOP + TITLE, side - GAP, side - GAP)
    _draw_lines(axes, read)
    for index, kind in enumerate(titles, 1):
        row, column = divmod(index, 2)
        left, upper = MARGIN + LABEL + column * wide, TOP + TITLE + row * high
        axes = add_axes(figure, left, upper, side - GAP, side - GAP)
        is_change = kind == "change"
        values = array.sel(kind=kind).values
        axes.imshow(
            values if is_change else np.sqrt(values),
            cmap=CHANGE if is_change else HEAT,
            norm=TwoSlopeNorm(0, -most, most) if is_change else scale,
            interpolation="nearest",
        )
        _mark(axes, array, side)
        write_title(axes, titles[kind], size=9)
    _bars(figure, scale, most)
    return figure


def _draw_lines(axes: Axes, read: xr.DataArray) -> None:
    """Draw the mass on the keys of each state over the steps."""
    for state, colour in zip(read["state"].values, STATES, strict=True):
        axes.plot(read["step"], read.sel(state=state), color=colour, label=str(state))
    axes.set_ylim(0, 1)
    mark_steps(axes)
    axes.tick_params(labelsize=8, length=0, labelcolor=FAINT)
    axes.set_xlabel("step", fontsize=8, color=FAINT)
    for spine in axes.spines.values():
        spine.set_color("#d0d3d8")
    axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    write_title(axes, "what the text's rows read, by the state of the key", size=9)


def _grid(many: xr.DataArray, dim: str, subject: Subject, what: str) -> Figure:
    """Draw many matrices on one colour scale, with the tokens at the edges of the sheet."""
    count = many.sizes[dim]
    columns = math.ceil(math.sqrt(1.4 * count))
    side = float(many.attrs["size"]) / 2
    rows = -(-count // columns)
    step = (side + GAP, side + TITLE + GAP)
    wide, high = max(5.0, LABEL + columns * step[0]), rows * step[1] + LABEL + 0.6
    figure = _page(wide, high, many, subject, what)
    scale = Normalize(0, float(np.sqrt(many.max())) or 1.0)
    for index in range(count):
        row, column = divmod(index, columns)
        left, upper = MARGIN + LABEL + column * step[0], TOP + TITLE + row * step[1]
        axes = add_axes(figure, left, upper, side, side)
        array = many.isel({dim: index})
        axes.imshow(np.sqrt(array.values), cmap=HEAT, norm=scale, interpolation="nearest")
        _mark(axes, array, side, left=column == 0, below=index + columns >= count)
        name = int(array[dim]) if dim in array.coords else index
        write_title(axes, f"{dim} {name}", size=8)
    _bars(figure, scale, None)
    return figure


def _page(wide: float, high: float, array: xr.DataArray, subject: Subject, what: str) -> Figure:
    figure = new_figure(wide + 2 * MARGIN, TOP + high + MARGIN)
    facts = f"{subject.backend} · seed {subject.seed} · {what} · rows read columns"
    write_heading(figure, (printable(subject.prompt)[:100], facts))
    return figure


def _plain(axes: Axes, array: xr.DataArray) -> None:
    """Take the frame away, and mark where the text begins."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#d0d3d8")
    if array.attrs["prompt"] < array.sizes["key"]:
        for line in (axes.axhline, axes.axvline):
            line(array.attrs["prompt"] - 0.5, color="#4a4e57", linewidth=0.6, linestyle="--")


def _mark(
    axes: Axes, array: xr.DataArray, side: float, *, left: bool = True, below: bool = True
) -> None:
    """Write the tokens at the edges; of too many only every n-th."""
    _plain(axes, array)
    tokens = array["token"].values.tolist()
    room = side * 72 / len(tokens)  # points of a row
    every = max(1, math.ceil(SMALLEST / room))
    size = min(7.0, max(SMALLEST, 0.9 * room * every))
    ticks, labels = _labels(tokens, every)
    if below:
        axes.set_xticks(ticks, labels, rotation=90, fontsize=size, parse_math=False)
    if left:
        axes.set_yticks(ticks, labels, fontsize=size, parse_math=False)
    axes.tick_params(length=0, pad=1.5, labelcolor=FAINT, labelfontfamily=FAMILY)


def _labels(tokens: Sequence[str], every: int) -> tuple[list[int], list[str]]:
    ticks = list(range(0, len(tokens), every))
    return ticks, [shown_token(str(tokens[index])) for index in ticks]


def _bars(figure: Figure, scale: Normalize, most: float | None) -> None:
    """Draw the colour bars at the foot of a page."""
    width, height = figure.get_size_inches()
    across = (width - 4 * MARGIN) / 2
    axes = add_axes(figure, MARGIN, height - MARGIN - 0.45, across, BAR)
    bar = figure.colorbar(ScalarMappable(scale, HEAT), cax=axes, orientation="horizontal")
    ticks = np.linspace(0, float(scale.vmax or 1), 5)
    bar.set_ticks(list(ticks), labels=[f"{tick**2:.2g}" for tick in ticks])
    _label_bar(axes, "probability (colours follow its root)")
    if most is not None:
        axes = add_axes(figure, 3 * MARGIN + across, height - MARGIN - 0.45, across, BAR)
        norm = TwoSlopeNorm(0, -most, most)
        figure.colorbar(ScalarMappable(norm, CHANGE), cax=axes, orientation="horizontal")
        _label_bar(axes, "change of the probability")


def _label_bar(axes: Axes, label: str) -> None:
    axes.tick_params(labelsize=7, color=FAINT, labelcolor=INK, length=2.5)
    axes.set_xlabel(label, fontsize=8, color=INK, fontfamily=FAMILY, parse_math=False)


def _figure_file(stem: str, figure: Figure, sample: int, subject: Subject) -> FigureFile:
    ending = f"-sample-{sample}" if len(subject.images) > 1 else ""
    texts = {
        "prompt": subject.prompt,
        "seed": str(subject.seed),
        "backend": subject.backend,
        "sample": str(sample),
    }
    return FigureFile(f"{stem}{ending}.png", figure, texts)
