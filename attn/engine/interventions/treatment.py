"""All interventions of a generation, laid out for each call of each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attn.engine.hooks import ModeHooks
from attn.engine.interventions.acts import EditAxes
from attn.engine.interventions.draws import draw_offsets
from attn.engine.interventions.mode import Edits, InterventionMode, Treated
from attn.engine.interventions.resolve import RequestLayout, resolve
from attn.engine.interventions.rows import Sides, members, sides_of, whole
from attn.engine.interventions.sinks import Cell, OnCall, find_sinks
from attn.engine.interventions.swaps import Columns, SwapSource, SwapStates
from attn.engine.interventions.targets import BranchText, Offset, list_keys, select_queries
from attn.engine.layer_plans import layer_within
from attn.errors import CaptureError, RequestError
from attn.schema import ABSENT, SWAPS, Call, Intervention, Layer, LayerKey, RowLayout

Axes = tuple[Tensor, Tensor, Tensor]
"""Which heads, queries and keys are meant, bool; size 1 is all or none."""


class Treatment:
    """What is changed of the model while a batch of requests runs.

    Args:
        interventions: the same for all requests.
        layouts: what each request runs through and reads.
        images: samples of each request.
        source: the run whose keys or values are swapped in, where an intervention does that.

    Raises:
        RequestError: one matches nothing, or hides all keys of a layer.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention],
        layouts: Sequence[RequestLayout],
        images: int,
        source: SwapSource | None = None,
    ) -> None:
        self._layouts = layouts
        self._images = images
        self._resolved = [[resolve(of, layout) for of in interventions] for layout in layouts]
        self._layers = [{(of.tower, of.path): of for of in layout.layers} for layout in layouts]
        self._sinks: list[dict[Cell, list[Offset]]] = [{} for _ in interventions]
        self._swap = SwapStates(source, images) if source else None
        if source is not None:
            self._require_source(source)
        self._call: Call | None = None
        self._active: tuple[int, ...] = ()  # interventions that cover the call that runs
        self._laid_out: dict[Any, Edits | None] = {}
        self._alike: dict[Any, Edits | None] = {}  # of layers that are laid out alike
        self.treated = Treated()

    @property
    def keys(self) -> list[LayerKey]:
        """The layers that are changed somewhere."""
        every = (key for of_request in self._resolved for of in of_request for key in of.heads)
        return list(dict.fromkeys(every))

    def on_call(self, call: Call) -> None:
        """Take the announcement of a forward."""
        self._call = call
        self._active = tuple(
            number
            for number, of in enumerate(self._resolved[0])
            if of.intervention.target.covers(call.step, call.noise)
        )
        self.treated.current.clear()
        if self._swap is not None:
            self._swap.begin(call)

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
        if self._swap is not None:
            self._swap.collect(modules, self._swapped_offsets)
        mode = InterventionMode(lambda: self._edits(hooks.running), self.treated)
        hooks = ModeHooks(modules, mode, done=self._done, wanted=self._wanted, innermost=True)
        with hooks:
            yield
        if not self.treated.count:
            raise CaptureError(
                "nothing was changed: none of the steps that ran is among those of the cut; give "
                "other steps or another range of noise"
            )

    def _require_source(self, source: SwapSource) -> None:
        """Refuse to swap keys that the other prompt has not.

        Raises:
            RequestError: names the first.
        """
        for resolved, layout in zip(self._resolved, source.layouts, strict=True):
            swap = next(of for of in resolved if of.intervention.act in SWAPS)
            layers = [of for of in layout.layers if (of.tower, of.path) in swap.heads]
            for name, offsets in (swap.offsets or {}).items():
                text = layout.texts[layout.branch(name)]
                there = {key.offset for of in layers for key in list_keys(of, text.sequence)}
                for segment, position in sorted(offsets - there):
                    raise RequestError(
                        f"cut: '{text.prompt}' has no position {position} of '{segment}' to swap "
                        "with; give a prompt in which the words stand at the same places"
                    )

    def describe(self) -> dict[str, Any]:
        """Return what was done, for the manifest."""
        facts: dict[str, Any] = {"calls": self.treated.count, "layers": len(self.treated.names)}
        if self.treated.explicit is not None:
            facts["explicit_difference"] = self.treated.explicit
        return facts

    def _wanted(self) -> bool:
        return bool(self._active)

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
        kind = key, self._active, call.rows, call.padding, call.span, call.lengths
        if kind not in self._laid_out:
            self._laid_out[kind] = self._lay_out(key, call)
        edits = self._laid_out[kind]
        if self._swap is None or edits is None or not edits.swapped:
            return edits
        return replace(edits, states=self._swap.states(key, call, edits.swapped))

    def _lay_out(self, key: LayerKey, call: Call) -> Edits | None:
        """Return what is done to the calls of a layer, which others that are like it share."""
        layers = [
            layer_within(self._layers[sample // self._images][key], call.span)
            for _, sample in call.rows
        ]
        sizes = [(of.queries, of.keys, of.num_heads, of.num_sinks) for of in layers]
        heads = [
            of.heads.get(key) if key in of.heads else ()
            for of_request in self._resolved
            for of in of_request
        ]
        what = self._active, call.rows, call.padding, call.span, call.lengths
        alike = *what, tuple(sizes), tuple(heads)
        if alike not in self._alike:
            self._alike[alike] = self._lay_out_rows(key, call, layers)
        edits = self._alike[alike]
        return None if edits is None else replace(edits, name=layers[0].path)

    def _lay_out_rows(self, key: LayerKey, call: Call, layers: Sequence[Layer]) -> Edits | None:
        sides = [sides_of(of, call, row) for row, of in enumerate(layers)]
        layer = layers[0]
        queries, keys = sides[0]
        shape = (len(layers), layer.num_heads, queries.length, keys.length)
        edits, swapped = [], []
        for number in self._active:
            if self._resolved[0][number].intervention.act in SWAPS:
                swapped = [
                    self._columns(number, key, cell, of, placed[1])
                    for cell, of, placed in zip(call.rows, layers, sides, strict=True)
                ]
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
        if not edits:
            return None
        return Edits(layer.path, shape, tuple(edits), layer.num_sinks, tuple(swapped))

    def _row(self, number: int, key: LayerKey, cell: Cell, layer: Layer, sides: Sides) -> Axes:
        """Return the heads, queries and keys that an intervention changes of a row of the batch."""
        branch, sample = cell
        layout = self._layouts[sample // self._images]
        resolved = self._resolved[sample // self._images][number]
        name = layout.branch(branch)
        if not resolved.covers(key, name):
            nothing = torch.zeros(1, dtype=torch.bool)
            return nothing, nothing, nothing
        offsets, text = self._offsets(number, (name, sample)), layout.texts[name]
        positions = None if offsets is None else _positions(layer, text, offsets)
        queries = select_queries(resolved.intervention.target, layer)
        return (
            members(resolved.heads[key], whole(layer.num_heads)),
            members(queries, sides[0]),
            members(positions, sides[1]),
        )

    def _offsets(self, number: int, cell: Cell) -> frozenset[Offset] | None:
        """Return the keys that an intervention means of a sample; None is all."""
        layout = self._layouts[cell[1] // self._images]
        resolved = self._resolved[cell[1] // self._images][number]
        if resolved.offsets is None:
            return None
        target, text = resolved.intervention.target, layout.texts[cell[0]]
        offsets = resolved.offsets[cell[0]]
        if target.sinks:
            sinks = frozenset(self._sinks[number][cell][: target.sinks])
            if target.random is not None:
                layers = [of for of in layout.layers if (of.tower, of.path) in resolved.heads]
                spared = layout.spared(resolved.intervention, layers)
                sinks = draw_offsets(sinks, layers, text, layout.chance(target.random), spared)
            offsets |= sinks
        return offsets

    def _swapped_offsets(self, key: LayerKey, cell: Cell) -> frozenset[Offset] | None:
        """Return the keys of a layer that are swapped in a row; none where nothing is."""
        every = self._resolved[cell[1] // self._images]
        number = next(at for at, of in enumerate(every) if of.intervention.act in SWAPS)
        return self._offsets(number, cell) if every[number].covers(key, cell[0]) else frozenset()

    def _columns(
        self, number: int, key: LayerKey, cell: Cell, layer: Layer, side: RowLayout
    ) -> Columns:
        """Return the keys of a row that are swapped, and where they stand in it."""
        layout = self._layouts[cell[1] // self._images]
        name = layout.branch(cell[0])
        if not self._resolved[cell[1] // self._images][number].covers(key, name):
            return ()
        offsets = self._offsets(number, (name, cell[1]))
        return tuple(
            (of.offset, side.positions[of.position])
            for of in list_keys(layer, layout.texts[name].sequence)
            if (offsets is None or of.offset in offsets) and side.positions[of.position] != ABSENT
        )


def _positions(layer: Layer, text: BranchText, offsets: frozenset[Offset]) -> list[int]:
    return [of.position for of in list_keys(layer, text.sequence) if of.offset in offsets]
