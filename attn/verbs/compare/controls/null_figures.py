"""The figure of a random control: what a LoRA does beside random weights of its size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attn.verbs.compare.controls.controls import Controls
from attn.verbs.compare.pairing import ComparedRun
from attn.verbs.compare.scenes import make_scene

if TYPE_CHECKING:
    from attn.analysis.compare.controls.controls import NullEffect
    from attn.analysis.compare.pairs import PairOptions
    from attn.viz.compare.null_effects import EffectPanel
    from attn.viz.figures import FigureFile

Row = Mapping[str, Any]


def draw_nulls(base: ComparedRun, controls: Controls, options: PairOptions) -> Iterator[FigureFile]:
    """Draw each variant that has a random control beside it."""
    from attn.analysis.compare.controls.controls import null_effects
    from attn.verbs.compare.controls.control_answer import summarise_null
    from attn.viz.compare.null_effects import draw_null

    names_of_files = (name for name in controls.figures if name.startswith("null"))
    for path, (whole, null) in zip(names_of_files, controls.nulls, strict=True):
        variants = [controls.variants[at] for at in (whole, null)]
        names = tuple(variant.label for variant in variants)
        rows = [
            row for row in controls.null_rows if (row["variant_name"], row["null_name"]) == names
        ]
        if not rows:
            continue
        scene = make_scene(base, variants, options.words)
        about = f"{scene.title_of_charts} · {scene.subtitle_of_images}"
        effects = list(null_effects(*(controls.effects[at] for at in (whole, null))))
        panels = list(_null_panels(effects, rows))
        heading = summarise_null(rows), about
        yield draw_null(scene.sides, panels, heading, path, scene.texts)


def _null_panels(effects: Sequence[NullEffect], rows: Sequence[Row]) -> Iterator[EffectPanel]:
    """Yield what is drawn of words, and of images; `rows` are of the same measures."""
    from attn.analysis.compare.controls.controls import LEVEL
    from attn.verbs.compare.controls.control_answer import tell_ratio
    from attn.viz.compare.comparison_scene import POINTS
    from attn.viz.compare.null_effects import EffectBar, EffectPanel

    kinds = (
        ("attention", f"change of mass, {POINTS}\ndot: an image", 100.0),
        ("image", "level: mean |difference| of 255\ndot: an image", 1.0),
    )
    for title, unit, factor in kinds:
        shown = [entry for entry in effects if (entry.measure == LEVEL) == (title == "image")]
        if not shown:
            continue
        sides = [(shown[0].word, shown[0].effect, False)]
        sides += [
            (word, values, True)
            for word, values in {entry.null_word: entry.null for entry in shown}.items()
        ]
        bars = [
            EffectBar(word, [factor * part for part in values.values()], is_random)
            for word, values, is_random in sides
        ]
        remark = next(tell_ratio(row) for row in rows if row["measure"] == shown[0].measure)
        yield EffectPanel(title, remark, unit, bars)
