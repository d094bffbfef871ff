"""`report.html` of a comparison: the answer, the figures that matter, and all the others."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from attn.analysis.tables import Columns
from attn.verbs.compare.pairing import ComparedRun
from attn.verbs.compare.variants import Variant
from attn.verbs.report_page import FIGURES, ReportPage, Section, Sentence
from attn.wording import count_noun

MATTER = 5
"""So many figures stand open."""
CAPTIONS = {
    "summary.png": "Images, the maps of the leading word, and the words that changed most.",
    "cuts.png": "What each cut changes, and as much cut at random; lines are 95 % intervals.",
    "weakening.png": "Heads weakened in the order of their effect, and the reverse; bands: 95 %.",
    "sweep.png": "The leading word, the images and other words against the scale.",
    "null.png": "The LoRA's effect, and that of random weights of the same size.",
    "parts.png": "What is lost without each part, and, of blocks, what it gives alone.",
    "leak.png": "What the LoRA changes with its trigger words in the prompt, and without them.",
    "sketch_changes.png": "How far words lie on the drawing, and the change of each.",
    "difference.png": "Where the image and each word's attention changed, mean over all pairs.",
    "layers.png": "Change of each word's mass, layer by layer.",
    "attention_comparison.png": "Mass of each word with and without, and its change.",
    "pairs.png": "All pairs of images.",
    "sinks.png": "Mass of the tokens that open a text, by layer and head.",
    "image_comparison.png": "The two images of one pair.",
    "difference-own-scale.png": "The same as difference.png, each word on a scale of its own.",
    "lora_weights.png": "What the LoRA changes in the weights, against what changes in attention.",
}
"""What figures show, by the last part of their path; the first ones matter most."""


@dataclass(frozen=True)
class VariantFigures:
    """Which figures are of one variant alone.

    Attributes:
        folders: labels of variants by the folders of their figures, with a slash, or by the name of
            a figure; a single variant has no folder.
        told: labels of those that the answer tells of.
    """

    folders: Mapping[str, str]
    told: Collection[str]

    def label_of(self, name: str) -> str | None:
        """Return the label of the variant that a figure is of; None if it is of several."""
        return next(
            (of for folder, of in self.folders.items() if folder and name.startswith(folder)), None
        )

    def is_told(self, name: str) -> bool:
        """Whether a figure is of nothing that the answer leaves out."""
        label = self.label_of(name)
        return label is None or label in self.told

    def caption(self, name: str) -> str:
        """Return what a figure shows, and of which variant."""
        text, label = CAPTIONS.get(kind_of(name), ""), self.label_of(name)
        return ": ".join(part for part in (label, text) if part)


def lay_out_report(
    base: ComparedRun,
    variants: Sequence[Variant],
    paragraph: Sequence[Sentence],
    tables: Mapping[str, Columns],
    files: Sequence[str],
    by_variant: VariantFigures,
) -> ReportPage:
    """Say what is on the page, and in which order.

    Args:
        base: the baseline.
        variants: what was compared with it.
        paragraph: the answer.
        tables: by name.
        files: that were written, relative to the page.
        by_variant: which of them are of one variant.
    """
    figures = [name for name in files if name[-4:] in FIGURES]
    matter = rank_figures(figures, by_variant)[:MATTER]
    rest = [name for name in figures if name not in matter]
    prompts = sorted({prompt for variant in variants for prompt in variant.prompts})
    others = len(prompts) - 1
    more = f" and {count_noun(others, 'more prompt')}" if others > 0 else ""
    sections = [
        Section(
            "What changed", {name: by_variant.caption(name) for name in matter}, {}, is_open=True
        ),
        Section(
            f"Other figures ({len(rest)})", {name: by_variant.caption(name) for name in rest}, {}
        ),
        Section(
            f"Tables ({len(tables)})", {}, {f"tables/{name}": of for name, of in tables.items()}
        ),
    ]
    return ReportPage(
        f"{variants[0].members[0].prompt}{more}",
        _subtitle(base, variants),
        paragraph,
        [section for section in sections if section.figures or section.tables],
        _notes(variants),
    )


def kind_of(name: str) -> str:
    """Return the name of a figure without its folder, and without the number of its variant."""
    return re.sub(r"-\d+(?=\.png$)", "", name.rpartition("/")[2])


def rank_figures(names: Sequence[str], by_variant: VariantFigures) -> list[str]:
    """Return the figures that may stand open, those that matter most first."""
    order = {name: number for number, name in enumerate(CAPTIONS)}
    kinds = {name: kind_of(name) for name in names if by_variant.is_told(name)}
    ranked = [name for name, kind in kinds.items() if kind in CAPTIONS]
    return sorted(ranked, key=lambda name: order[kinds[name]])


def _subtitle(base: ComparedRun, variants: Sequence[Variant]) -> str:
    counts = sorted({variant.count for variant in variants})
    noun = "pair" if counts == [1] else "pairs"
    labels = ", ".join(variant.label for variant in variants)
    return f"{labels} against {base.label}, {'/'.join(map(str, counts))} {noun} of images"


def _notes(variants: Sequence[Variant]) -> list[str]:
    """Return what else differs, and what limits the comparison."""
    from attn.analysis.compare.differences import list_differences

    notes = []
    for variant in variants:
        start = f"{variant.label}: " if len(variants) > 1 else ""
        if variant.differences:
            notes.append(f"{start}differs in {list_differences(variant.differences)}")
        notes += [f"{start}{note}" for note in (*variant.notes, *variant.lacks)]
    return notes
