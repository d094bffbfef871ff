"""What the positions of a tapped text are called: tokens with their text, words of the prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attn.errors import CaptureError, UsageError
from attn.schema import UNKNOWN, SampleText, Segment, Token, Word, find_words, word_at
from attn.wording import spell_token

Tokens = Any
"""A tokenizer of transformers, a text for each position, or a `schema.Token` for each."""

NO_ID = -1
"""The id of a position of which nobody says what token it is."""
SPELLED = re.compile(r"<\|.+\|>|</?s>|<(?:bos|eos|mask|pad|unk)>|\[(?:CLS|MASK|PAD|SEP|UNK)\]")
"""How tokenizers spell tokens that are no text."""
LOOK_BACK = 8
"""So many tokens before one may change how it is decoded."""


@dataclass(frozen=True)
class Row:
    """What one row of a batch reads: ids, None where vectors are read, and which are padding."""

    ids: Sequence[int] | None
    padding: Sequence[bool]


def read_texts(
    tokens: Tokens, segments: Sequence[Segment], rows: Sequence[Row]
) -> tuple[SampleText, tuple[SampleText, ...]]:
    """Name the positions of every row of a batch.

    Args:
        tokens: what the user said of them, or None.
        segments: of the sequence; what is called generated is none of the prompt.
        rows: of the batch.

    Returns:
        what all rows read: tokens that differ have their position for a text; and the rows' own
        texts, nothing if they are the same.

    Raises:
        CaptureError: there are other positions than tokens.
    """
    texts = tuple(_read(tokens, segments, row) for row in rows)
    first = texts[0]
    if all(text == first for text in texts):
        return first, ()
    return SampleText(
        "", tuple(map(_common, zip(*(text.tokens for text in texts), strict=True)))
    ), texts


def require_tokens(tokens: Tokens) -> None:
    """Refuse what can name no positions.

    Raises:
        UsageError: it is no tokenizer and no list.
    """
    if tokens is None or _is_tokenizer(tokens):
        return
    is_list = isinstance(tokens, Sequence) and not isinstance(tokens, str)
    if not is_list or not all(isinstance(token, str | Token) for token in tokens):
        raise UsageError(
            "tokens: expected a tokenizer of transformers, or a text for each position; got "
            f"{tokens!r:.60}"
        )


def _is_tokenizer(tokens: Tokens) -> bool:
    return hasattr(tokens, "convert_ids_to_tokens") and hasattr(tokens, "decode")


def _read(tokens: Tokens, segments: Sequence[Segment], row: Row) -> SampleText:
    places = [
        (segment, position)
        for segment in segments
        if segment.kind == "text"
        for position in range(segment.start, segment.stop)
    ]
    blank = [
        Token(position, segment.name, NO_ID, UNKNOWN, True, _at(row.padding, position), 0, 0, None)
        for segment, position in places
    ]
    if not _is_tokenizer(tokens):
        return _of_list(tokens, segments, blank, row)
    if row.ids is None:
        return SampleText("", tuple(blank))
    special = _special_ids(tokens)
    pad = getattr(tokens, "pad_token_id", None)
    named = [
        token
        if (number := int(row.ids[token.position])) == NO_ID
        else replace(
            token,
            id=number,
            piece=(piece := str(tokens.convert_ids_to_tokens(number))),
            text=spell_token(str(tokens.decode([number]))) or piece,
            special=number in special and number != pad,
        )
        for token in blank
    ]
    return _with_prompt(tokens, segments, named)


def _of_list(
    tokens: Tokens, segments: Sequence[Segment], blank: list[Token], row: Row
) -> SampleText:
    """Name positions by a list of texts or tokens, or by their ids."""
    if tokens is None:
        ids = row.ids
        if ids is None:
            return SampleText("", tuple(blank))
        return SampleText(
            "",
            tuple(
                one
                if (number := int(ids[one.position])) == NO_ID
                else replace(one, id=number, text=f"<{number}>", special=False)
                for one in blank
            ),
        )
    if len(tokens) != len(blank):
        raise CaptureError(
            f"tokens: {len(tokens)} are named, but the sequence has {len(blank)} positions of text "
            f"({', '.join(f'{one.name} {one.length}' for one in segments)}); name each of them"
        )
    if all(isinstance(token, Token) for token in tokens):
        return SampleText("", tuple(tokens))
    texts = [str(token) for token in tokens]
    joint = "" if any(text[:1].isspace() for text in texts) else " "
    prompt, named = "", []
    written = {segment.name for segment in segments if segment.is_generated}
    for token, text in zip(blank, texts, strict=True):
        start = len(prompt) + len(joint) * bool(prompt)
        special = SPELLED.fullmatch(text.strip()) is not None
        is_prompt = not (special or token.padding or token.segment in written)
        span = (start, start + len(text)) if is_prompt else (0, 0)
        prompt = (prompt + joint if prompt else "") + text if is_prompt else prompt
        named.append(
            replace(token, text=text.strip() or text, special=special, start=span[0], stop=span[1])
        )
    return _with_words(prompt, named)


def _with_prompt(tokenizer: Any, segments: Sequence[Segment], named: list[Token]) -> SampleText:
    """Give the tokens of the prompt their characters in it."""
    written = {segment.name for segment in segments if segment.is_generated}
    content = [
        place
        for place, token in enumerate(named)
        if token.is_content and token.segment not in written
    ]
    prompt, spans = "", []
    for kept, added in _decoded(tokenizer, [named[place].id for place in content]):
        prompt = prompt[: len(prompt) - kept] + added
        spans.append((len(prompt) - len(added), len(prompt)))
    for place, (start, stop) in zip(content, spans, strict=True):
        named[place] = replace(named[place], start=start, stop=stop)
    return _with_words(prompt, named)


def _with_words(prompt: str, named: list[Token]) -> SampleText:
    words = find_words(prompt)
    tokens = tuple(
        replace(token, word=_word(words, token)) if token.start < token.stop else token
        for token in named
    )
    return SampleText(prompt, tokens, words)


def _word(words: Sequence[Word], token: Token) -> int | None:
    return word_at(words, token.start, token.stop)


def _decoded(tokenizer: Any, ids: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield what each token adds to the text: characters to take back, and those to put there."""
    for place in range(len(ids)):
        begin = max(0, place - LOOK_BACK)
        before = str(tokenizer.decode(ids[begin:place])) if place > begin else ""
        after = str(tokenizer.decode(ids[begin : place + 1]))
        pairs = zip(before, after, strict=False)
        same = next((at for at, (old, new) in enumerate(pairs) if old != new), len(before))
        yield len(before) - same, after[same:]


def _special_ids(tokenizer: Any) -> frozenset[int]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    specials = {number for number, token in added.items() if token.special}
    return frozenset(specials | set(tokenizer.all_special_ids))


def _at(padding: Sequence[bool], position: int) -> bool:
    return bool(padding[position]) if position < len(padding) else False


def _common(tokens: tuple[Token, ...]) -> Token:
    """Return what is known of a position in all rows."""
    first = tokens[0]
    same = all(token.id == first.id and token.text == first.text for token in tokens)
    padding = all(token.padding for token in tokens)
    if same:
        return replace(first, padding=padding, start=0, stop=0, word=None)
    position = first.position
    return Token(position, first.segment, NO_ID, f"[{position}]", False, padding, 0, 0, None)


def rows_of(ids: np.ndarray | None, padding: np.ndarray | None, count: int) -> list[Row]:
    """Return what each row of a batch reads."""
    return [
        Row(
            None if ids is None else ids[row].tolist(),
            [] if padding is None else padding[row].tolist(),
        )
        for row in range(count)
    ]
