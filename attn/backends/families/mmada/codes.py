"""MMaDA's image tokens: which ids they have, and the text around their grid."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from attn.backends.chat.prompts import read_prompt
from attn.backends.families.mmada.chat import MaskedVocabulary
from attn.errors import ModelError
from attn.schema import Grid, Segment, Token
from attn.schema import Sequence as TokenSequence


@dataclass(frozen=True)
class Codes:
    """How pictures are spelled.

    Attributes:
        grid: rows and columns of image tokens.
        first: id of the first code; the others follow.
        count: number of codes.
        task: id of the token that asks for a picture.
        begin: of the token before a text.
        end: of the token behind a text.
        opening: of the token before a picture.
        closing: of the token behind a picture.
    """

    grid: Grid
    first: int
    count: int
    task: int
    begin: int
    end: int
    opening: int
    closing: int

    @property
    def length(self) -> int:
        """Number of image tokens."""
        return self.grid[0] * self.grid[1]

    @property
    def unread(self) -> tuple[int, ...]:
        """Ids of the prompt that the row `uncond` reads."""
        return (self.task, self.begin, self.end, self.opening)


def find_codes(
    vocabulary: MaskedVocabulary,
    embeddings: int,
    codebook: int | None,
    grid: Grid,
    names: Sequence[str],
) -> Codes:
    """Find out how a model spells pictures.

    Args:
        vocabulary: of the model.
        embeddings: number of ids that the model has a vector for.
        codebook: `codebook_size` of its configuration.
        grid: rows and columns of image tokens.
        names: tokens, or ids, of task, opening and closing.

    Raises:
        ModelError: the model writes no pictures, or a token is not there.
    """
    tokenizer = vocabulary.tokenizer
    if codebook is None:
        raise ModelError(
            "t2i: config.json has no codebook_size, so this model writes no pictures; leave t2i out"
        )
    if len(tokenizer) + codebook > embeddings:
        raise ModelError(
            f"t2i: the tokenizer has {len(tokenizer)} tokens and the codebook {codebook}, more "
            f"than the {embeddings} ids that the model has vectors for; is it the model's?"
        )
    if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
        raise ModelError("t2i: the tokenizer does not say which tokens begin and end a text")
    options = ("t2i_token", "soi_token", "eoi_token")
    task, opening, closing = (
        _find(tokenizer, name, option) for name, option in zip(names, options, strict=True)
    )
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return Codes(grid, len(tokenizer), codebook, task, *ends, opening, closing)


def _find(tokenizer: Any, name: str, option: str) -> int:
    number = int(name) if re.fullmatch(r"\d{1,18}", name) else tokenizer.get_vocab().get(name)
    if number is None or number >= len(tokenizer):
        raise ModelError(
            f"{option}: the tokenizer has no token {name}; give the name or the id of the one that "
            f"stands for it with --set {option}=…"
        )
    return int(number)


def lay_out(vocabulary: MaskedVocabulary, codes: Codes, prompt: str, branch: str) -> TokenSequence:
    """Return the sequence of one branch; image tokens have no text, and so are no `tokens`."""
    text = [token for token in read_prompt(vocabulary, prompt, None) if token.id != codes.begin]
    read = [
        _special(vocabulary, codes.task),
        _special(vocabulary, codes.begin),
        *text,
        _special(vocabulary, codes.end),
        _special(vocabulary, codes.opening),
    ]
    start, stop = len(read), len(read) + codes.length
    if branch == "uncond":
        hidden = replace(_special(vocabulary, codes.end), padding=True)
        unread = [_special(vocabulary, number) for number in codes.unread]
        read = [hidden] * (start - len(unread)) + unread
    closing = replace(_special(vocabulary, codes.closing), segment="end")
    segments = (
        Segment("prompt", "text", 0, start),
        Segment("image", "image", start, stop, codes.grid, is_generated=True),
        Segment("end", "text", stop, stop + 1),
    )
    placed = tuple(replace(token, position=index) for index, token in enumerate(read))
    return TokenSequence(segments, (*placed, replace(closing, position=stop)))


def _special(vocabulary: MaskedVocabulary, number: int) -> Token:
    return Token(0, "prompt", number, vocabulary.text(number), True, False, 0, 0, None)
