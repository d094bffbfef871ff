"""Figures of controls: which part of a LoRA carries its effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.verbs.compare.controls import Controls
from attn.verbs.compare.figures import make_scene, write_figures
from attn.verbs.compare.pairing import ComparedRun

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import PairOptions
    from attn.viz.figures import FigureFile

Row = Mapping[str, Any]


def draw_controls(
    base: ComparedRun, controls: Controls, folder: Path, options: PairOptions
) -> list[str]:
    """Write the figures of controls.

    Args:
        base: the baseline.
        controls: of its variants.
        folder: where the files go.
        options: which words are looked at.
    """
    rows = controls.part_rows
    if not rows:
        return []
    return write_figures(_draw_parts(base, controls, rows, options), folder)


def _draw_parts(
    base: ComparedRun, controls: Controls, rows: Sequence[Row], options: PairOptions
) -> Iterator[FigureFile]:
    from attn.viz.compare.part_effects import draw_parts

    wholes = list(dict.fromkeys(row["whole_name"] for row in rows))
    for number, name in enumerate(wholes, 1):
        variant = next(of for of in controls.variants if of.label == name)
        scene = make_scene(base, [variant], options.words)
        heading = scene.title_of_charts, f"parts of {name} · {scene.subtitle}"
        ending = f"-{number}" if len(wholes) > 1 else ""
        of_whole = [row for row in rows if row["whole_name"] == name]
        yield draw_parts(of_whole, heading, f"parts{ending}.png", scene.texts | {"whole": name})
