"""Draw a comparison: one figure of all, and for every variant the pictures of its first pair."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.images import read_image
from attn.trace.trace import open_trace
from attn.verbs.analyze.figures import read_lines
from attn.verbs.capture.folders import name_folders
from attn.verbs.compare.pairing import ComparedRun, Member
from attn.verbs.compare.variants import Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attn.analysis.compare.changes import TermChange
    from attn.analysis.compare.pairs import PairOptions
    from attn.analysis.compare.reading import SideReading
    from attn.analysis.compare.sweep import Sweep
    from attn.analysis.compare.terms import Term
    from attn.analysis.compare.weights import WeightsAgainstAttention
    from attn.analysis.images import Pixels
    from attn.viz.compare.comparison_scene import ComparisonScene, SceneSide
    from attn.viz.compare.pair_sheet import ShownPair
    from attn.viz.figures import FigureFile
    from attn.viz.words.run_figures import RunWords


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

    words = options.words
    wanted = set(parts or ("words", "layers", "sinks", "maps", "images", "sketch"))
    files: list[str] = []
    if "words" in wanted:
        files += write_figures(iter([draw_summary(make_scene(base, variants, words))]), folder)
    if sweep is not None and parts is None:
        from attn.viz.compare.sweep_curves import draw_sweep

        files += write_figures(iter([draw_sweep(make_scene(base, variants, words), sweep)]), folder)
    if "sketch" in wanted and (measures := _sketch_changes(variants, words)):
        from attn.viz.compare.change_sketch import draw_change_sketch

        figure_file = draw_change_sketch(make_scene(base, variants, words), measures)
        files += write_figures(iter([figure_file]), folder)
    if "maps" in wanted:
        files += _draw_run(_Shown(base.label, variants[0], 0), folder, "base", options)
    for number, variant in enumerate(variants):
        prefix = _folder_prefix(variants, number)
        scene = make_scene(base, [variant], words)
        files += write_figures(_of_pair(scene, variant, wanted, options), folder, prefix)
        files += write_figures(_of_all_pairs(scene, variant, wanted, words), folder, prefix)
        if "maps" in wanted:
            shown = _Shown(variant.label, variant, 1)
            files += _draw_run(shown, folder, f"{prefix}{_name(variant)}", options)
    return files


@dataclass(frozen=True)
class _Shown:
    """One trace of the first pair of a variant: 0 is the baseline's, 1 the variant's."""

    label: str
    variant: Variant
    side_index: int

    @property
    def member(self) -> Member:
        return self.variant.members[self.side_index]

    @property
    def reading(self) -> SideReading:
        example = self.variant.example
        return example.variant if self.side_index else example.base

    def side(self, words: Sequence[Term], note: str = "") -> SceneSide:
        """Return its picture, and the maps of some words."""
        from attn.viz.compare.comparison_scene import SceneSide

        keys = [term.key for term in self.reading.terms]
        # words of a variant are those of the base, whose spelling may differ
        indices = [keys.index(word.key) for word in words]
        maps = self.reading.maps
        trace = open_trace(self.member.folder)
        image = read_image(trace, 0)
        selected = maps[0, indices] if maps is not None and indices else None
        return SceneSide(self.label, image, selected, note, read_lines(trace))


def _name(variant: Variant) -> str:
    """Return how a variant's files begin: with what differs, if it is one setting or LoRAs alone.

    With LoRAs that is `lora`, as in LoRA Attention Analyzer.
    """
    kinds = {entry.kind.lower() for entry in variant.differences}
    return re.sub(r"\W+", "-", kinds.pop()) if len(kinds) == 1 else "variant"


def make_scene(
    base: ComparedRun, variants: Sequence[Variant], only: Sequence[str] | None
) -> ComparisonScene:
    """Collect what the figures show of the baseline and some variants: the example of each."""
    from attn.analysis.compare.changes import by_size, changes, mass, overall
    from attn.viz.compare.comparison_scene import ComparisonScene

    words = _shared_words(variants)
    shown = [_Shown(base.label, variants[0], 0)]
    shown += [_Shown(variant.label, variant, 1) for variant in variants]
    manifest = open_trace(shown[0].member.folder).manifest
    prompts = list(dict.fromkeys(entry.member.prompt for entry in shown))
    seeds = list(dict.fromkeys(entry.member.seed for entry in shown))
    has_single_seed = len(seeds) == 1
    others = {prompt for variant in variants for prompt in variant.prompts} - {*prompts}
    which = "this prompt, " if others else ""
    return ComparisonScene(
        _listed(prompts),
        " · ".join(
            filter(
                None,
                (
                    _backends(variants),
                    _count(variants, has_noise=has_single_seed),
                    _differing(variants),
                ),
            )
        ),
        words,
        [entry.side(words, _note(entry.member, prompts, seeds)) for entry in shown],
        [by_size(changes(variant.pairs, overall(mass), only)) for variant in variants],
        {
            "prompt": manifest.request.prompt,
            "seed": ", ".join(map(str, seeds)),
            "backend": manifest.backend,
            "base": base.label,
            "variants": ", ".join(variant.label for variant in variants),
            "pairs": ", ".join(str(variant.count) for variant in variants),
        },
        f"shown: {which}seed {seeds[0]}" if has_single_seed else "shown: not from the same noise",
        len(others),
    )


def _differing(variants: Sequence[Variant]) -> str:
    """Return what sets the variants apart from the baseline, if it is the same for all of them."""
    from attn.analysis.compare.differences import list_differences

    differences = {list_differences(variant.differences) for variant in variants}
    return differences.pop() if len(differences) == 1 else ""


def _listed(prompts: Sequence[str]) -> str:
    """Return one prompt, or several with their numbers."""
    if len(prompts) == 1:
        return prompts[0]
    return " · ".join(f"{number}: {prompt}" for number, prompt in enumerate(prompts, 1))


def _note(member: Member, prompts: Sequence[str], seeds: Sequence[int]) -> str:
    """Name the prompt and seed of a side, where they differ between sides."""
    prompt = f"prompt {prompts.index(member.prompt) + 1}" if len(prompts) > 1 else ""
    seed = f"seed {member.seed}" if len(seeds) > 1 else ""
    return ", ".join(filter(None, (prompt, seed)))


def _backends(variants: Sequence[Variant]) -> str:
    """Name the backends of the first pairs, each once, the baseline's first."""
    members = (variants[0].members[0], *(variant.members[1] for variant in variants))
    names = [open_trace(member.folder).manifest.backend for member in members]
    return " and ".join(dict.fromkeys(names))


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


