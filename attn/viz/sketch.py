"""Figures of a sketch's part in a generation: words against strokes, and what the sketch adds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attn.analysis.result import Result
from attn.analysis.words.curves import ending
from attn.viz.figures import FigureFile, Subject
from attn.viz.words.evolution import draw_curves

if TYPE_CHECKING:
    import xarray as xr

TITLES = {
    "on": "Part of each word's map on the strokes",
    "on_ratio": "Each word's map on the strokes, against an even map",
    "near": "Part of each word's map on or beside the strokes",
    "inside": "Part of each word's map inside the strokes",
    "inside_ratio": "Each word's map inside the strokes, against an even map",
    "iou": "Each word's highest cells and the strokes: intersection over union",
}


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw `sketch/overlap.png` and `sketch/residuals.png`, one of each for every sample."""
    titles = {"residuals": "What the ControlNet adds, relative to the UNet's own"}
    for name, curves in result.arrays.items():
        title = titles.get(name) or TITLES[curves.attrs["value"]]
        samples = curves.sizes["sample"]
        for sample in range(samples):
            of_sample = curves.isel(sample=sample)
            heading = (title, _subtitle(of_sample, subject))
            texts = {"branch": str(curves.attrs["branch"]), "measure": name, "sample": str(sample)}
            path = f"sketch/{name}{ending(sample, samples)}.png"
            yield FigureFile(path, draw_curves(of_sample, heading), texts)


def _subtitle(curves: xr.DataArray, subject: Subject) -> str:
    even = " · 1 is an even map" if str(curves.attrs.get("value")).endswith("_ratio") else ""
    return f"{subject.backend} · seed {subject.seed} · {subject.prompt}{even}"
