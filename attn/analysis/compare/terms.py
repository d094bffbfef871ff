"""What is looked at in a text segment: words, phrases, the sink, each a set of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from attn.analysis.sinks.roles import SKETCH
from attn.schema import Token
from attn.trace.words.occurrences import Occurrence, locate
from attn.trace.words.prompts import Prompt
from attn.trace.words.sums import TOGETHER
from attn.words import fold

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
        text: of a word as it is written in the prompt, of a phrase as it was typed; of a sink its
            token, or `all tokens`.
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

    @cached_property
    def key(self) -> Key:
        """What is the same for the same term of another trace."""
        return self.segment, self.kind, fold(self.text), self.number

    @property
    def label(self) -> str:
        """The term, with its number where it is repeated."""
        return f"{self.text} ({self.number})" if self.is_repeated else self.text


def find_terms(
    prompt: Prompt, phrases: Sequence[str] = (), *, together: bool = False
) -> tuple[Term, ...]:
    """Return the terms of a guidance row that have tokens, segment by segment.

    Args:
        prompt: what the guidance row reads.
        phrases: words in a row, such as `red cat`. Those that the prompt does not have are left
            out, in a segment also those that it does not hold whole.
        together: put all text segments into one, called `text`.
    """
    selected: list[tuple[Occurrence, Kind, set[int]]] = [
        *((word, "word", {word.index}) for word in prompt.words),
        *((run, "phrase", set(run.words)) for run in locate(prompt.words, phrases)),
    ]
    segments = list(dict.fromkeys(token.segment for token in prompt.tokens))
    terms: list[Term] = []
    for name in [TOGETHER] if together else segments:
        tokens = [token for token in prompt.tokens if name in (TOGETHER, token.segment)]
        for occurrence, kind, members in selected:
            is_there = kind == "word" or prompt.is_whole(members, name)
            positions = prompt.positions(members, name) if is_there else ()
            terms.append(
                Term(
                    name,
                    kind,
                    occurrence.text,
                    occurrence.number,
                    occurrence.is_repeated,
                    positions,
                )
            )
        terms += [] if together else _sink(tokens)
    return tuple(term for term in terms if term.tokens)


def _sink(tokens: Sequence[Token]) -> list[Term]:
    """Return the special token that opens a segment, if one does, or all those of a drawing."""
    if tokens[0].segment == SKETCH:
        positions = tuple((token.segment, token.position) for token in tokens)
        return [Term(SKETCH, "sink", EVERY, 1, False, positions)]
    first = min(tokens, key=lambda token: token.position)
    if not first.special or first.padding:
        return []
    position = (first.segment, first.position)
    return [Term(first.segment, "sink", first.text or "start", 1, False, (position,))]