def _count(variants: Sequence[Variant], *, has_noise: bool) -> str:
    """Count the pairs in words, and with `has_noise` tell whether they share their noise."""
    counts = sorted({variant.count for variant in variants})
    noun = "pair" if counts == [1] else "pairs"
    prompts = {prompt for variant in variants for prompt in variant.prompts}
    of = f" of {len(prompts)} prompts" if len(prompts) > 1 else ""
    if not has_noise:
        return f"{'/'.join(map(str, counts))} {noun}{of}"
    pairs = sum(len(variant.pairs) for variant in variants)
    same = sum(variant.same_noise for variant in variants)
    noise = "from the same noise" if same == pairs else f"{same} of {pairs} from the same noise"
    return f"{'/'.join(map(str, counts))} {noun}{of}, {noise}"


def _shared_words(variants: Sequence[Variant]) -> list[Term]:
    """Return the words of the first text segment that the first pairs of all variants share."""
    terms = variants[0].example.terms
    segment = next(term.segment for term in terms if term.kind == "word")
    key_sets = [{term.key for term in variant.example.terms} for variant in variants]
    return [
        term
        for term in terms
        if (term.kind, term.segment) == ("word", segment)
        and all(term.key in keys for keys in key_sets)
    ]


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
    scene: ComparisonScene, variant: Variant, wanted: set[str], only: Sequence[str] | None
) -> Iterator[FigureFile]:
    """Draw where a variant differs, mean over all pairs, and the images of all pairs."""
    from attn.analysis.compare.changes import changes, coarse_grid, located
    from attn.analysis.compare.images import mean_difference
    from attn.viz.compare.change_difference import draw_difference
    from attn.viz.compare.pair_sheet import draw_pairs

    grid = coarse_grid(variant.pairs) if "maps" in wanted else None
    located_changes = changes(variant.pairs, located(grid), only) if grid else []
    order = {entry.term.key: number for number, entry in enumerate(scene.changes[0])}
    located_changes.sort(key=lambda entry: order.get(entry.term.key, len(order)))
    image = mean_difference(_image_pairs(variant)) if "images" in wanted else None
    if located_changes or image is not None:
        yield draw_difference(scene, located_changes, image)
    if image is not None:
        yield draw_pairs(scene, list(_shown_pairs(variant)), variant.count)


def _image_pairs(variant: Variant) -> Iterator[tuple[Pixels, Pixels]]:
    """Yield the images of all pairs that could be compared, one pair in memory."""
    from attn.analysis.compare.images import image_pairs

    for (base, other), pair in zip(variant.all_members, variant.pairs, strict=True):
        if pair.images is not None:
            yield from image_pairs(open_trace(base.folder), open_trace(other.folder))


