"""How much of a LoRA's effect is left without its trigger words.

Definitions, of each image with the trigger words and of the one of the same seed without them:

- level   mean absolute difference from the image without the LoRA, 0 to 255.
- moved   sum over words of the absolute change of their mass, mean over layers. Only words that
          both prompts have equally often count: trigger words, which one side lacks, would make
          `with` the larger whatever the LoRA does.
- ratio   mean without / mean with, over images; see `ratios`. 0 is no leak, 1 is that the words
          make no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from attn.analysis.compare.changes import mass, overall
from attn.analysis.compare.controls.controls import (
    LEVEL,
    Values,
    as_table,
    image_levels,
    numbers,
    of_pair,
)
from attn.analysis.compare.pairs import Pair
from attn.analysis.compare.terms import Key
from attn.analysis.tables import Table

MOVED = "moved"


def leak_table(
    sides: Mapping[str, tuple[Sequence[Pair], Sequence[Pair]]],
    prompts: Mapping[str, str],
    triggers: Sequence[str],
) -> Table:
    """Return `leak.csv`, two rows for each variant.

    Args:
        sides: pairs with and without the trigger words, by what a variant is called.
        prompts: those without the words, by those with them.
        triggers: the words.
    """
    rows: list[dict[str, Any]] = []
    for label, (with_words, without) in sides.items():
        names = {"variant_name": label, "trigger": ", ".join(triggers)}
        for measure in (LEVEL, MOVED):
            there, left = Values(), Values()
            for prompt, other in prompts.items():
                first = [pair for pair in with_words if pair.prompt == prompt]
                # two prompts may be the same without the words
                second = [replace(pair, prompt=prompt) for pair in without if pair.prompt == other]
                there |= _values(measure, first, second)
                left |= _values(measure, second, first)
            if there.keys() & left.keys():
                rows.append(
                    names | {"measure": measure} | numbers(left, there, ("without", "with"))
                )
    return as_table(rows) or {}


def _values(measure: str, pairs: Sequence[Pair], others: Sequence[Pair]) -> Values:
    """Return a measure of some pairs of one prompt, on words that the others have, too."""
    if measure == LEVEL:
        return image_levels(pairs)
    return moved_masses(pairs, common_words(pairs, others))


def common_words(pairs: Sequence[Pair], others: Sequence[Pair]) -> set[Key]:
    """Return the words that two prompts have equally often."""
    if not pairs or not others:
        return set()
    first, second = (
        Counter(term.key[:-1] for term in of[0].terms if term.kind == "word")
        for of in (pairs, others)
    )
    return {term.key for term in pairs[0].terms if first[term.key[:-1]] == second[term.key[:-1]]}


def moved_masses(pairs: Sequence[Pair], words: Container[Key]) -> Values:
    """Return how much mass some words of each image lose or win, 0 to 2; nothing without words."""
    measure, values = overall(mass), Values()
    for pair in pairs:
        columns = [
            at for at, term in enumerate(pair.terms) if term.kind == "word" and term.key in words
        ]
        sides = measure(pair)
        if columns and sides is not None:
            changes = (sides[1] - sides[0])[:, columns]
            values |= of_pair(pair, np.nansum(np.abs(changes), axis=1))
    return values
