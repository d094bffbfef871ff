"""A tokenizer without files: runs of non-blanks, cut into pieces of at most five characters."""

from __future__ import annotations

import re
from zlib import crc32

from attn.backends.testing.toy import TEXT_LENGTH, VOCABULARY
from attn.schema import Token, find_words, word_at

SEGMENT = "prompt"
BOS, EOS, PAD = range(3)
NAMES = {BOS: "<bos>", EOS: "<eos>", PAD: "<pad>"}
PIECE = re.compile(r"\S{1,5}")


def tokenize(prompt: str) -> tuple[tuple[Token, ...], str | None]:
    """Return one token per text position, and the end of the prompt that did not fit."""
    pieces = list(PIECE.finditer(prompt))
    room = TEXT_LENGTH - 2
    words = find_words(prompt)
    tokens = [_special(0, BOS)]
    for position, piece in enumerate(pieces[:room], start=1):
        first, last = piece.span()
        number = crc32(piece[0].lower().encode()) % (VOCABULARY - len(NAMES)) + len(NAMES)
        word = word_at(words, first, last)
        tokens.append(
            Token(position, SEGMENT, number, piece[0], False, False, first, last, word, piece[0])
        )
    tokens.append(_special(len(tokens), EOS))
    tokens += [_special(position, PAD) for position in range(len(tokens), TEXT_LENGTH)]
    return tuple(tokens), prompt[pieces[room].start() :].strip() if len(pieces) > room else None


def _special(position: int, number: int) -> Token:
    return Token(
        position=position,
        segment=SEGMENT,
        id=number,
        text=NAMES[number],
        special=True,
        padding=number == PAD,
        start=0,
        stop=0,
        word=None,
    )
