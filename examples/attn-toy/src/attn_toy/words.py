"""The tokenizer: words and punctuation marks, cut to LENGTH and filled up."""

import re
from zlib import crc32

from attn.schema import Token, find_words, word_at
from attn_toy.model import LENGTH, VOCABULARY

SPECIALS = ("<begin>", "<end>", "<pad>")
PIECE = re.compile(r"\w+|[^\w\s]")


def read(prompt: str) -> tuple[tuple[Token, ...], str | None]:
    """Return one token per text position, and the end of the prompt that did not fit."""
    pieces = list(PIECE.finditer(prompt))
    room = LENGTH - 2
    words = find_words(prompt)
    tokens = [special(0, "<begin>")]
    for position, piece in enumerate(pieces[:room], start=1):
        number = crc32(piece[0].lower().encode()) % (VOCABULARY - 3) + 3
        tokens.append(
            Token(
                position=position,
                segment="prompt",
                id=number,
                text=piece[0],
                special=False,
                padding=False,
                start=piece.start(),
                stop=piece.end(),
                word=word_at(words, piece.start(), piece.end()),
            )
        )
    tokens.append(special(len(tokens), "<end>"))
    tokens += [special(position, "<pad>") for position in range(len(tokens), LENGTH)]
    return tuple(tokens), prompt[pieces[room].start() :] if len(pieces) > room else None


def special(position: int, name: str) -> Token:
    """Return a token that stands for no text."""
    return Token(
        position=position,
        segment="prompt",
        id=SPECIALS.index(name),
        text=name,
        special=True,
        padding=name == "<pad>",
        start=0,
        stop=0,
        word=None,
    )