def _shown_pairs(variant: Variant) -> Iterator[ShownPair]:
    """Yield the images of the first pairs, as small as they are drawn."""
    from attn.viz.compare.pair_sheet import MOST, shrink_pair

    compared = [pair for pair in variant.pairs if pair.images is not None]
    numbers = [(pair, values) for pair in compared for values in np.asarray(pair.images)]
    several = len(variant.prompts) > 1
    prompts = sorted(variant.prompts)
    for (pair, values), images in islice(zip(numbers, _image_pairs(variant), strict=False), MOST):
        prompt = f"prompt {prompts.index(pair.prompt) + 1} · " if several else ""
        remark = f"level {values[0]:.3g} · SSIM {values[1]:.3g}"
        yield shrink_pair(f"{prompt}seed {pair.seed}", remark, images)


def _draw_run(shown: _Shown, folder: Path, name: str, options: PairOptions) -> list[str]:
    """Write what one run has by itself: its image, and what is in `<name>_analysis/`."""
    from attn.analysis.compare.changes import named
    from attn.analysis.tables import write_table
    from attn.analysis.words.cells import GRIDS, cell_masses, tabulate_cells
    from attn.analysis.words.dominance import dominance, rivals

    files = []
    trace = open_trace(shown.member.folder)
    if trace.manifest.outputs:
        target = folder / f"{name}_image.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(trace.image(0), target)
        files.append(f"{name}_image.png")
    words = _shared_words([shown.variant])
    words = [words[index] for index in named(words, options.words)]
    side = shown.side(words)
    if side.maps is None:
        return files
    where, maps = f"{name}_analysis/", np.asarray(side.maps, np.float64)
    among = rivals(words, options.words)
    for count in GRIDS:
        masses = cell_masses(maps, count)
        winners = dominance(masses[np.newaxis], among, options.dominance)[0]
        table = tabulate_cells(masses, words, words[0].segment, winners)
        files.append(f"{where}grid_analysis_{count}x{count}.csv")
        write_table(table, folder / files[-1])
    return files + write_figures(_of_run(shown, side, words, options), folder, where)


def _of_run(
    shown: _Shown, side: SceneSide, words: Sequence[Term], options: PairOptions
) -> Iterator[FigureFile]:
    """Draw what one run has by itself, of the words that are looked at."""
    from attn.analysis.words.dominance import dominance, rivals
    from attn.analysis.words.word_sums import mean_present
    from attn.viz.figures import FigureFile
    from attn.viz.words.run_figures import RunWords, draw_run

    manifest = open_trace(shown.member.folder).manifest
    keys = [term.key for term in shown.reading.terms]
    mass = mean_present(shown.reading.mass[0, :, :, 0], -1)
    among = rivals(words, options.words)
    maps = np.asarray(side.maps, np.float64)
    run = RunWords(
        side,
        [word.label for word in words],
        [float(mass[keys.index(word.key)]) for word in words],
        dominance(maps[np.newaxis], among, options.dominance)[0],
        among,
        options.dominance,
        f"{shown.label}: {manifest.request.prompt}",
        f"{manifest.backend} · seed {shown.member.seed} · {words[0].segment}",
    )
    texts = {
        "prompt": manifest.request.prompt,
        "seed": str(shown.member.seed),
        "backend": manifest.backend,
        "run": shown.label,
    }
    yield from draw_run(run, texts)
    yield FigureFile("token_attention_gallery.png", _gallery(run, options), texts)


def _gallery(run: RunWords, options: PairOptions) -> Figure:
    """Draw words beside the image, as `attn analyze` does."""
    import xarray as xr

    from attn.viz.words.heatmaps import draw_sheet

    maps = xr.DataArray(
        np.asarray(run.side.maps),
        dims=("word", "row", "column"),
        coords={"label": ("word", list(run.labels))},
        attrs={"unit": "attention probability"},
    )
    heading = run.title, run.about
    return draw_sheet(maps, run.side.image, heading, "own" if options.scale == "own" else "shared")


def draw_weights(
    variants: Sequence[Variant], weights: Mapping[str, WeightsAgainstAttention], folder: Path
) -> list[str]:
    """Write `lora_weights.png`, with several variants one for each in its folder."""
    from attn.viz.compare.weights import draw_weights as draw

    files = []
    for number, label in enumerate(variant.label for variant in variants):
        if label in weights:
            figure_file = draw(weights[label], label, {"variant": label})
            files += write_figures(iter([figure_file]), folder, _folder_prefix(variants, number))
    return files


def write_figures(figure_files: Iterator[FigureFile], folder: Path, prefix: str = "") -> list[str]:
    """Write figures, one in memory, and return their names behind a prefix."""
    from attn.viz.figures import write

    files = []
    for figure_file in figure_files:
        write(figure_file, folder / prefix)
        figure_file.figure.clear()  # what refers to itself would wait for the garbage collector
        files.append(f"{prefix}{figure_file.path}")
    return files


def _folder_prefix(variants: Sequence[Variant], number: int) -> str:
    """Return the folder of a variant, with a slash; the only one has none."""
    if len(variants) == 1:
        return ""
    return f"variants/{name_folders([variant.label for variant in variants])[number]}/"
