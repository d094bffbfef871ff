"""Decode what a text encoder reads: tokens with offsets and words, and what was cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any, SupportsIndex

from attn.backends.loading.explain import explained
from attn.errors import RequestError
from attn.schema import Segment, Token, Word, find_words, word_at

READ = ("input_ids", "offset_mapping", "attention_mask", "special_tokens_mask")
"""What a tokenizer says of each position, beside its name."""
Span = tuple[int, int]
LONGEST_WORD = 256
"""Characters of a word beyond which cleaning is not followed into it."""
Convert = Callable[[str, Any], str]
"""`maybe_convert_prompt` of a diffusers pipeline: takes a prompt and a tokenizer."""


class TypedText(str):
    """A text whose every character knows which characters of the prompt it stands for.

    `replace` keeps that up: what is put in stands for all that it takes the place of, as the
    vectors of a textual inversion do for its name. So do `lower` and `strip`. Anything else makes a
    plain `str` of it.
    """

    spans: Sequence[Span]

    def __new__(cls, text: str, spans: Sequence[Span] | None = None) -> TypedText:
        """Begin with a prompt, whose characters stand for themselves."""
        made = super().__new__(cls, text)
        made.spans = [(at, at + 1) for at in range(len(text))] if spans is None else spans
        return made

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        """Return the text with `new` for every `old`; see `str.replace`."""
        if not old:
            return super().replace(old, new, count)
        spans: list[Span] = []
        at = 0
        for piece in self.split(old, count):
            spans += self.spans[at : at + len(piece)]
            at += len(piece)
            if at < len(self):
                spans += [_around(self.spans[at : at + len(old)])] * len(new)
                at += len(old)
        return TypedText(super().replace(old, new, count), spans)

    def lower(self) -> TypedText:
        """Return the text in small letters, of which a capital may have several."""
        pairs = zip(self.spans, str(self), strict=True)
        spans = [span for span, letter in pairs for _ in letter.lower()]
        return TypedText(super().lower(), spans)

    def strip(self, chars: str | None = None, /) -> TypedText:
        """Return the text without what its ends have of some characters; see `str.strip`."""
        start = len(self) - len(self.lstrip(chars))
        stripped = super().strip(chars)
        return TypedText(stripped, self.spans[start : start + len(stripped)])


def follow(prompt: str, cleaned: str) -> str:
    """Return a prompt that was cleaned by other means, following it word by word.

    Args:
        prompt: usually a `TypedText`.
        cleaned: what was made of it.

    Returns:
        A `TypedText` if each word of the one became one of the other, else what was made as it is,
        of which nobody knows what it stands for.
    """
    words = [[*re.finditer(r"\S+", text)] for text in (prompt, cleaned)]
    if prompt == cleaned or len(words[0]) != len(words[1]) or not isinstance(prompt, TypedText):
        return prompt if prompt == cleaned else cleaned
    spans: list[Span] = []
    for before, after in zip(*words, strict=True):
        gap = slice(max((stop for _, stop in spans[-1:]), default=0), before.start())
        spans += [_around(prompt.spans[gap]) if gap.start < gap.stop else (gap.start,) * 2] * (
            after.start() - len(spans)
        )
        spans += _word_spans(prompt.spans[before.start() : before.end()], before[0], after[0])
    return TypedText(cleaned, spans)


def _word_spans(spans: Sequence[Span], word: str, cleaned: str) -> list[Span]:
    """Return what each character of a cleaned word stands for."""
    if len(word) == len(cleaned):
        return list(spans)
    if max(len(word), len(cleaned)) > LONGEST_WORD:
        return [_around(spans)] * len(cleaned)
    found: list[Span] = []
    for kind, first, last, start, stop in SequenceMatcher(
        None, word, cleaned, autojunk=False
    ).get_opcodes():
        piece = spans[first:last] or spans[max(first - 1, 0) : max(first, 1)]
        found += piece if kind == "equal" else [_around(piece)] * (stop - start)
    return found


def decode(
    tokenizer: Any,
    prompt: str,
    *,
    segment: str,
    start: int,
    length: int,
    convert: Convert | None = None,
) -> tuple[tuple[Token, ...], str | None]:
    """Tokenize a prompt the way the diffusers pipelines do, padded and cut to `length`.

    Args:
        tokenizer: a fast tokenizer of transformers.
        prompt: the text.
        segment: name of the segment that the tokens fill.
        start: position of the segment in the sequence.
        length: number of positions.
        convert: the pipeline's `maybe_convert_prompt`, if it has one. Offsets are those of the
            prompt as it was typed: all vectors of a textual inversion belong to its name.

    Returns:
        one token per position, and the end of the prompt that did not fit, or None.

    Raises:
        RequestError: `convert` changes the prompt in a way that cannot be followed.
    """
    words, specials = find_words(prompt), special_ids(tokenizer)
    pad = tokenizer.pad_token if not find_words(tokenizer.pad_token or "") else None  # such as !
    with explained(f"the tokenizer of {segment} cannot read the prompt"):
        text = converted(prompt, tokenizer, convert)
        read = tokenizer(
            str(text),
            padding="max_length",
            max_length=length,
            truncation=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        names = tokenizer.convert_ids_to_tokens(read["input_ids"])
    tokens, count = [], 0
    listed = (read[key] for key in READ)  # each look at it takes as long as a token
    for position, (name, number, offsets, seen, special) in enumerate(
        zip(names, *listed, strict=True), start
    ):
        piece, added = slice(*offsets), bool(special)
        if not seen:
            tokens.append(_padding(segment, position, number, name, added))
            continue
        count += not added
        typed_out = number in specials and text[piece].strip() == name != pad
        token = Token(
            *(position, segment, number, name, added or typed_out, False, 0, 0, None),
            piece=name,
        )
        tokens.append(_placed(token, text, piece, words) if token.is_content else token)
    is_full = not tokens[-1].padding
    return tuple(tokens), _cut(tokenizer, prompt, text, count) if is_full else None


@lru_cache(2**14)  # most of what a short prompt has, and the same in all
def _padding(segment: str, position: int, number: int, name: str, added: bool) -> Token:
    return Token(position, segment, number, name, added, True, 0, 0, None, piece=name)


def _placed(token: Token, text: TypedText, piece: slice, words: Sequence[Word]) -> Token:
    """Return a token with the characters and the word that it stands for."""
    first, last = typed_span(text, piece)
    shown = text[piece].strip() or token.text
    return replace(token, text=shown, start=first, stop=last, word=word_at(words, first, last))


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of a fast tokenizer's special tokens, whatever they are for."""
    added = tokenizer.added_tokens_decoder
    specials = {number for number, token in added.items() if token.special}
    return frozenset(specials | set(tokenizer.all_special_ids))


