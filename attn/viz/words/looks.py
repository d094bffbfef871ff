"""The figure of where a place of the picture looks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from attn.viz.figures import FigureFile, Subject, shrink
from attn.viz.labels import ranges
from attn.viz.words.sheets import LONG_SIDE, draw_sheet, shape_of
from attn.wording import percent

if TYPE_CHECKING:
    import xarray as xr

EDGES = (("black", 3.0), ("white", 1.4))
"""Colours and widths, in points, of the box around the place: seen on light and on dark."""


def draw_looks(looks: xr.DataArray, subject: Subject) -> Iterator[FigureFile]:
    """Draw `words/from/looks.png`: the place in the image, and what it gives to each cell.

    With several samples the name ends in `-sample-<number>`.
    """
    attrs = looks.attrs
    for sample, generated in enumerate(subject.images):
        image = generated if generated is None else shrink(generated, LONG_SIDE, subject.dpi)
        maps = looks.isel(sample=sample)
        sums = [f"{percent(float(part.sum()))} in all" for part in maps]
        labels = [f"read of {label}" for label in maps["label"].values]
        labelled = maps.assign_coords(label=("word", labels), remark=("word", sums))
        branch = "" if attrs["branch"] == "cond" else f" · {attrs['branch']}"
        facts = f"{subject.prompt} · {subject.backend} · seed {subject.seed}{branch}"
        heading = (f"Where the marked place looks: {attrs['place']}", facts)
        figure = draw_sheet(labelled, image, heading, strokes=subject.strokes)
        panels = len(maps["word"]) + (image is not None)
        for axes in figure.axes[:panels]:
            _mark(axes, attrs["box"], shape_of(maps.values[0], image))
        ending = f"-sample-{sample}" if len(subject.images) > 1 else ""
        texts = {
            "sample": str(sample),
            "measure": "map.image.image",
            "place": attrs["place"],
            "branch": attrs["branch"],
            "unit": attrs["unit"],
            "shown_steps": ranges(attrs["steps"]),
        }
        yield FigureFile(f"words/from/looks{ending}.png", figure, texts)


def _mark(axes: Axes, box: tuple[int, ...], shape: tuple[int, int]) -> None:
    """Draw a box around the place, on axes that show so many rows and columns of pixels."""
    top, left, bottom, right, rows, columns = box
    height, width = shape[0] / rows, shape[1] / columns
    for colour, line in EDGES:
        axes.add_patch(
            Rectangle(
                (left * width - 0.5, top * height - 0.5),
                (right - left) * width,
                (bottom - top) * height,
                fill=False,
                edgecolor=colour,
                linewidth=line,
                clip_on=False,
            )
        )
