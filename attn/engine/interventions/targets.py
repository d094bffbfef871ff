"""Which layers, queries and keys of a sequence a target means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from attn.errors import RequestError, did_you_mean
from attn.schema import (
    CutTarget,
    Layer,
    Token,
    find_words,
    layer_matches,
    name_layers,
    part,
    positions,
)
from attn.schema import Sequence as TokenSequence
from attn.words import find_spans, fold

Offset = tuple[str, int]
"""A key, whatever the layer: its segment, and its position in it."""


@dataclass(frozen=True)
class BranchText:
    """What a guidance row of a request reads.

    Attributes:
        prompt: as it was typed.
        sequence: of its tokens.
    """

    prompt: str
    sequence: TokenSequence


@dataclass(frozen=True)
class LayerKeyPosition:
    """A key of a layer, and what its token is: a role, or the kind of a segment without tokens."""

    position: int
    offset: Offset
    role: str


def list_keys(layer: Layer, sequence: TokenSequence) -> tuple[LayerKeyPosition, ...]:
    """Return all keys of a layer, in order."""
    starts = {segment.name: segment.start for segment in sequence.segments}
    roles = {
        (token.segment, token.position - starts[token.segment]): _role(token)
        for token in sequence.tokens
    }
    return tuple(
        LayerKeyPosition(segment.start + index, offset, roles.get(offset, segment.kind))
        for segment in layer.keys
        for index in range(segment.length)
        for offset in [(segment.name, index)]
    )


def select_layers(target: CutTarget, layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers that are meant: by index, glob of the path, or short name.

    Raises:
        RequestError: a pattern matches none, or there are no such heads or queries in them.
    """
    names = name_layers(layers)
    selected: dict[int, Layer] = {}
    for pattern in target.layers or ("*",):
        matches = {
            layer.index: layer
            for layer in layers
            if layer_matches(layer, pattern) or fnmatchcase(names[layer.index], pattern)
        }
        if not matches:
            raise RequestError(
                f"cut: no layer matches '{pattern}'; there are {len(layers)} layers "
                f"(0-{len(layers) - 1}), from {layers[0].path} to {layers[-1].path}; give indices "
                "(0-11), or a glob of the path"
            )
        selected |= matches
    listed = [selected[index] for index in sorted(selected)]
    _require_heads(target, listed)
    return _with_queries(target, listed)


def select_queries(target: CutTarget, layer: Layer) -> list[int] | None:
    """Return the positions of the queries that are meant; None is all.

    A step that reads only a part of a text may have none of them.
    """
    if target.queries == "all":
        return None
    named = part(layer.queries, target.queries or "image")
    if not named and not target.queries:
        return None
    return positions(named)


def select_offsets(
    target: CutTarget, layers: Iterable[Layer], text: BranchText
) -> frozenset[Offset]:
    """Return the keys of some layers that are meant, without sinks, which are not known yet."""
    starts = {segment.name: segment.start for segment in text.sequence.segments}
    words = find_words(text.prompt)
    spans = [span for word in target.words for span in find_spans(words, word)]
    of_words = {
        (token.segment, token.position - starts[token.segment])
        for token in text.sequence.tokens
        if token.is_content
        and any(token.start < stop and start < token.stop for start, stop in spans)
    }
    kinds = {segment.name: segment.kind for layer in layers for segment in layer.keys}
    return frozenset(
        key.offset
        for layer in layers
        for key in list_keys(layer, text.sequence)
        if key.offset in of_words
        or key.role in target.roles
        or {key.offset[0], kinds[key.offset[0]]} & set(target.segments)
        or key.offset in target.positions
    )


def require_keys(
    target: CutTarget, layers: Sequence[Layer], texts: Mapping[str, BranchText]
) -> None:
    """Refuse a target of keys that are nowhere.

    Args:
        target: of keys, none of them sinks.
        layers: those that are meant.
        texts: by guidance row, those that are meant.

    Raises:
        RequestError: says what there is.
    """
    for word in target.words:
        _require_word(word, [text.prompt for text in texts.values()])
    if any(select_offsets(target, layers, text) for text in texts.values()):
        return
    sequence = next(iter(texts.values())).sequence
    keys = [key for layer in layers for key in list_keys(layer, sequence)]
    segments = dict.fromkeys(key.offset[0] for key in keys)
    roles = dict.fromkeys(key.role for key in keys)
    raise RequestError(
        f"cut: no key matches; the keys of these layers are of {', '.join(segments)}, and are "
        f"{', '.join(roles)}"
    )


def _require_word(word: str, prompts: Sequence[str]) -> None:
    if any(find_spans(find_words(prompt), word) for prompt in prompts):
        return
    words = {fold(of.text): of.text for prompt in prompts for of in find_words(prompt)}
    raise RequestError(
        f"cut: '{word}' is not in '{prompts[0]}'.{did_you_mean(fold(word), words)} It has: "
        f"{', '.join(words.values())}"
    )


def _require_heads(target: CutTarget, layers: Sequence[Layer]) -> None:
    for layer in layers:
        wrong = [head for head in target.heads if head >= layer.num_heads]
        if wrong:
            raise RequestError(
                f"cut: there is no head {wrong[0]} in layer {layer.index} ({layer.path}), which "
                f"has heads 0-{layer.num_heads - 1}"
            )


def _with_queries(target: CutTarget, layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers that have the queries that are meant."""
    having = [
        layer for layer in layers if not target.queries or part(layer.queries, target.queries)
    ]
    if not having:
        names = dict.fromkeys(segment.name for layer in layers for segment in layer.queries)
        raise RequestError(
            f"cut: no queries '{target.queries}' in these layers; they have {', '.join(names)}"
        )
    return having


def _role(token: Token) -> str:
    if token.padding:
        return "padding"
    return "special" if token.special else "content"
