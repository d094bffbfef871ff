"""What the figures of a comparison show: the baseline and some variants, each by an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.images import read_image
from attn.trace.trace import open_trace
from attn.verbs.analyze.figures import read_lines
from attn.verbs.compare.pairing import ComparedRun, Member
from attn.verbs.compare.variants import Variant

if TYPE_CHECKING:
    from attn.analysis.compare.reading import SideReading
    from attn.analysis.compare.terms import Term
    from attn.viz.compare.comparison_scene import ComparisonScene, SceneSide

LONGEST = 24
"""Letters of a list of seeds; of more the first and the last are told."""


@dataclass(frozen=True)
class ShownRun:
    """One trace of the first pair of a variant: 0 is the baseline's, 1 the variant's."""

    label: str
    variant: Variant
    side_index: int

    @property
    def member(self) -> Member:
        """The trace, and where it is."""
        return self.variant.members[self.side_index]

    @property
    def reading(self) -> SideReading:
        """What was read of the trace."""
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


def make_scene(
    base: ComparedRun, variants: Sequence[Variant], only: Sequence[str] | None
) -> ComparisonScene:
    """Collect what the figures show of the baseline and some variants: the example of each."""
    from attn.analysis.compare.changes import by_size, changes, mass, overall
    from attn.viz.compare.comparison_scene import ComparisonScene

    words = shared_words(variants)
    shown = [ShownRun(base.label, variants[0], 0)]
    shown += [ShownRun(variant.label, variant, 1) for variant in variants]
    manifest = open_trace(shown[0].member.folder).manifest
    prompts = list(dict.fromkeys(entry.member.prompt for entry in shown))
    seeds = list(dict.fromkeys(entry.member.seed for entry in shown))
    has_single_seed = len(seeds) == 1
    others = {prompt for variant in variants for prompt in variant.prompts} - {*prompts}
    which = "this prompt, " if others else ""
    sides = [entry.side(words, _note(entry.member, prompts, seeds)) for entry in shown]
    if len(variants) == 1:  # beside several names there is no room
        sides[1] = replace(sides[1], difference=_image_difference(variants[0]))
    return ComparisonScene(
        list_prompts(prompts),
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
        sides,
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


def _image_difference(variant: Variant) -> tuple[float, float] | None:
    """Return level and SSIM of a variant's images, mean over pairs; None without images."""
    images = [pair.images for pair in variant.pairs if pair.images is not None]
    if not images:
        return None
    level, ssim = np.concatenate(images).mean(axis=0)
    return float(level), float(ssim)


def _differing(variants: Sequence[Variant]) -> str:
    """Return what sets the variants apart from the baseline, if it is the same for all of them."""
    from attn.analysis.compare.differences import list_differences

    differences = {list_differences(variant.differences) for variant in variants}
    return differences.pop() if len(differences) == 1 else ""


def list_prompts(prompts: Sequence[str]) -> str:
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


def _count(variants: Sequence[Variant], *, has_noise: bool) -> str:
    """Count the pairs in words; with `has_noise` tell their seeds, and whether they share noise."""
    counts = sorted({variant.count for variant in variants})
    noun = "pair" if counts == [1] else "pairs"
    prompts = {prompt for variant in variants for prompt in variant.prompts}
    of = f" of {len(prompts)} prompts" if len(prompts) > 1 else ""
    if not has_noise:
        return f"{'/'.join(map(str, counts))} {noun}{of}"
    pairs = sum(len(variant.pairs) for variant in variants)
    same = sum(variant.same_noise for variant in variants)
    noise = "from the same noise" if same == pairs else f"{same} of {pairs} from the same noise"
    seeds = sorted({pair.seed for variant in variants for pair in variant.pairs})
    told = f"seed{'s' if len(seeds) > 1 else ''} {_ranges(seeds)}"
    return f"{'/'.join(map(str, counts))} {noun}{of}, {told}, {noise}"


def _ranges(seeds: Sequence[int]) -> str:
    """Return the seeds, those in between left out where there are many gaps."""
    from attn.viz.labels import ranges

    listed = ranges(seeds)
    return listed if len(listed) <= LONGEST else f"{seeds[0]} to {seeds[-1]}"


def shared_words(variants: Sequence[Variant]) -> list[Term]:
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
