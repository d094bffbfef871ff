"""Sheets of the maps of words outside the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.result import Result
from attn.viz.figures import FigureFile, Subject, shrink
from attn.viz.labels import ranges
from attn.viz.overlay import Scale
from attn.viz.words.sheets import LONG_SIDE, draw_sheet

if TYPE_CHECKING:
    import xarray as xr

SHEETS: dict[Scale, str] = {"shared": "", "own": "-own-scale"}
UNITS = {
    "concepts": "share of each place, by the logits of its query",
    "concept_outputs": "share of each place, by the likeness of output vectors",
}


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw `concepts/<measure>.png` on one scale, and `…-own-scale.png` with one for each map.

    With several samples the names end in `-sample-<number>`.
    """
    for measure, maps in result.arrays.items():
        for sample, generated in enumerate(subject.images):
            image = generated if generated is None else shrink(generated, LONG_SIDE, subject.dpi)
            ending = f"-sample-{sample}" if len(subject.images) > 1 else ""
            labelled = _label(maps.isel(sample=sample), measure)
            for scale, of_scale in SHEETS.items():
                figure = draw_sheet(labelled, image, _heading(subject, scale), scale)
                texts = {
                    "sample": str(sample),
                    "measure": measure,
                    "layers": ranges(maps.attrs["layers"]),
                    "concepts": ", ".join(map(str, maps["concept"].values)),
                }
                yield FigureFile(f"concepts/{measure}{of_scale}{ending}.png", figure, texts)


def _label(maps: xr.DataArray, measure: str) -> xr.DataArray:
    """Return maps as a sheet of words takes them."""
    names = [str(name) for name in maps["concept"].values]
    labelled = maps.rename(concept="word").assign_coords(
        word=np.arange(len(names)), label=("word", names)
    )
    return labelled.assign_attrs(unit=UNITS[measure])


def _heading(subject: Subject, scale: Scale) -> tuple[str, str]:
    facts = f"{subject.backend} · seed {subject.seed}"
    mean = " · mean: part of the image" if scale == "shared" else ""
    told = "concepts, each read by itself; at each place they share out 1"
    return subject.prompt, f"{facts} · {told}{mean}"
