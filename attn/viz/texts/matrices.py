"""Attention matrices with the tokens at their edges: layers, their evolution, heads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LinearLocator

from attn.analysis.result import Result
from attn.analysis.texts.findings import tell_states_of_layer, tell_strongest
from attn.viz.charts import new_charts, show_scale
from attn.viz.figures import FigureFile, Subject
from attn.viz.labels import shown_token
from attn.viz.lines import mark_steps
from attn.viz.page import FAMILY, GAP, TITLE, write_title
from attn.viz.style import FAINT, INK
from attn.viz.texts.heading import head

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
LETTERS = 7.5
"""Points of a label; where rows are lower, only every n-th has one."""
READ = " · rows read columns"
FOOT = 0.6
"""Inches for the colour bar."""
NARROWEST = 5.0
PROBABILITY = "probability (colours follow its root)"


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
            matrix = of_layer.sel(kind="mean")
            page = _whole(matrix, subject, f"layer {layer}, {what}")
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
    heading = head(tell_strongest(array), subject, what + READ)
    figure, [axes] = _charts((1, 1), side, heading)
    look = _show_roots([axes], [array])
    _mark(axes, array, side)
    show_scale(figure, [axes], look, PROBABILITY, ticks=LinearLocator(5), spell=_squared)
    return figure


def _compare(array: xr.DataArray, read: xr.DataArray, subject: Subject, what: str) -> Figure:
    """Draw what the text reads over the steps, first, last and their difference."""
    side, (first, last) = float(array.attrs["size"]), array.attrs["steps"]
    heading = head(tell_states_of_layer(read), subject, what + READ)
    figure, [curves, *others] = _charts((2, 2), side, heading)
    _draw_lines(curves, read)
    curves.set_box_aspect(1)
    names = ("first", "last", "change")
    titles = (f"step {first}", f"step {last}", f"step {last} minus step {first}")
    matrices = [array.sel(kind=name) for name in names]
    look = _show_roots(others[:2], matrices[:2])
    most = float(np.abs(matrices[2]).max()) or 1.0
    change = (CHANGE, TwoSlopeNorm(0, -most, most))
    others[2].imshow(matrices[2], cmap=change[0], norm=change[1], interpolation="nearest")
    for axes, matrix, title in zip(others, matrices, titles, strict=True):
        _mark(axes, matrix, side)
        write_title(axes, title, size=9)
    below = (curves, others[1]), (others[0], others[2])
    show_scale(figure, below[0], look, PROBABILITY, ticks=LinearLocator(5), spell=_squared)
    show_scale(figure, below[1], change, "change of the probability")
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
    write_title(axes, "what the text reads, by the state of the key", size=9)


def _grid(many: xr.DataArray, dim: str, subject: Subject, what: str) -> Figure:
    """Draw many matrices on one colour scale, with the tokens at the edges of the sheet."""
    count = many.sizes[dim]
    columns = math.ceil(math.sqrt(1.4 * count))
    side = float(many.attrs["size"]) / 2
    heading = head(tell_strongest(many, dim), subject, what + READ)
    figure, axes = _charts((-(-count // columns), columns), side, heading)
    matrices = [many.isel({dim: index}) for index in range(count)]
    for empty in axes[count:]:
        empty.set_visible(False)
    look = _show_roots(axes[:count], matrices)
    for index, (panel, matrix) in enumerate(zip(axes, matrices, strict=False)):
        _mark(panel, matrix, side, left=index % columns == 0, below=index + columns >= count)
        name = int(matrix[dim]) if dim in matrix.coords else index
        write_title(panel, f"{dim} {name}", size=8)
    show_scale(figure, axes[:count], look, PROBABILITY, ticks=LinearLocator(5), spell=_squared)
    return figure


def _charts(
    shape: tuple[int, int], side: float, heading: tuple[str, str]
) -> tuple[Figure, list[Axes]]:
    """Return a page of matrices of about that side, in inches."""
    rows, columns = shape
    size = max(columns * (side + GAP) + LABEL, NARROWEST), rows * (side + TITLE) + LABEL + FOOT
    return new_charts(heading, size, nrows=rows, ncols=columns)


def _show_roots(axes: Sequence[Axes], matrices: Sequence[xr.DataArray]) -> tuple[str, Normalize]:
    """Draw the roots of probabilities on one scale, and return their colours and scale."""
    highest = max(float(matrix.max()) for matrix in matrices)
    look = HEAT, Normalize(0, math.sqrt(highest) or 1.0)
    for panel, matrix in zip(axes, matrices, strict=True):
        panel.imshow(np.sqrt(matrix.values), cmap=look[0], norm=look[1], interpolation="nearest")
    return look


def _squared(root: float) -> str:
    return f"{root**2:.2g}"


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
    every = max(1, math.ceil(LETTERS / room))
    ticks, labels = _labels(tokens, every)
    if below:
        axes.set_xticks(ticks, labels, rotation=90, fontsize=LETTERS, parse_math=False)
    if left:
        axes.set_yticks(ticks, labels, fontsize=LETTERS, parse_math=False)
    axes.tick_params(length=0, pad=1.5, labelcolor=FAINT, labelfontfamily=FAMILY)


def _labels(tokens: Sequence[str], every: int) -> tuple[list[int], list[str]]:
    ticks = list(range(0, len(tokens), every))
    return ticks, [shown_token(str(tokens[index])) for index in ticks]


def _figure_file(stem: str, figure: Figure, sample: int, subject: Subject) -> FigureFile:
    ending = f"-sample-{sample}" if len(subject.images) > 1 else ""
    texts = {
        "prompt": subject.prompt,
        "seed": str(subject.seed),
        "backend": subject.backend,
        "sample": str(sample),
    }
    return FigureFile(f"{stem}{ending}.png", figure, texts)
