"""Phrases: words in a row that are looked at together.

The values of a phrase are combined from those of its words, `v₁ … vₙ`, with one weight per word:

- sum        Σ vᵢ. Probabilities of distinct keys add up, so this is the attention to the phrase.
- attention  Σ vᵢ · mᵢ / Σ mᵢ, with mᵢ the mean of vᵢ over all that is shown (places, or steps and
             layers).
- uniform    Σ vᵢ / n.

Source: the last two are sd3.5-attention-analysis' `--weights`, and `Mode` `bag` is its meaning of a
phrase, but for case, which does not count here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from attn.analysis.numbers import Numbers
from attn.shapes import WordMeans
from attn.trace.words.occurrences import Phrase

Weights = Literal["sum", "attention", "uniform"]


def combine(
    values: Numbers, phrases: Sequence[Phrase], weights: Weights, means: WordMeans
) -> Numbers:
    """Combine the values of words to those of phrases.

    Args:
        values: (word, …, sample), of all words of the prompt.
        phrases: what to combine.
        weights: how; see the module.
        means: (word, sample), the mᵢ.

    Returns:
        (phrase, …, sample); NaN where a word of the phrase has no value.
    """
    combined = np.empty((len(phrases), *values.shape[1:]))
    for row, phrase in zip(combined, phrases, strict=True):
        indices = list(phrase.words)
        weight = _weigh(means[indices], weights)
        row[...] = sum(
            value * factor for value, factor in zip(values[indices], weight, strict=True)
        )
    return combined


def _weigh(means: WordMeans, weights: Weights) -> WordMeans:
    """Return (word, sample)."""
    if weights == "sum":
        return np.ones_like(means)
    even = np.full_like(means, 1 / len(means))
    total = means.sum(axis=0)
    return (
        even
        if weights == "uniform"
        else np.where(total > 0, means / np.where(total > 0, total, 1), even)
    )
