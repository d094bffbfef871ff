"""Controls of a LoRA: its effect against that of random changes, and that of each of its parts.

Definitions, over pairs; every ratio is one of means of the same images (see `ratios`):

- effect on a word   change of the word's mass, mean over layers.
- effect on images   their level: mean absolute difference from the baseline's, 0 to 255.
- null               effect of the LoRA divided by that of random changes of the same size: on the
                     word that each changes most, on the LoRA's own word, and on images.
- part               effect of one part alone, or of all but that part, divided by the whole's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attn.analysis.compare.changes import (
    TermChange,
    Words,
    changes,
    headline,
    mass,
    overall,
    strongest,
)
from attn.analysis.compare.controls.ratios import Ratio, ratio_of_means
from attn.analysis.compare.controls.roles import ALONE, NULL, WITHOUT, Role
from attn.analysis.compare.pairs import Pair
from attn.analysis.compare.terms import Key, Term
from attn.analysis.tables import Table, make_table
from attn.lora.block_weights import slot_of
from attn.shapes import PairRow

Image = tuple[str, int, int]
"""Prompt, seed and sample."""
Values = dict[Image, float]
"""One number of each image."""
STRONGEST, WORD, LEVEL = "strongest", "word", "level"
"""Measures: the word that each changes most, the LoRA's own word, the images."""


@dataclass(frozen=True)
class Effect:
    """What one variant does.

    Attributes:
        label: what it is called.
        pairs: of the variant.
        lead: the word that it is told by; None without words.
        strongest: the word of largest absolute change; None without words.
    """

    label: str
    pairs: Sequence[Pair]
    lead: TermChange | None
    strongest: TermChange | None


@dataclass(frozen=True)
class NullEffect:
    """One measure of a LoRA and of random changes of its size, image by image.

    Attributes:
        measure: `STRONGEST`, `WORD` or `LEVEL`.
        word: that the LoRA's effect is on; empty of images.
        null_word: that the random changes' effect is on.
        effect: of the LoRA.
        null: of the random changes.
    """

    measure: str
    word: str
    null_word: str
    effect: Values
    null: Values


def make_effect(label: str, pairs: Sequence[Pair], words: Words) -> Effect:
    """Look at a variant; `words` limits which word may lead."""
    entries = changes(pairs, overall(mass), words)
    return Effect(label, pairs, headline(entries), strongest(entries))


def word_values(pairs: Sequence[Pair], word: Key) -> Values:
    """Return the change of a word's mass in each image that has it."""
    measure, values = overall(mass), Values()
    for pair in pairs:
        at = next((at for at, term in enumerate(pair.terms) if term.key == word), None)
        sides = measure(pair)
        if at is not None and sides is not None:
            values |= of_pair(pair, sides[1][:, at] - sides[0][:, at])
    return values


def image_levels(pairs: Sequence[Pair]) -> Values:
    """Return how much each image differs from the baseline's, 0 to 255."""
    values = Values()
    for pair in pairs:
        if pair.images is not None:
            values |= of_pair(pair, pair.images[:, 0])
    return values


def compare_values(first: Values, second: Values) -> Ratio:
    """Return the ratio of two effects over the images that both have."""
    common = [image for image in first if image in second]
    return ratio_of_means(*(_row(values, common) for values in (first, second)))


def null_table(effects: Sequence[Effect], roles: Sequence[Role | None]) -> Table | None:
    """Return `null.csv`, three rows for each control; None without one."""
    rows = [
        row
        for effect, role in zip(effects, roles, strict=True)
        if role is not None and role.kind == NULL
        for row in _null_rows(effects[role.whole], effect)
    ]
    return as_table(rows)


def part_table(effects: Sequence[Effect], roles: Sequence[Role | None]) -> Table | None:
    """Return `parts.csv`, a row for each part and measure; None without parts."""
    rows = [
        row
        for effect, role in zip(effects, roles, strict=True)
        if role is not None and role.kind in (ALONE, WITHOUT)
        for row in _part_rows(effects[role.whole], effect, role)
    ]
    return as_table(rows)


def null_effects(whole: Effect, null: Effect) -> Iterator[NullEffect]:
    """Yield what a LoRA and its random control change: words, if there are some, and images."""
    if whole.strongest is not None and null.strongest is not None:
        word, other = whole.strongest.term, null.strongest.term  # both chosen by one rule
        effect = word_values(whole.pairs, word.key)
        for measure, of_null in ((STRONGEST, other), (WORD, word)):
            values = word_values(null.pairs, of_null.key)
            name, null_name = (_name(term, whole.pairs) for term in (word, of_null))
            yield NullEffect(measure, name, null_name, effect, values)
    effect, values = image_levels(whole.pairs), image_levels(null.pairs)
    if effect and values:
        yield NullEffect(LEVEL, "", "", effect, values)


def _name(term: Term, pairs: Sequence[Pair]) -> str:
    """Return a word's label, with its segment behind it if words of several were compared."""
    segments = {other.segment for pair in pairs for other in pair.terms if other.kind == term.kind}
    return f"{term.label} ({term.segment})" if len(segments) > 1 else term.label


def _null_rows(whole: Effect, null: Effect) -> Iterator[dict[str, Any]]:
    names = {"variant_name": whole.label, "null_name": null.label}
    for entry in null_effects(whole, null):
        texts = {"measure": entry.measure, "word": entry.word, "null_word": entry.null_word}
        yield {**names, **texts, **numbers(entry.effect, entry.null, ("effect", "null"))}


def _part_rows(whole: Effect, part: Effect, role: Role) -> Iterator[dict[str, Any]]:
    names = {
        "whole_name": whole.label,
        "part": role.part,
        "kohya": kohya_of(role.part),
        "kind": role.kind,
        "variant_name": part.label,
    }
    if whole.lead is not None:
        key, label = whole.lead.term.key, _name(whole.lead.term, whole.pairs)
        sides = word_values(part.pairs, key), word_values(whole.pairs, key)
        yield {**names, "measure": WORD, "word": label, **numbers(*sides, ("effect", "whole"))}
    sides = image_levels(part.pairs), image_levels(whole.pairs)
    if all(sides):
        yield {**names, "measure": LEVEL, "word": "", **numbers(*sides, ("effect", "whole"))}


def kohya_of(part: str) -> str:
    """Return `OUT07` for the short name of a UNet's block, `BASE` for text encoders; else nothing.

    Args:
        part: short names with commas between them, such as `up.2.attn.1`.
    """
    return slot_of(part.partition(",")[0])


def numbers(effect: Values, other: Values, names: tuple[str, str]) -> dict[str, float]:
    """Return two effects, called so, and the ratio of the first to the second, as columns."""
    ratio = compare_values(effect, other)
    common = [image for image in effect if image in other]
    means = (_mean(values, common) for values in (effect, other))
    return dict(zip(names, means, strict=True)) | {
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "least": ratio.least,
        "n": ratio.n,
    }


def of_pair(pair: Pair, values: PairRow) -> Values:
    """Return one number of each image of a pair."""
    return {(pair.prompt, pair.seed, sample): float(value) for sample, value in enumerate(values)}


def _row(values: Values, images: Sequence[Image]) -> PairRow:
    return np.array([values[image] for image in images], np.float64)


def _mean(values: Values, images: Sequence[Image]) -> float:
    return float(np.mean(_row(values, images))) if images else float("nan")


def as_table(rows: Sequence[dict[str, Any]]) -> Table | None:
    """Return rows of the same columns as a table; None without rows."""
    return make_table({key: [row[key] for row in rows] for key in rows[0]}) if rows else None
