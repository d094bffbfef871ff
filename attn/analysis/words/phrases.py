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

from attn.analysis.words.select import Occurrence
from attn.analysis.words.word_sums import Numbers
from attn.errors import AnalysisError
from attn.words import find_spans, fold, word_keys

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

    Args:
        prompt: all words of the prompt; see `locate`.
        asked: the phrases as typed.
        mode: `span` is words in a row; `bag` every word of the prompt that the phrase has, as one.

    Raises:
        AnalysisError: a phrase has no words, or is not in the prompt.
    """
    found = locate(prompt, asked, mode)
    there = {word_keys(phrase.text) for phrase in found}
    for phrase in asked:
        if word_keys(phrase) not in there:
            raise AnalysisError(_explain_absence(prompt, phrase))
    return found


def locate(
    prompt: Sequence[Occurrence], asked: Sequence[str], mode: Mode = "span"
) -> tuple[Phrase, ...]:
    """Return every occurrence of the asked phrases that are in the prompt, in the order asked.

    Case, normal form, and spaces and punctuation between words do not count; occurrences of a
    phrase do not overlap.

    Args:
        prompt: all words of the prompt, in pieces where a phrase begins or ends within one.
        asked: the phrases as typed.
        mode: `span` is words in a row; `bag` every word of the prompt that the phrase has, as one.
    """
    found: list[Phrase] = []
    for phrase in {word_keys(phrase): phrase for phrase in asked}.values():
        runs = _find_bag(prompt, word_keys(phrase)) if mode == "bag" else _find_runs(prompt, phrase)
        for number, run in enumerate(runs, start=1):
            span = prompt[run[0]].start, prompt[run[-1]].stop
            text = " ".join(phrase.split())
            found.append(Phrase(len(found), text, *span, number, len(runs) > 1, run))
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


def _find_runs(prompt: Sequence[Occurrence], phrase: str) -> list[tuple[int, ...]]:
    return [
        tuple(at for at, word in enumerate(prompt) if start <= word.start and word.stop <= stop)
        for start, stop in find_spans(prompt, phrase)
    ]


def _find_bag(prompt: Sequence[Occurrence], words: tuple[str, ...]) -> list[tuple[int, ...]]:
    texts = [fold(word.text) for word in prompt]
    places = tuple(place for place, text in enumerate(texts) if text in words)
    return [places] if places and set(words) <= set(texts) else []


def _explain_absence(prompt: Sequence[Occurrence], phrase: str) -> str:
    texts, text = [fold(word.text) for word in prompt], " ".join(phrase.split())
    words = dict.fromkeys(word_keys(phrase))
    if not words:
        return f"the phrase '{text}' has no words"
    there = [word for word in words if word in texts]
    absent = [word for word in words if word not in texts]
    if not absent:
        return (
            f"the prompt has no phrase '{text}': its words are there, but not in a row; "
            "--set phrase_mode=bag takes them wherever they stand"
        )
    has = f"of its words the prompt has {', '.join(there)}" if there else "it has none of its words"
    lacks = f", but not {', '.join(absent)}" if there else ""
    known = f"{' '.join(texts[:MOST])}{' …' if len(texts) > MOST else ''}"
    return f"the prompt has no phrase '{text}': {has}{lacks}. The prompt's words: {known}"
