"""Figures of gates: over heads and layers, and over the generation."""

from __future__ import annotations

from collections.abc import Iterator

from attn.analysis.result import Result
from attn.viz.figures import FigureFile, Subject
from attn.viz.labels import ranges
from attn.viz.sinks import draw_heads, draw_steps


def draw(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw `gates/layer_head_heatmap_<part>.png` and `gates/timestep_curve_<part>.png`."""
    for name, values in result.arrays.items():
        kind, part = name.split()
        stem, figure = (
            ("layer_head_heatmap", draw_heads)
            if kind == "heads"
            else ("timestep_curve", draw_steps)
        )
        texts = {key: str(values.attrs[key]) for key in ("part", "value", "unit", "branch")}
        texts["layers"] = ranges(int(layer) for layer in values["layer"].values)
        yield FigureFile(f"gates/{stem}_{part}.png", figure(values, subject), texts)
