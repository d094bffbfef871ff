"""The words of a prompt, as finely divided as what a user typed needs, and their tokens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from attn.errors import AnalysisError
from attn.schema import UNCOND, Manifest, Token, Word, find_words, word_at
from attn.trace.words.occurrences import Occurrence, find_occurrences
from attn.trace.words.sums import TOGETHER, TokenPosition
from attn.words import find_spans, overlaps, split_words


@dataclass(frozen=True)
class Prompt:
    """What a guidance row reads.

    Attributes:
        words: of the text. One that is written without spaces is in pieces where a typed word or
            phrase begins or ends within it.
        tokens: of all segments, with the indices of these words.
        crossed: segment and index of the pieces that a token reads together with the next one.
            Nothing is known of them there, so they have no tokens.
        reach: how many characters of the text each segment with words holds.
    """

    words: tuple[Occurrence, ...]
    tokens: tuple[Token, ...]
    crossed: frozenset[tuple[str, int]] = frozenset()
    reach: tuple[tuple[str, int], ...] = ()

    @property
    def segments(self) -> tuple[str, ...]:
        """The text segments with tokens of the text's words, in order."""
        return tuple(name for name, _ in self.reach)

    def positions(
        self, members: Collection[int], segment: str = TOGETHER
    ) -> tuple[TokenPosition, ...]:
        """Return the tokens of words, where a segment holds each of these apart from others.

        Args:
            members: indices of words.
            segment: one of `segments`, or `TOGETHER` for all.
        """
        lacking = {name for name, index in self.crossed if index in members}
        return tuple(
            (token.segment, token.position)
            for token in self.tokens
            if token.word in members
            and segment in (token.segment, TOGETHER)
            and token.segment not in lacking
        )

    def is_whole(self, members: Collection[int], segment: str = TOGETHER) -> bool:
        """Whether a segment holds all of the words, and none of them in part."""
        tokens = [token for token in self.tokens if segment in (token.segment, TOGETHER)]
        return {*members} <= {token.word for token in tokens} and self.cut(segment) not in members

    def cut(self, segment: str = TOGETHER) -> int | None:
        """Return the index of the word that a segment ends in the middle of, if it does.

        Of all segments together it is one that none of them holds whole.
        """
        reaches = [reach for name, reach in self.reach if segment in (name, TOGETHER)]
        reach = max(reaches, default=0)
        return next((word.index for word in self.words if word.start < reach < word.stop), None)


def read_prompt(manifest: Manifest, branch: str, names: Sequence[str] = ()) -> Prompt:
    """Return the words and tokens of a guidance row.

    Args:
        manifest: of the trace.
        branch: guidance row; `uncond` reads the negative prompt.
        names: words and phrases that are looked for, as typed.

    Raises:
        AnalysisError: every segment reads one of the names with tokens that cross its ends.
    """
    text = manifest.request.prompt_of(branch)
    words, tokens = manifest.words, manifest.tokens.get(branch, ())
    if branch == UNCOND:
        words = find_words(text)
        tokens = tuple(_relabel(token, words) for token in tokens)
    lost = manifest.truncated.get(branch, {})
    worded = dict.fromkeys(token.segment for token in tokens if token.word is not None)
    reach = tuple((name, len(text.rstrip()) - len(lost.get(name, ""))) for name in worded)
    pieces = divide(words, names)
    if len(pieces) == len(words):
        return Prompt(pieces, tokens, reach=reach)
    prompt = replace(_divide_tokens(tokens, words, pieces), reach=reach)
    _require_tokens(prompt, names)
    return prompt


def divide(words: Sequence[Word], names: Sequence[str]) -> tuple[Occurrence, ...]:
    """Return words, in pieces where one of the names begins or ends within a word."""
    spans = [span for name in names for span in find_spans(words, name)]
    return find_occurrences(split_words(words, spans))


def _relabel(token: Token, words: Sequence[Word]) -> Token:
    """Give a token of a negative prompt its word: traces hold no words of it, only their indices.

    What wrote the trace may have found other words.
    """
    is_placed = token.is_content and token.start < token.stop
    return replace(token, word=word_at(words, token.start, token.stop)) if is_placed else token


def _divide_tokens(
    tokens: Sequence[Token], words: Sequence[Word], pieces: tuple[Occurrence, ...]
) -> Prompt:
    """Give the tokens of each word that is in pieces to these, by their offsets."""
    same = {(piece.start, piece.stop): piece.index for piece in pieces}
    whole = {word.index: same.get((word.start, word.stop)) for word in words}
    owners: list[int | None] = []
    crossed: set[tuple[str, int]] = set()
    for token in tokens:
        owner = None if token.word is None else whole[token.word]
        if token.word is not None and owner is None:
            owner = word_at(pieces, token.start, token.stop)
            over = [piece.index for piece in pieces if overlaps(piece, token.start, token.stop)]
            crossed |= {(token.segment, index) for index in over if len(over) > 1}
        owners.append(owner)
    divided = tuple(
        replace(token, word=None if (token.segment, owner) in crossed else owner)
        for token, owner in zip(tokens, owners, strict=True)
    )
    return Prompt(pieces, divided, frozenset(crossed))


def _require_tokens(prompt: Prompt, names: Sequence[str]) -> None:
    """Refuse names that no segment holds: everywhere a token reads more than them."""
    held = {token.word for token in prompt.tokens}
    lost = [prompt.words[at] for at in {index for _, index in prompt.crossed} - held]
    segments = ", ".join(sorted({f"'{segment}'" for segment, _ in prompt.crossed}))
    for name in names:
        for start, stop in find_spans(prompt.words, name):
            if any(start <= piece.start and piece.stop <= stop for piece in lost):
                raise AnalysisError(
                    f"'{name}' has no tokens of its own: in {segments} a token holds characters "
                    "of it together with those beside it; name more of the text, or leave it out"
                )
