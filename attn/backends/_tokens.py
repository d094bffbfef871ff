"""Decode what a text encoder reads: tokens with offsets and words, and what was cut."""

from __future__ import annotations

from typing import Any

from attn.backends._explain import explained
from attn.schema import Token, find_words, word_at


def decode(
    tokenizer: Any, prompt: str, *, segment: str, start: int, length: int
) -> tuple[tuple[Token, ...], str | None]:
    """Tokenize a prompt the way the diffusers pipelines do, padded and cut to `length`.

    Args:
        tokenizer: a fast tokenizer of transformers.
        prompt: the text.
        segment: name of the segment that the tokens fill.
        start: position of the segment in the sequence.
        length: number of positions.

    Returns:
        one token per position, and the end of the prompt that did not fit, or None.
    """
    words, specials = find_words(prompt), special_ids(tokenizer)
    pad = tokenizer.pad_token if not find_words(tokenizer.pad_token or "") else None  # such as !
    with explained(f"the tokenizer of {segment} cannot read the prompt"):
        read = tokenizer(
            prompt,
            padding="max_length",
            max_length=length,
            truncation=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_overflowing_tokens=False,
        )
        names = tokenizer.convert_ids_to_tokens(read["input_ids"])
    tokens = []
    for place, name in enumerate(names):
        first, last = read["offset_mapping"][place]
        padding = not read["attention_mask"][place]
        number = read["input_ids"][place]
        is_typed_out = number in specials and prompt[first:last].strip() == name != pad
        special = bool(read["special_tokens_mask"][place]) or is_typed_out
        content = not (padding or special)
        tokens.append(
            Token(
                position=start + place,
                segment=segment,
                id=number,
                text=(prompt[first:last].strip() or name) if content else name,
                special=special,
                padding=padding,
                start=first if content else 0,
                stop=last if content else 0,
                word=word_at(words, first, last) if content else None,
                piece=name,
            )
        )
    reached = max((last for _, last in read["offset_mapping"]), default=0)
    is_full = not tokens[-1].padding
    return tuple(tokens), _cut(tokenizer, prompt, reached, length) if is_full else None


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of a fast tokenizer's special tokens, whatever they are for."""
    added = tokenizer.added_tokens_decoder
    specials = {number for number, token in added.items() if token.special}
    return frozenset(specials | set(tokenizer.all_special_ids))


def _cut(tokenizer: Any, prompt: str, reached: int, length: int) -> str | None:
    """Return the end of the prompt that no token covers because the sequence was full."""
    whole = tokenizer(prompt, return_offsets_mapping=True, truncation=False, verbose=False)
    if len(whole["input_ids"]) <= length:
        return None
    return prompt[reached:].strip()