def zero_tokens(segment: Segment) -> tuple[Token, ...]:
    """Return the tokens of a segment that no encoder fills: every position is a vector of zeros."""
    return tuple(
        Token(position, segment.name, 0, "<zero>", False, True, 0, 0, None)
        for position in range(segment.start, segment.stop)
    )


def learned_tokens(segment: Segment) -> tuple[Token, ...]:
    """Return the tokens of a segment of learned vectors, which no encoder fills and no word is."""
    return tuple(
        Token(position, segment.name, 0, f"<{segment.name}>", True, False, 0, 0, None)
        for position in range(segment.start, segment.stop)
    )


def converted(prompt: str, tokenizer: Any, convert: Convert | None) -> TypedText:
    """Return the text that is tokenized instead of the prompt."""
    typed = TypedText(prompt)
    text = typed if convert is None else convert(typed, tokenizer)
    if isinstance(text, TypedText):
        return text
    if text != prompt:
        whose = type(getattr(convert, "__self__", convert)).__name__
        raise RequestError(
            f"maybe_convert_prompt of {whose} turns the prompt {prompt!r} into {text!r}, and not "
            "by str.replace alone, so it is unclear which words its tokens belong to; hand over a "
            "pipeline without this method, and the prompt as it is to be read"
        )
    return typed


def typed_span(text: TypedText, piece: slice) -> Span:
    """Return the characters of the prompt that a piece of the text stands for."""
    if piece.start < piece.stop:
        return _around(text.spans[piece])
    after = [start for start, _ in text.spans[piece.start :][:1]]
    at = after[0] if after else max((stop for _, stop in text.spans), default=0)
    return at, at


def _around(spans: Sequence[Span]) -> Span:
    return min(start for start, _ in spans), max(stop for _, stop in spans)


def _cut(tokenizer: Any, prompt: str, text: TypedText, count: int) -> str | None:
    """Return the end of the prompt from the first token on that was not read; `count` were."""
    whole = tokenizer(
        str(text),
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        truncation=False,
        verbose=False,
    )
    pairs = zip(whole["offset_mapping"], whole["special_tokens_mask"], strict=True)
    unread = [slice(*offsets) for offsets, added in pairs if not added][count:]
    return prompt[typed_span(text, unread[0])[0] :].strip() if unread else None
