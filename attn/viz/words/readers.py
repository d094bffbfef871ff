"""Figures of what the words of a prompt read: maps over the picture, and a matrix of words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LinearLocator

from attn.analysis.relations.readers import OTHERS
from attn.analysis.result import Result
from attn.viz.charts import new_charts, show_scale
from attn.viz.figures import FigureFile, Subject, shrink
from attn.viz.labels import ranges, shown_token
from attn.viz.overlay import Scale
from attn.viz.page import FAMILY
from attn.viz.style import INK
from attn.viz.words.sheets import LONG_SIDE, draw_sheet
from attn.wording import percent

if TYPE_CHECKING:
    import xarray as xr

SHEETS: dict[Scale, str] = {"shared": "", "own": "-own-scale"}
HEAT = "Reds"
CELL, LABEL, FOOT, NARROWEST = 0.46, 1.1, 0.7, 4.2  # inches
NUMBERED = 16
"""So many columns have room for numbers in their cells."""
DARK = 0.6
"""From this part of the scale on letters are white."""


def draw_images(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw `text_to_image/<segment>.png` on one scale, and `…-own-scale.png` with one for each.

    With several samples the names end in `-sample-<number>`.
    """
    for segment, maps in result.arrays.items():
        for sample, generated in enumerate(subject.images):
            image = generated if generated is None else shrink(generated, LONG_SIDE, subject.dpi)
            mine = maps.isel(sample=sample)
            sums = [f"{percent(float(part.sum()))} in all" for part in mine]
            labelled = mine.assign_coords(remark=("word", sums))
            title = "What each word reads of the image"
            for scale, name in SHEETS.items():
                heading = (title, _facts(subject, segment, maps))
                figure = draw_sheet(labelled, image, heading, scale)
                stem = f"text_to_image/{segment}{name}"
                yield _file(stem, figure, maps, (sample, "map.text.image"), subject)


def draw_texts(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw `text_to_text/<segment>.png`: rows read columns.

    With several samples the names end in `-sample-<number>`.
    """
    for segment, matrices in result.arrays.items():
        for sample in range(matrices.sizes["sample"]):
            mine = matrices.isel(sample=sample)
            figure = _draw_matrix(mine, (_tell(mine), _facts(subject, segment, matrices)))
            stem = f"text_to_text/{segment}"
            yield _file(stem, figure, matrices, (sample, "map.text.text"), subject)


def _tell(matrix: xr.DataArray) -> str:
    """Say which word reads another one most."""
    count = matrix.sizes["word"]
    pairs = matrix.values[:, :count].copy()
    np.fill_diagonal(pairs, np.nan)
    if not np.isfinite(pairs).any():
        return "What the words read of the text"
    row, column = np.unravel_index(np.nanargmax(pairs), pairs.shape)
    reader, read = (str(matrix["label"].values[at]) for at in (row, column))
    part = percent(pairs[row, column])
    return f"“{reader}” gives {part} of its attention to “{read}”, the most to another word"


def _draw_matrix(matrix: xr.DataArray, heading: tuple[str, str]) -> Figure:
    """Draw a row for each word that reads, a column for what it reads, with numbers in %."""
    rows, columns = matrix.shape
    size = max(columns * CELL + LABEL, NARROWEST), rows * CELL + LABEL + FOOT
    figure, [axes] = new_charts((heading[0], f"{heading[1]} · rows read columns"), size)
    words = matrix.values[:, : -len(OTHERS)]
    top = float(np.nanmax(words)) if np.isfinite(words).any() else 1.0
    look = HEAT, Normalize(0, math.sqrt(top) or 1.0)
    shown = np.sqrt(matrix.values)
    shown[:, -len(OTHERS) :] = np.nan  # far more than words get: numbers, without a colour
    axes.imshow(shown, cmap=look[0], norm=look[1], interpolation="nearest")
    names = [shown_token(str(name)) for name in matrix["read"].values]
    axes.set_xticks(range(columns), names, rotation=90, fontsize=8, parse_math=False)
    labels = [shown_token(str(name)) for name in matrix["label"].values]
    axes.set_yticks(range(rows), labels, fontsize=8, parse_math=False)
    axes.tick_params(length=0, pad=2, labelcolor=INK, labelfontfamily=FAMILY)
    axes.spines[:].set_color("#d0d3d8")
    if columns <= NUMBERED:
        _write_numbers(axes, matrix.values, columns - len(OTHERS), top)
    unit = f"{matrix.attrs['unit']}\nnumbers in %; colours follow the root"
    show_scale(figure, [axes], look, unit, ticks=LinearLocator(5), spell=_squared)
    return figure


def _write_numbers(axes: Axes, values: np.ndarray, coloured: int, top: float) -> None:
    """Write every value in %, in white on deep colours; the first columns are coloured."""
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            is_deep = column < coloured and math.sqrt(value / top) > DARK
            colour = "white" if is_deep else INK
            text = f"{100 * value:.2g}"
            axes.text(column, row, text, fontsize=7, color=colour, ha="center", va="center")


def _squared(root: float) -> str:
    return percent(root**2)


def _facts(subject: Subject, segment: str, array: xr.DataArray) -> str:
    branch = "" if array.attrs["branch"] == "cond" else f" · {array.attrs['branch']}"
    return (
        f"{subject.prompt} · {subject.backend} · seed {subject.seed} · words of {segment}{branch}"
    )


def _file(
    stem: str, figure: Figure, array: xr.DataArray, what: tuple[int, str], subject: Subject
) -> FigureFile:
    sample, measure = what
    ending = f"-sample-{sample}" if len(subject.images) > 1 else ""
    texts = {
        "sample": str(sample),
        "measure": measure,
        "branch": array.attrs["branch"],
        "unit": array.attrs["unit"],
        "layers": ranges(array.attrs["layers"]),
        "shown_steps": ranges(array.attrs["steps"]),
    }
    return FigureFile(f"{stem}{ending}.png", figure, texts)
