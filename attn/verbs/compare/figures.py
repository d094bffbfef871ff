"""Draw a comparison: one figure of all, and for every variant the pictures of its first pair."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attn.trace.trace import open_trace
from attn.trace.words.occurrences import list_vocabulary
from attn.verbs.capture.folders import name_folders
from attn.verbs.compare.pairing import ComparedRun
from attn.verbs.compare.run_figures import draw_run, write_figures
from attn.verbs.compare.scenes import ShownRun, list_prompts, make_scene
from attn.verbs.compare.variants import Variant
from attn.wording import digits

if TYPE_CHECKING:
    from attn.analysis.compare.changes import TermChange
    from attn.analysis.compare.pairs import PairOptions
    from attn.analysis.compare.sweep import Sweep
    from attn.analysis.compare.weights import WeightsAgainstAttention
    from attn.analysis.images import Pixels
    from attn.viz.compare.comparison_scene import ComparisonScene
    from attn.viz.compare.pair_sheet import ShownPair
    from attn.viz.figures import FigureFile


def draw_comparison(
    base: ComparedRun,
    variants: Sequence[Variant],
    folder: Path,
    parts: Sequence[str] | None,
    options: PairOptions,
    sweep: Sweep | None = None,
) -> list[str]:
    """Write the pictures, one at a time in memory.

    With one variant its files are in `folder`, with several in `variants/<name>/`.

    Args:
        base: the baseline.
        variants: what was compared with it.
        folder: where the files go.
        parts: what was asked for; None is all.
        options: which words are looked at, and on what scale.
        sweep: if the variants are one.

    Returns:
        The files, relative to the folder.
    """
    from attn.viz.compare.change_summary import draw_summary

    runs = [ShownRun(base.label, variants[0], 0)]
    runs += [ShownRun(variant.label, variant, 1) for variant in variants]
    vocabulary = list_vocabulary(run.member.prompt for run in runs)
    words = options.words
    wanted = set(parts or ("words", "layers", "sinks", "maps", "images", "sketch"))
    files: list[str] = []
    if "words" in wanted:
        files += write_figures([draw_summary(make_scene(base, variants, words))], folder)
    if sweep is not None and parts is None:
        from attn.viz.compare.sweep_curves import draw_sweep

        figure_file = draw_sweep(make_scene(base, variants, words), sweep, vocabulary)
        files += write_figures([figure_file], folder)
    if "sketch" in wanted and (measures := _sketch_changes(variants, words)):
        from attn.viz.compare.change_sketch import draw_change_sketch

        figure_file = draw_change_sketch(make_scene(base, variants, words), measures)
        files += write_figures([figure_file], folder)
    if "maps" in wanted:
        files += draw_run(runs[0], folder, "base", options, vocabulary)
    for number, variant in enumerate(variants):
        prefix = folder_prefixes(variants)[number]
        scene = make_scene(base, [variant], words)
        files += write_figures(_of_pair(scene, variant, wanted, options), folder, prefix)
        files += write_figures(_of_all_pairs(scene, variant, wanted, options), folder, prefix)
        if "maps" in wanted:
            name = f"{prefix}{_name(variant)}"
            files += draw_run(runs[1 + number], folder, name, options, vocabulary)
    return files


def _name(variant: Variant) -> str:
    """Return how a variant's files begin: with what differs, if it is one setting or LoRAs alone.

    With LoRAs that is `lora`, as in LoRA Attention Analyzer.
    """
    kinds = {entry.kind.lower() for entry in variant.differences}
    return re.sub(r"\W+", "-", kinds.pop()) if len(kinds) == 1 else "variant"


def _sketch_changes(
    variants: Sequence[Variant], only: Sequence[str] | None
) -> dict[str, list[list[TermChange]]]:
    """Return by measure what each variant changes of words and drawing, if there is one."""
    from attn.analysis.compare.changes import changes, drawn
    from attn.analysis.sketch.sketch import COMPARED

    by_measure = {
        name: [
            [entry for entry in changes(variant.pairs, drawn(name), only) if entry.change.n > 0]
            for variant in variants
        ]
        for name in COMPARED
    }
    return {name: lists for name, lists in by_measure.items() if any(lists)}


def _of_pair(
    scene: ComparisonScene, variant: Variant, wanted: set[str], options: PairOptions
) -> Iterator[FigureFile]:
    """Draw what base and variant have in one picture."""
    from attn.analysis.compare.changes import changes, has_layers, heads, mass, sink_changes
    from attn.viz.compare.change_bars import draw_change_bars
    from attn.viz.compare.change_heads import draw_change_heads
    from attn.viz.compare.change_map import draw_change_map
    from attn.viz.compare.side_by_side import draw_images, draw_word
    from attn.viz.labels import file_stem

    only = options.words
    if "words" in wanted:
        yield draw_change_bars(scene)
    if "layers" in wanted and has_layers(variant.pairs):
        yield draw_change_map(scene, changes(variant.pairs, mass, only), variant.pairs[0].layers)
    sinks = sink_changes(variant.pairs, heads) if has_layers(variant.pairs) else []
    if "sinks" in wanted and sinks:
        yield draw_change_heads(scene, sinks, variant.pairs[0].layers)
    if "maps" in wanted and any(side.image is not None for side in scene.sides):
        yield draw_images(scene)
    if "maps" in wanted and all(side.maps is not None for side in scene.sides):
        changed = {entry.term.key for entry in scene.changes[0]}
        for index, word in enumerate(scene.words):
            if word.key not in changed:
                continue
            stem = file_stem(index, word.label)
            yield draw_word(scene, index, f"token_comparisons/{stem}.png", options.scale)


def _of_all_pairs(
    scene: ComparisonScene, variant: Variant, wanted: set[str], options: PairOptions
) -> Iterator[FigureFile]:
    """Draw where a variant differs, mean over all pairs, and the images of all pairs."""
    from attn.analysis.compare.changes import changes, coarse_grid, located
    from attn.analysis.compare.images import mean_difference
    from attn.viz.compare.change_difference import draw_difference
    from attn.viz.compare.pair_sheet import draw_pairs

    grid = coarse_grid(variant.pairs) if "maps" in wanted else None
    located_changes = changes(variant.pairs, located(grid), options.words) if grid else []
    order = {entry.term.key: number for number, entry in enumerate(scene.changes[0])}
    located_changes.sort(key=lambda entry: order.get(entry.term.key, len(order)))
    image = mean_difference(_image_pairs(variant)) if "images" in wanted else None
    if located_changes or image is not None:
        yield from draw_difference(scene, located_changes, image, options.scale)
    if image is not None:
        every = replace(scene, prompt=list_prompts(_prompts(variant)), others=0)
        yield draw_pairs(every, list(_shown_pairs(variant)), variant.count)


def _image_pairs(variant: Variant) -> Iterator[tuple[Pixels, Pixels]]:
    """Yield the images of all pairs that could be compared, one pair in memory."""
    from attn.analysis.compare.images import image_pairs

    for (base, other), pair in zip(variant.all_members, variant.pairs, strict=True):
        if pair.images is not None:
            yield from image_pairs(open_trace(base.folder), open_trace(other.folder))


def _shown_pairs(variant: Variant) -> Iterator[ShownPair]:
    """Yield the images of the first pairs, as small as they are drawn."""
    from attn.viz.compare.pair_sheet import MOST, shrink_pair

    compared = (pair for pair in variant.pairs if pair.images is not None)
    numbers = ((pair, values) for pair in compared for values in np.asarray(pair.images))
    prompts = _prompts(variant)
    for (pair, values), images in islice(zip(numbers, _image_pairs(variant), strict=False), MOST):
        prompt = f"prompt {prompts.index(pair.prompt) + 1} · " if len(prompts) > 1 else ""
        remark = f"level {digits(values[0])} · SSIM {digits(values[1], 1)}"
        yield shrink_pair(f"{prompt}seed {pair.seed}", remark, images)


def _prompts(variant: Variant) -> list[str]:
    """Return the prompts of all pairs in their order."""
    return list(dict.fromkeys(pair.prompt for pair in variant.pairs))


def draw_weights(
    base: ComparedRun,
    variants: Sequence[Variant],
    weights: Mapping[str, WeightsAgainstAttention],
    folder: Path,
) -> list[str]:
    """Write `lora_weights.png`, with several variants one for each in its folder."""
    from attn.viz.compare.weights import draw_weights as draw

    files = []
    for number, variant in enumerate(variants):
        label = variant.label
        if label in weights:
            scene = make_scene(base, [variant], None)
            heading = scene.title_of_charts, f"{label} · {scene.subtitle}"
            figure_file = draw(weights[label], heading, scene.texts | {"variant": label})
            files += write_figures([figure_file], folder, folder_prefixes(variants)[number])
    return files


def folder_prefixes(variants: Sequence[Variant]) -> list[str]:
    """Return the folder of each variant, with a slash; the only one has none."""
    if len(variants) == 1:
        return [""]
    return [f"variants/{name}/" for name in name_folders([variant.label for variant in variants])]
