"""The keys that receive most attention, seen on a run that is not changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from attn.engine.attention import Attention
from attn.engine.heads import with_heads
from attn.engine.hooks import AttentionHooks
from attn.engine.interventions.resolve import RequestLayout
from attn.engine.interventions.targets import Offset, list_keys, select_queries
from attn.engine.layer_plans import layer_within
from attn.engine.recorder import ungrouped
from attn.schema import Call, CutTarget, Layer, LayerKey

OnCall = Callable[[Call], None]
Cell = tuple[str, int]
"""(guidance row, sample)."""


def find_sinks(
    modules: Mapping[LayerKey, nn.Module],
    targets: Sequence[CutTarget],
    layouts: Sequence[RequestLayout],
    images: int,
    generate: Callable[[OnCall], object],
) -> list[dict[Cell, list[Offset]]]:
    """Generate once, unchanged, and rank the keys of each sample by what they receive.

    A key receives the mean of its probabilities over queries, heads, layers and steps; layers that
    read no text are left out where others read some.

    Returns:
        for each target, all keys of each sample, those that receive most first.
    """
    ranking = _Ranking(targets, layouts, images)
    with AttentionHooks(modules, ranking.see):
        generate(ranking.on_call)
    return ranking.ranked()


class _Ranking:
    """Sums of what keys received."""

    def __init__(
        self, targets: Sequence[CutTarget], layouts: Sequence[RequestLayout], images: int
    ) -> None:
        self._selections, self._layouts, self._images = targets, layouts, images
        self._layers = [{(of.tower, of.path): of for of in layout.layers} for layout in layouts]
        self._call: Call | None = None
        self._received: list[dict[Cell, dict[Offset, list[float]]]] = [
            defaultdict(lambda: defaultdict(list)) for _ in targets
        ]

    def on_call(self, call: Call) -> None:
        self._call = call

    def see(self, key: LayerKey, attention: Attention) -> None:
        call = self._call
        if call is None:
            return
        attention = with_heads(attention, len(call.rows)).with_sink()
        for row, (branch, sample) in enumerate(call.rows):
            layout = self._layouts[sample // self._images]
            layer = layer_within(self._layers[sample // self._images][key], call.span)
            seen = attention if call.span is None else ungrouped(attention, layer, call.span)
            alone = seen.of_row(row, layer, call)
            if alone.shape[1:] == (layer.num_heads, layer.num_queries, layer.num_keys):
                self._add(key, layer, alone, (layout.branch(branch), sample))

    def _add(self, key: LayerKey, layer: Layer, attention: Attention, cell: Cell) -> None:
        everything = slice(None)
        probs = attention.probs(0, slice(0, layer.num_heads), everything, everything)
        layout = self._layouts[cell[1] // self._images]
        keys = list_keys(layer, layout.texts[cell[0]].sequence)
        for number, target in enumerate(self._selections):
            queries = select_queries(target, layer)
            if queries == []:
                continue
            rows = probs if queries is None else probs[:, queries]
            means = rows.mean((0, 1)).tolist()
            for of in keys:
                self._received[number][cell][of.offset].append(means[of.position])

    def ranked(self) -> list[dict[Cell, list[Offset]]]:
        return [{cell: _rank(of) for cell, of in received.items()} for received in self._received]


def _rank(received: Mapping[Offset, Sequence[float]]) -> list[Offset]:
    means = {offset: sum(values) / len(values) for offset, values in received.items()}
    return sorted(means, key=lambda offset: -means[offset])
