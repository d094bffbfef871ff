"""What is looked at in a text segment: words, phrases, the sink, each a set of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attn.analysis.pool import Numbers
from attn.analysis.roles import SKETCH
from attn.analysis.select import Occurrence, find_occurrences
from attn.schema import Column, Manifest, Token, find_words

TEXT = "text"
"""Stands for all text segments together, where two models do not have the same ones."""

EVERY = "all tokens"
"""Stands for all tokens of a drawing."""

Kind = Literal["word", "phrase", "sink"]
Key = tuple[str, Kind, str, int]


@dataclass(frozen=True)
class Term:
    """Something in one text segment whose attention is measured.

    Attributes:
        segment: where its tokens are; `text` is all text segments.
        kind: a word of the prompt, several in a row, or the special token that opens the segment
            (of a drawing, all of its tokens, since none of them opens it).
        text: as it is written in the prompt; of a sink its token, or `all tokens`.
        number: place among the equal ones, from 1.
        is_repeated: whether there are equal ones.
        tokens: segment and position of each of its tokens; empty if the segment cut it off.
    """

    segment: str
    kind: Kind
    text: str
    number: int
    is_repeated: bool
    tokens: tuple[tuple[str, int], ...]

    @property
    def key(self) -> Key:
        """What is the same for the same term of another trace."""
        return self.segment, self.kind, self.text.casefold(), self.number

    @property
    def label(self) -> str:
        """The term, with its number where it is repeated."""
        return f"{self.text} ({self.number})" if self.is_repeated else self.text


def find_terms(
    manifest: Manifest, branch: str, phrases: Sequence[str] = (), *, together: bool = False
) -> tuple[Term, ...]:
    """Return the terms of a trace that have tokens, segment by segment.

    Args:
        manifest: of the trace.
        branch: guidance row, whose prompt and tokens count.
        phrases: words in a row, such as `red cat`; case does not count. Those that the prompt does
            not have are left out.
        together: put all text segments into one, called `text`.
    """
    prompt = prompt_words(manifest, branch)
    spans = [(word.text, [word]) for word in prompt] + phrase_spans(prompt, phrases)
    keys = [" ".join(text.casefold().split()) for text, _ in spans]
    tokens = manifest.tokens[branch]
    segments = list(dict.fromkeys(token.segment for token in tokens))
    found: list[Term] = []
    for name in [TEXT] if together else segments:
        own = [token for token in tokens if name in (TEXT, token.segment)]
        for place, ((text, words), key) in enumerate(zip(spans, keys, strict=True)):
            places = _tokens(own, {word.index for word in words})
            kind: Kind = "word" if place < len(prompt) else "phrase"
            number = keys[: place + 1].count(key)
            found.append(Term(name, kind, text, number, keys.count(key) > 1, places))
        found += [] if together else _sink(own)
    return tuple(term for term in found if term.tokens)


def prompt_words(manifest: Manifest, branch: str) -> tuple[Occurrence, ...]:
    """Return the words that a guidance row reads."""
    negative = manifest.request.negative or ""
    return find_occurrences(find_words(negative) if branch == "uncond" else manifest.words)


def phrase_spans(
    prompt: Sequence[Occurrence], phrases: Sequence[str]
) -> list[tuple[str, list[Occurrence]]]:
    """Return where phrases stand, as they are written: every run of words that matches."""
    found = []
    for phrase in dict.fromkeys(phrases):
        wanted = phrase.casefold().split()
        for start in range(len(prompt) - len(wanted) + 1):
            run = list(prompt[start : start + len(wanted)])
            if [word.text.casefold() for word in run] == wanted:
                found.append((" ".join(word.text for word in run), run))
    return found


def lay_out(columns: Sequence[Column], terms: Sequence[Term]) -> Numbers:
    """Return (key, term): 1 where a key column is a token of the term, else 0."""
    return np.array(
        [
            [(column.segment, column.position) in term.tokens for term in terms]
            for column in columns
        ],
        np.float64,
    ).reshape(len(columns), len(terms))


def _tokens(tokens: Sequence[Token], words: set[int]) -> tuple[tuple[str, int], ...]:
    return tuple((token.segment, token.position) for token in tokens if token.word in words)


def _sink(tokens: Sequence[Token]) -> list[Term]:
    """Return the special token that opens a segment, if one does, or all those of a drawing."""
    if tokens[0].segment == SKETCH:
        places = tuple((token.segment, token.position) for token in tokens)
        return [Term(SKETCH, "sink", EVERY, 1, False, places)]
    first = min(tokens, key=lambda token: token.position)
    if not first.special or first.padding:
        return []
    place = (first.segment, first.position)
    return [Term(first.segment, "sink", first.text or "start", 1, False, (place,))]
