"""How much of a LoRA's effect is left without its trigger words.

Definitions, of each image with the trigger words and of the one of the same seed without them:

- level   mean absolute difference from the image without the LoRA, 0 to 255.
- moved   sum over the prompt's words of the absolute change of their mass, mean over layers; the
          trigger words are among those of the prompt that has them.
- ratio   mean without / mean with, over images; see `ratios`. 0 is no leak, 1 is that the words
          make no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        for measure, values_of in ((LEVEL, image_levels), (MOVED, moved_masses)):
            there, left = values_of(with_words), values_of(without)
            same = {
                (prompt, seed, sample): left[prompts[prompt], seed, sample]
                for prompt, seed, sample in there
                if (prompts.get(prompt), seed, sample) in left
            }
            if same:
                names = {"variant_name": label, "trigger": ", ".join(triggers), "measure": measure}
                rows.append(names | numbers(same, there, ("without", "with")))
    return as_table(rows) or {}


def moved_masses(pairs: Sequence[Pair]) -> Values:
    """Return how much mass all words of each image lose or win, 0 to 2."""
    measure, values = overall(mass), Values()
    for pair in pairs:
        words = [at for at, term in enumerate(pair.terms) if term.kind == "word"]
        sides = measure(pair)
        if sides is not None:
            changes = (sides[1] - sides[0])[:, words]
            values |= of_pair(pair, np.nansum(np.abs(changes), axis=1))
    return values
