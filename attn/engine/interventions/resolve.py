"""An intervention as it is done to one request: which heads of which layers, and which keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from attn.engine.interventions.draws import draw_heads, draw_layers, draw_offsets
from attn.engine.interventions.selection import (
    Offset,
    Text,
    list_keys,
    require_keys,
    select_layers,
    select_offsets,
)
from attn.errors import RequestError
from attn.schema import Intervention, Layer, part

LayerKey = tuple[str, str]
"""(tower, path)."""


@dataclass(frozen=True)
class Reader:
    """What a request runs through, and what its guidance rows read.

    Attributes:
        layers: all of the model.
        texts: by guidance row, `cond` first.
        seed: of its noise; random controls are drawn anew for each.
    """

    layers: tuple[Layer, ...]
    texts: Mapping[str, Text]
    seed: int = 0

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
        select = self.intervention.select
        return key in self.heads and select.branch in (None, branch)


def resolve(intervention: Intervention, reader: Reader) -> Resolved:
    """Find out what an intervention means for a request.

    Raises:
        RequestError: it matches nothing, or hides all keys of a layer.
    """
    select = intervention.select
    layers = select_layers(select, reader.layers)
    texts = {name: text for name, text in reader.texts.items() if select.branch in (None, name)}
    if not texts:
        raise RequestError(
            f"cut: no guidance row '{select.branch}'; there are {', '.join(reader.texts)}"
        )
    if not select.has_keys:
        if intervention.act == "mask":
            raise RequestError(
                "cut: to mask all keys leaves nothing to attend to; name keys, or skip the heads"
            )
        return Resolved(intervention, _heads(intervention, layers, reader), None)
    if select.sinks:
        layers = [of for of in layers if part(of.keys, "text")] or layers
    else:
        require_keys(select, layers, texts)
    offsets = {name: select_offsets(select, layers, text) for name, text in texts.items()}
    if select.random is not None and not select.sinks:
        offsets = {
            name: draw_offsets(offsets[name], layers, text, reader.chance(select.random))
            for name, text in texts.items()
        }
    if intervention.act == "mask":
        for name, text in texts.items():
            _require_rest(layers, text, offsets[name])
    heads = select.heads or None
    return Resolved(intervention, {(of.tower, of.path): heads for of in layers}, offsets)


def _heads(
    intervention: Intervention, layers: Sequence[Layer], reader: Reader
) -> dict[LayerKey, tuple[int, ...] | None]:
    select = intervention.select
    if select.random is None:
        return {(of.tower, of.path): select.heads or None for of in layers}
    if not select.heads:
        drawn = draw_layers(layers, reader.layers, reader.chance(select.random))
        return {(of.tower, of.path): None for of in drawn}
    pairs = [(of.index, head) for of in layers for head in select.heads]
    others = draw_heads(pairs, reader.layers, reader.chance(select.random))
    return {
        (of.tower, of.path): tuple(head for index, head in others if index == of.index)
        for of in reader.layers
        if any(index == of.index for index, _ in others)
    }


def _require_rest(layers: Sequence[Layer], text: Text, offsets: frozenset[Offset]) -> None:
    for layer in layers:
        if {key.offset for key in list_keys(layer, text.sequence)} <= offsets:
            raise RequestError(
                f"cut: these are all keys of layer {layer.index} ({layer.path}), so that nothing "
                "would be left to attend to; cut fewer, or skip the layer"
            )
