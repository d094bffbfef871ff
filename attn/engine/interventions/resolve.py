"""An intervention as it is done to one request: which heads of which layers, and which keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from attn.engine.interventions.draws import draw_heads, draw_layers, draw_offsets
from attn.engine.interventions.targets import (
    BranchText,
    Offset,
    list_keys,
    require_keys,
    select_layers,
    select_offsets,
    select_queries,
)
from attn.errors import RequestError
from attn.schema import Intervention, Layer, LayerKey, part


@dataclass(frozen=True)
class RequestLayout:
    """What a request runs through, and what its guidance rows read.

    Attributes:
        layers: all of the model.
        texts: by guidance row, `cond` first.
        seed: of its noise; random controls are drawn anew for each.
        is_causal: whether no query reads a key behind it, so that the first reads itself alone.
    """

    layers: tuple[Layer, ...]
    texts: Mapping[str, BranchText]
    seed: int = 0
    is_causal: bool = False

    def spared(self, intervention: Intervention, layers: Sequence[Layer]) -> frozenset[Offset]:
        """Return the keys that a random control must leave: without them a row has none."""
        if not self.is_causal or intervention.act != "mask":
            return frozenset()
        asked = [(of, select_queries(intervention.target, of)) for of in layers]
        return frozenset(
            (layer.queries[0].name, 0)
            for layer, queries in asked
            if queries is None or layer.queries[0].start in queries
        )

    def chance(self, seed: int | None) -> Random:
        """Return the random numbers of a control."""
        return Random(f"{seed} {self.seed}")

    def branch(self, name: str) -> str:
        """Return the guidance row whose text a row reads."""
        return name if name in self.texts else next(iter(self.texts))


@dataclass(frozen=True)
class Resolved:
    """An intervention on one request.

    Attributes:
        intervention: as it was asked for.
        heads: by layer; None is all of them.
        offsets: keys by guidance row, without sinks, which are those of a sample; None is all.
    """

    intervention: Intervention
    heads: Mapping[LayerKey, tuple[int, ...] | None]
    offsets: Mapping[str, frozenset[Offset]] | None

    def covers(self, key: LayerKey, branch: str) -> bool:
        """Whether something is changed of a layer in a guidance row."""
        target = self.intervention.target
        return key in self.heads and target.branch in (None, branch)


def resolve(intervention: Intervention, layout: RequestLayout) -> Resolved:
    """Find out what an intervention means for a request.

    Raises:
        RequestError: it matches nothing, or hides all keys of a layer.
    """
    target = intervention.target
    layers = select_layers(target, layout.layers)
    texts = {name: text for name, text in layout.texts.items() if target.branch in (None, name)}
    if not texts:
        raise RequestError(
            f"cut: no guidance row '{target.branch}'; there are {', '.join(layout.texts)}"
        )
    if not target.has_keys:
        if intervention.act == "mask":
            raise RequestError(
                "cut: to mask all keys leaves nothing to attend to; name keys, or skip the heads"
            )
        return Resolved(intervention, _heads(intervention, layers, layout), None)
    if target.sinks:
        layers = [of for of in layers if part(of.keys, "text")] or layers
    by_keys = {of.keys: of for of in reversed(layers)}  # a picture has thousands of keys
    distinct = [*by_keys.values()][::-1]
    if not target.sinks:
        require_keys(target, distinct, texts)
    offsets = {name: select_offsets(target, distinct, text) for name, text in texts.items()}
    if target.random is not None and not target.sinks:
        offsets = {
            name: draw_offsets(
                *(offsets[name], distinct, text, layout.chance(target.random)),
                layout.spared(intervention, layers),
            )
            for name, text in texts.items()
        }
    if intervention.act == "mask":
        for name, text in texts.items():
            _require_rest(distinct, text, offsets[name])
    if not target.sinks:
        read = {of.keys for of in distinct if _reads(of, texts, offsets)}
        layers = [of for of in layers if of.keys in read]
    heads = target.heads or None
    return Resolved(intervention, {(of.tower, of.path): heads for of in layers}, offsets)


def _reads(
    layer: Layer, texts: Mapping[str, BranchText], offsets: Mapping[str, frozenset[Offset]]
) -> bool:
    """Whether some keys of a layer are meant, so that it has to be watched."""
    return any(
        key.offset in offsets[name]
        for name, text in texts.items()
        for key in list_keys(layer, text.sequence)
    )


def _heads(
    intervention: Intervention, layers: Sequence[Layer], layout: RequestLayout
) -> dict[LayerKey, tuple[int, ...] | None]:
    target = intervention.target
    if target.random is None:
        return {(of.tower, of.path): target.heads or None for of in layers}
    if not target.heads:
        drawn = draw_layers(layers, layout.layers, layout.chance(target.random))
        return {(of.tower, of.path): None for of in drawn}
    pairs = [(of.index, head) for of in layers for head in target.heads]
    others = draw_heads(pairs, layout.layers, layout.chance(target.random))
    return {
        (of.tower, of.path): tuple(head for index, head in others if index == of.index)
        for of in layout.layers
        if any(index == of.index for index, _ in others)
    }


def _require_rest(layers: Sequence[Layer], text: BranchText, offsets: frozenset[Offset]) -> None:
    for layer in layers:
        if {key.offset for key in list_keys(layer, text.sequence)} <= offsets:
            raise RequestError(
                f"cut: these are all keys of layer {layer.index} ({layer.path}), so that nothing "
                "would be left to attend to; cut fewer, or skip the layer"
            )
