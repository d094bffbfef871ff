"""What the keys of a text segment are: its beginning, words, punctuation, end, padding, drawing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from attn.schema import TEMPLATE, TEMPLATE_END, Column, Token

Role = Literal[
    "bos", "word", "punctuation", "eos", "template", "padding", "sketch", "image", "unknown"
]

SKETCH: Final = "sketch"
"""The segment, and the role, of tokens that were made of a drawing."""

SPELLED: Final = {
    "bos": "start token",
    "word": "words",
    "punctuation": "punctuation",
    "eos": "end token",
    "template": "template",
    "padding": "padding",
    "sketch": "drawing",
    "image": "image",
    "unknown": "unknown text",
}
"""How figures call roles."""


@dataclass(frozen=True)
class Key:
    """One key of a layer.

    Attributes:
        segment: where it is.
        position: as in `schema.Column`.
        role: `bos` is a special token that others follow, `eos` any other that is no padding;
            `template` is what a chat model is given around the prompt;
            `punctuation` belongs to no word; `sketch` was made of a drawing;
            `image` is a key of the picture; `unknown` is text of which nobody knows the tokens.
        token: its text; empty for a key of the picture.
        id: of the token, -1 for a key of the picture.
    """

    segment: str
    position: int
    role: Role
    token: str
    id: int


def read_keys(columns: Iterable[Column], tokens: Iterable[Token]) -> tuple[Key, ...]:
    """Describe each key column by the token behind it, for one guidance row."""
    roles = _find_roles(tuple(tokens))
    return tuple(_read(column.segment, column.position or 0, roles) for column in columns)


def _read(segment: str, position: int, roles: dict[tuple[str, int], tuple[Token, Role]]) -> Key:
    if (segment, position) not in roles:
        return Key(segment, position, "image", "", -1)
    token, role = roles[segment, position]
    return Key(segment, position, role, token.text, token.id)


def _find_roles(tokens: tuple[Token, ...]) -> dict[tuple[str, int], tuple[Token, Role]]:
    read: dict[str, list[Token]] = {}
    for token in tokens:
        if not token.padding:
            read.setdefault(token.segment, []).append(token)
    return {
        (token.segment, token.position): (token, _find_role(token, read.get(token.segment, [])))
        for token in tokens
    }


def _find_role(token: Token, read: list[Token]) -> Role:
    """Return the role of a token; `read` is its segment without padding."""
    if token.padding:
        return "padding"
    if token.segment == SKETCH:
        return SKETCH
    if token.segment in (TEMPLATE, TEMPLATE_END):
        return "template"
    if token.is_unknown:
        return "unknown"
    if token.special:
        return "bos" if token == read[0] and len(read) > 1 else "eos"
    return "punctuation" if token.word is None else "word"
