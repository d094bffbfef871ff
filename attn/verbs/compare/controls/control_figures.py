"""Figures of controls: which part of a LoRA carries its effect, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.trace.trace import open_trace
from attn.verbs.compare.controls.controls import Controls
from attn.verbs.compare.controls.leak import Leak
from attn.verbs.compare.controls.null_figures import draw_nulls
from attn.verbs.compare.pairing import ComparedRun
from attn.verbs.compare.run_figures import write_figures
from attn.verbs.compare.scenes import make_scene
from attn.verbs.compare.variants import Variant

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import PairOptions
    from attn.viz.compare.pair_sheet import ShownPair
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
    files = write_figures(draw_nulls(base, controls, options), folder)
    if rows := controls.part_rows:
        files += write_figures(_draw_parts(base, controls, rows, options), folder)
    files += write_figures(_draw_cuts(base, controls, options), folder)
    if controls.leak is not None:
        files += write_figures(_draw_leaks(base, controls, controls.leak, options), folder)
    return files


def _draw_parts(
    base: ComparedRun, controls: Controls, rows: Sequence[Row], options: PairOptions
) -> Iterator[FigureFile]:
    from attn.viz.compare.part_effects import draw_parts

    for path, name in _figures(controls, "parts"):
        variant = next(of for of in controls.variants if of.label == name)
        scene = make_scene(base, [variant], options.words)
        heading = scene.title_of_charts, f"parts of {name} · {scene.subtitle}"
        of_whole = [row for row in rows if row["whole_name"] == name]
        yield draw_parts(of_whole, heading, path, scene.texts | {"whole": name})


def _draw_cuts(base: ComparedRun, controls: Controls, options: PairOptions) -> Iterator[FigureFile]:
    """Draw what each cut changes, and what heads that are weakened in two orders do."""
    if not (controls.cut_rows or controls.weakening_rows):
        return
    from attn.viz.cuts import draw_cuts, draw_weakening

    scene = make_scene(base, controls.drawn, options.words)
    about = f"{scene.title_of_charts} · {scene.subtitle} · mean"
    if rows := controls.cut_rows:
        heading = "How much each cut changes", f"{about} and 95 % interval"
        yield draw_cuts(rows, heading, scene.texts)
    if rows := controls.weakening_rows:
        heading = "How much weakened heads change", f"{about}, band: 95 % interval"
        yield draw_weakening(rows, heading, scene.texts)


def _draw_leaks(
    base: ComparedRun, controls: Controls, leak: Leak, options: PairOptions
) -> Iterator[FigureFile]:
    """Draw the first images of each variant with and without the trigger words."""
    from attn.verbs.compare.controls.control_answer import summarise_leak
    from attn.viz.compare.leak_sheet import MOST, draw_leak

    for path, label in _figures(controls, "leak"):
        variant = next(of for of in controls.plain if of.label == label)
        other = leak.variants[label]
        words = ", ".join(leak.triggers)
        rows = []
        for first, second in islice(_same_seeds(variant, other, leak.prompts), MOST):
            sides = (variant, first, "with"), (other, second, "without")
            shown = [_shown(of, index, f"{side} {words}") for of, index, side in sides]
            rows.append((shown[0], shown[1]))
        if rows:
            scene = make_scene(base, [variant], options.words)
            of_variant = [row for row in controls.leak_rows if row["variant_name"] == variant.label]
            heading = (
                f"{summarise_leak(of_variant)} · {scene.title_of_charts}",
                f"with and without {words} · {scene.subtitle} · left {base.label}, right "
                f"{variant.label} · level: mean |difference| of 255",
            )
            yield draw_leak(rows, heading, path, scene.texts | {"without": words})


def _figures(controls: Controls, kind: str) -> list[tuple[str, str]]:
    """Return the figures of a kind, each with what the variant is called that it is of."""
    return [(name, label) for name, label in controls.figures.items() if name.startswith(kind)]


def _same_seeds(
    variant: Variant, other: Variant, prompts: Mapping[str, str]
) -> Iterator[tuple[int, int]]:
    """Yield the indices of pairs with and without the words, of one prompt and seed."""
    places = {(pair.prompt, pair.seed): at for at, pair in enumerate(other.pairs)}
    for at, pair in enumerate(variant.pairs):
        partner = places.get((prompts.get(pair.prompt, ""), pair.seed))
        images = pair.images, None if partner is None else other.pairs[partner].images
        if partner is not None and all(of is not None for of in images):
            yield at, partner


def _shown(variant: Variant, index: int, title: str) -> ShownPair:
    """Return the first images of a pair, as small as they are drawn."""
    from attn.analysis.compare.images import image_pairs
    from attn.viz.compare.leak_sheet import LARGER
    from attn.viz.compare.pair_sheet import shrink_pair

    pair, (base, member) = variant.pairs[index], variant.all_members[index]
    images = next(iter(image_pairs(open_trace(base.folder), open_trace(member.folder))))
    level = 0.0 if pair.images is None else pair.images[0, 0]
    return shrink_pair(f"{title} · seed {pair.seed}", f"level {level:.3g}", images, LARGER)
