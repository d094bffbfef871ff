"""Sums over the tokens of words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from attn.schema import Column, Token
from attn.shapes import GroupMass, KeyMass, Members
from attn.words import Word

TokenPosition = tuple[str, int]
"""Segment and position of a token."""

TOGETHER = "text"
"""Stands for all text segments."""


def word_positions(
    words: Sequence[Word], tokens: Iterable[Token], segment: str = TOGETHER
) -> list[list[TokenPosition]]:
    """Return the positions of each word's tokens, in one segment or in all."""
    by_word: dict[int | None, list[TokenPosition]] = {}
    for token in tokens:
        if segment in (token.segment, TOGETHER):
            by_word.setdefault(token.word, []).append((token.segment, token.position))
    return [by_word.get(word.index, []) for word in words]


def lay_out(columns: Sequence[Column], groups: Sequence[Collection[TokenPosition]]) -> Members:
    """Return (key, group): 1 where a key is one of the group's tokens, else 0.

    The column that gathers the rest of a segment is in no group.

    Args:
        columns: what the axis `key` stands for.
        groups: tokens that are looked at together.
    """
    keys = {(column.segment, column.position): at for at, column in enumerate(columns)}
    members = np.zeros((len(columns), len(groups)))
    for at, group in enumerate(groups):
        members[[keys[position] for position in group if position in keys], at] = 1
    return members


def sum_tokens(values: KeyMass, members: Members) -> GroupMass:
    """Replace the last axis, of keys, by groups: sums over their tokens.

    A group without tokens is NaN: nothing is known of it, which is not the same as zero.

    Args:
        values: (…, key).
        members: (key, group), from `lay_out`.
    """
    sums = np.full((*values.shape[:-1], members.shape[1]), np.nan)
    there = members.any(axis=0)
    sums[..., there] = values.astype(np.float64) @ members[:, there]
    return sums
