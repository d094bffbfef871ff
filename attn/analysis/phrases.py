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
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attn.analysis.pool import Numbers
from attn.analysis.select import Occurrence
from attn.errors import AnalysisError
from attn.schema import find_words

Mode = Literal["span", "bag"]
Weights = Literal["sum", "attention", "uniform"]

MOST = 40
"""Words of the prompt that a message lists."""


@dataclass(frozen=True)
class Phrase(Occurrence):
    """One occurrence of a phrase; `words` are the indices of its words in the prompt."""

    words: tuple[int, ...]


def find_phrases(
    prompt: Sequence[Occurrence], asked: Sequence[str], mode: Mode
) -> tuple[Phrase, ...]:
    """Return every occurrence of the asked phrases, numbered in the order asked.

    Case, spaces and punctuation between words do not count; occurrences do not overlap.

    Args:
        prompt: all words of the prompt.
        asked: the phrases as typed.
        mode: `span` is words in a row; `bag` every word of the prompt that the phrase has, as one.

    Raises:
        AnalysisError: a phrase has no words, or is not in the prompt.
    """
    texts = [word.text.casefold() for word in prompt]
    wanted = {
        tuple(word.text.casefold() for word in find_words(phrase)): " ".join(phrase.split())
        for phrase in asked
    }
    found: list[Phrase] = []
    for words, text in wanted.items():
        places = _find_bag(texts, words) if mode == "bag" else _find_spans(texts, words)
        if not places:
            raise AnalysisError(_explain_absence(texts, words, text))
        found += [
            Phrase(len(found) + number, text, number + 1, len(places) > 1, place)
            for number, place in enumerate(places)
        ]
    return tuple(found)


def combine(
    values: Numbers, phrases: Sequence[Phrase], weights: Weights, means: Numbers
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
        own = list(phrase.words)
        weight = _weigh(means[own], weights)
        row[...] = sum(value * one for value, one in zip(values[own], weight, strict=True))
    return combined


def _weigh(means: Numbers, weights: Weights) -> Numbers:
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


def _find_spans(texts: Sequence[str], words: tuple[str, ...]) -> list[tuple[int, ...]]:
    spans: list[tuple[int, ...]] = []
    for start in range(len(texts) - len(words) + 1 if words else 0):
        is_free = not spans or spans[-1][-1] < start
        if is_free and tuple(texts[start : start + len(words)]) == words:
            spans.append(tuple(range(start, start + len(words))))
    return spans


def _find_bag(texts: Sequence[str], words: tuple[str, ...]) -> list[tuple[int, ...]]:
    places = tuple(place for place, text in enumerate(texts) if text in words)
    return [places] if places and set(words) <= set(texts) else []


def _explain_absence(texts: Sequence[str], words: tuple[str, ...], text: str) -> str:
    if not words:
        return f"the phrase '{text}' has no words"
    there = [word for word in dict.fromkeys(words) if word in texts]
    absent = [word for word in dict.fromkeys(words) if word not in texts]
    if not absent:
        return (
            f"the prompt has no phrase '{text}': its words are there, but not in a row; "
            "--set phrase_mode=bag takes them wherever they stand"
        )
    has = f"of its words the prompt has {', '.join(there)}" if there else "it has none of its words"
    lacks = f", but not {', '.join(absent)}" if there else ""
    known = f"{' '.join(texts[:MOST])}{' …' if len(texts) > MOST else ''}"
    return f"the prompt has no phrase '{text}': {has}{lacks}. The prompt's words: {known}"
