"""Which words and phrases of a prompt are meant by what a user typed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from attn.errors import AnalysisError, did_you_mean
from attn.words import Word, find_spans, find_words, fold, is_content, word_keys

Mode = Literal["span", "bag"]

MOST = 40
"""Words of a prompt that a message lists, and of prompts that a vocabulary has."""


@dataclass(frozen=True)
class Occurrence(Word):
    """One word of the prompt.

    Attributes:
        index: place among all words of the prompt, from 0.
        text: as it is written there.
        start: its first character in the prompt.
        stop: the one after its last.
        number: place among the equal words, from 1; case and normal form do not count.
        is_repeated: whether there are equal words.
    """

    number: int
    is_repeated: bool

    @property
    def label(self) -> str:
        """The word, with its number where it is repeated."""
        return f"{self.text} ({self.number})" if self.is_repeated else self.text


def find_occurrences(words: Sequence[Word]) -> tuple[Occurrence, ...]:
    """Number each word of a prompt among its equals."""
    keys = [fold(word.text) for word in words]
    total, seen = Counter(keys), Counter[str]()
    occurrences = []
    for word, key in zip(words, keys, strict=True):
        seen[key] += 1
        span = (word.index, word.text, word.start, word.stop)
        occurrences.append(Occurrence(*span, seen[key], total[key] > 1))
    return tuple(occurrences)


def list_vocabulary(prompts: Iterable[str], most: int = MOST) -> tuple[str, ...]:
    """Return the first labels of the words of prompts that are content words, folded, each once."""
    labels: dict[str, None] = {}
    last = None
    for prompt in prompts:
        if prompt != last and len(labels) < most:
            words = find_occurrences(find_words(prompt))
            labels |= {fold(word.label): None for word in words if is_content(word.text)}
        last = prompt
    return tuple(labels)[:most]


def select_words(
    words: Sequence[Occurrence], names: Sequence[str] | None
) -> tuple[Occurrence, ...]:
    """Return every occurrence of the named words, in the order of the prompt; None is all words.

    Raises:
        AnalysisError: the prompt has no words, or not one of the names.
    """
    if not words:
        raise AnalysisError("the prompt has no words")
    if names is None:
        return tuple(words)
    by_fold = {fold(word.text): word.text for word in words}
    for name in names:
        if fold(name) not in by_fold:
            is_phrase = bool(find_spans(words, name))
            hint = " It is a phrase there." if is_phrase else did_you_mean(fold(name), by_fold)
            listed = ", ".join(by_fold.values())
            raise AnalysisError(f"the prompt has no word '{name}'.{hint} Its words: {listed}.")
    wanted = {fold(name) for name in names}
    return tuple(word for word in words if fold(word.text) in wanted)


@dataclass(frozen=True)
class Phrase(Occurrence):
    """One occurrence of a phrase; `words` are the indices of its words in the prompt."""

    words: tuple[int, ...]


def find_phrases(
    prompt: Sequence[Occurrence], requested: Sequence[str], mode: Mode
) -> tuple[Phrase, ...]:
    """Return every occurrence of the asked phrases, numbered in the order asked.

    Args:
        prompt: all words of the prompt; see `locate`.
        requested: the phrases as typed.
        mode: `span` is words in a row; `bag` every word of the prompt that the phrase has, as one.

    Raises:
        AnalysisError: a phrase has no words, or is not in the prompt.
    """
    phrases = locate(prompt, requested, mode)
    there = {word_keys(phrase.text) for phrase in phrases}
    for phrase in requested:
        if word_keys(phrase) not in there:
            raise AnalysisError(_explain_absence(prompt, phrase))
    return phrases


def locate(
    prompt: Sequence[Occurrence], requested: Sequence[str], mode: Mode = "span"
) -> tuple[Phrase, ...]:
    """Return every occurrence of the asked phrases that are in the prompt, in the order asked.

    Case, normal form, and spaces and punctuation between words do not count; occurrences of a
    phrase do not overlap.

    Args:
        prompt: all words of the prompt, in pieces where a phrase begins or ends within one.
        requested: the phrases as typed.
        mode: `span` is words in a row; `bag` every word of the prompt that the phrase has, as one.
    """
    phrases: list[Phrase] = []
    for phrase in {word_keys(phrase): phrase for phrase in requested}.values():
        runs = _find_bag(prompt, word_keys(phrase)) if mode == "bag" else _find_runs(prompt, phrase)
        for number, run in enumerate(runs, start=1):
            span = prompt[run[0]].start, prompt[run[-1]].stop
            text = " ".join(phrase.split())
            phrases.append(Phrase(len(phrases), text, *span, number, len(runs) > 1, run))
    return tuple(phrases)


def _find_runs(prompt: Sequence[Occurrence], phrase: str) -> list[tuple[int, ...]]:
    return [
        tuple(at for at, word in enumerate(prompt) if start <= word.start and word.stop <= stop)
        for start, stop in find_spans(prompt, phrase)
    ]


def _find_bag(prompt: Sequence[Occurrence], words: tuple[str, ...]) -> list[tuple[int, ...]]:
    texts = [fold(word.text) for word in prompt]
    positions = tuple(position for position, text in enumerate(texts) if text in words)
    return [positions] if positions and set(words) <= set(texts) else []


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
    listed = f"{' '.join(texts[:MOST])}{' …' if len(texts) > MOST else ''}"
    return f"the prompt has no phrase '{text}': {has}{lacks}. The prompt's words: {listed}"
