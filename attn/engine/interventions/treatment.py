"""All interventions of a generation, laid out for each call of each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from attn.engine.attention import placements
from attn.engine.hooks import ModeHooks
from attn.engine.interventions.acts import EditAxes
from attn.engine.interventions.draws import draw_offsets
from attn.engine.interventions.mode import Edits, InterventionMode, Treated
from attn.engine.interventions.resolve import RequestLayout, Resolved, resolve
from attn.engine.interventions.sinks import Cell, OnCall, find_sinks
from attn.engine.interventions.targets import Offset, list_keys, select_queries
from attn.engine.layer_plans import layer_within
from attn.errors import CaptureError
from attn.schema import ABSENT, Call, Intervention, Layer, LayerKey, RowLayout

Sides = tuple[RowLayout, RowLayout]
"""Where the queries and the keys of a layer are in a row of a batch."""
Axes = tuple[Tensor, Tensor, Tensor]
"""Which heads, queries and keys are meant, bool; size 1 is all or none."""


class Treatment:
    """What is changed of the model while a batch of requests runs.

    Args:
        interventions: the same for all requests.
        layouts: what each request runs through and reads.
        images: samples of each request.

    Raises:
        RequestError: one matches nothing, or hides all keys of a layer.
    """

    def __init__(
        self, interventions: Sequence[Intervention], layouts: Sequence[RequestLayout], images: int
    ) -> None:
        self._layouts = layouts
        self._images = images
        self._resolved = [[resolve(of, layout) for of in interventions] for layout in layouts]
        self._layers = [{(of.tower, of.path): of for of in layout.layers} for layout in layouts]
        self._sinks: list[dict[Cell, list[Offset]]] = [{} for _ in interventions]
        self._call: Call | None = None
        self._laid_out: dict[Any, Edits | None] = {}
        self.treated = Treated()

    @property
    def keys(self) -> list[LayerKey]:
        """The layers that are changed somewhere."""
        every = (key for of_request in self._resolved for of in of_request for key in of.heads)
        return list(dict.fromkeys(every))

    def on_call(self, call: Call) -> None:
        """Take the announcement of a forward."""
        self._call = call
        self.treated.current.clear()

    @contextmanager
    def applied(
        self, modules: Mapping[LayerKey, nn.Module], generate: Callable[[OnCall], object]
    ) -> Iterator[None]:
        """Change the model inside of the block; sinks are found before, on a run of `generate`.

        Args:
            modules: of `keys`.
            generate: runs the model, and announces every forward.
        """
        targets = [of.intervention.target for of in self._resolved[0]]
        if any(target.sinks for target in targets):
            self._sinks = find_sinks(modules, targets, self._layouts, self._images, generate)
        mode = InterventionMode(lambda: self._edits(hooks.running), self.treated)
        hooks = ModeHooks(modules, mode, done=self._done, wanted=self._wanted, innermost=True)
        with hooks:
            yield
        if not self.treated.count:
            raise CaptureError(
                "nothing was changed: none of the steps that ran is among those of the cut; give "
                "other steps or another range of noise"
            )

    def describe(self) -> dict[str, Any]:
        """Return what was done, for the manifest."""
        facts: dict[str, Any] = {"calls": self.treated.count, "layers": len(self.treated.names)}
        if self.treated.explicit is not None:
            facts["explicit_difference"] = self.treated.explicit
        return facts

    def _active(self) -> list[int]:
        """Return which interventions cover the call that runs."""
        call = self._call
        return [
            number
            for number, of in enumerate(self._resolved[0])
            if call is not None and of.intervention.target.covers(call.step, call.noise)
        ]

    def _wanted(self) -> bool:
        return bool(self._active())

    def _done(self, key: LayerKey) -> None:
        """Check that what was to be changed ran where it could be changed."""
        if self._edits(key) is not None and key[1] not in self.treated.current:
            raise CaptureError(
                f"layer {key[1]} was to be changed, but its attention kernel was not seen, or is "
                "of another shape than the backend declares"
            )

    def _edits(self, key: LayerKey) -> Edits | None:
        """Return what is done to the calls of a layer in the forward that runs."""
        call = self._call
        if call is None:
            return None
        active = tuple(self._active())
        kind = key, active, call.rows, call.padding, call.span, call.lengths
        if kind not in self._laid_out:
            self._laid_out[kind] = self._lay_out(key, active, call)
        return self._laid_out[kind]

    def _lay_out(self, key: LayerKey, active: Sequence[int], call: Call) -> Edits | None:
        layers = [
            layer_within(self._layers[sample // self._images][key], call.span)
            for _, sample in call.rows
        ]
        sides = [_sides(of, call, row) for row, of in enumerate(layers)]
        layer = layers[0]
        queries, keys = sides[0]
        shape = (len(layers), layer.num_heads, queries.length, keys.length)
        edits = []
        for number in active:
            parts = [
                self._row(number, key, cell, of, placed)
                for cell, of, placed in zip(call.rows, layers, sides, strict=True)
            ]
            if any(all(bool(axis.any()) for axis in of) for of in parts):
                axes = [
                    torch.stack(torch.broadcast_tensors(*axis)) for axis in zip(*parts, strict=True)
                ]
                intervention = self._resolved[0][number].intervention
                edits.append(EditAxes(intervention.act, intervention.amount or 0.0, *axes))
        return Edits(layer.path, shape, tuple(edits), layer.num_sinks) if edits else None

    def _row(self, number: int, key: LayerKey, cell: Cell, layer: Layer, sides: Sides) -> Axes:
        """Return the heads, queries and keys that an intervention changes of a row of the batch."""
        branch, sample = cell
        layout = self._layouts[sample // self._images]
        resolved = self._resolved[sample // self._images][number]
        name = layout.branch(branch)
        if not resolved.covers(key, name):
            nothing = torch.zeros(1, dtype=torch.bool)
            return nothing, nothing, nothing
        positions = self._positions(resolved, number, (name, sample), layer)
        queries = select_queries(resolved.intervention.target, layer)
        return (
            _members(resolved.heads[key], _whole(layer.num_heads)),
            _members(queries, sides[0]),
            _members(positions, sides[1]),
        )

    def _positions(
        self, resolved: Resolved, number: int, cell: Cell, layer: Layer
    ) -> list[int] | None:
        if resolved.offsets is None:
            return None
        layout = self._layouts[cell[1] // self._images]
        target, text = resolved.intervention.target, layout.texts[cell[0]]
        offsets = resolved.offsets[cell[0]]
        if target.sinks:
            sinks = frozenset(self._sinks[number][cell][: target.sinks])
            if target.random is not None:
                layers = [of for of in layout.layers if (of.tower, of.path) in resolved.heads]
                sinks = draw_offsets(sinks, layers, text, layout.chance(target.random))
            offsets |= sinks
        return [of.position for of in list_keys(layer, text.sequence) if of.offset in offsets]


def _whole(length: int, padding: int = 0) -> RowLayout:
    """Return positions behind padding."""
    return RowLayout(tuple(range(padding, padding + length)), padding + length)


def _sides(layer: Layer, call: Call, row: int) -> Sides:
    """Return where the queries and keys of a layer are in a row of the batch."""
    if call.lengths:
        return placements(layer, call, row)
    padding = call.padding[row] if call.padding else 0
    return _whole(layer.num_queries, padding), _whole(layer.num_keys, padding)


def _members(positions: Sequence[int] | None, side: RowLayout) -> Tensor:
    """Return which positions of a row are meant, bool; size 1 if all are."""
    if positions is None:
        return torch.ones(1, dtype=torch.bool)
    members = torch.zeros(side.length, dtype=torch.bool)
    meant = [side.positions[at] for at in positions if at < len(side.positions)]
    members[[at for at in meant if at != ABSENT]] = True
    return members
