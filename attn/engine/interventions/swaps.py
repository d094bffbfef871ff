"""Keys and values of a run with another prompt, put where those of this run would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attn.engine.hooks import ModeHooks
from attn.engine.interventions.resolve import RequestLayout
from attn.engine.interventions.rows import sides_of
from attn.engine.interventions.sinks import Cell, OnCall
from attn.engine.interventions.targets import Offset, list_keys
from attn.engine.kernels import FUSED, OperatorMode, bind
from attn.engine.layer_plans import layer_within
from attn.errors import CaptureError
from attn.schema import ABSENT, Call, LayerKey

Columns = tuple[tuple[Offset, int], ...]
"""Keys that are swapped in a row, and where they stand in it."""
Wanted = Callable[[LayerKey, Cell], frozenset[Offset] | None]
"""Keys of a layer that are swapped in a row; None is all."""


@dataclass(frozen=True)
class SwapSource:
    """The run that keys and values come from.

    Attributes:
        layouts: what each of its requests runs through and reads, for each request of this run.
        generate: runs the model, and announces every forward.
    """

    layouts: Sequence[RequestLayout]
    generate: Callable[[OnCall], object]


@dataclass(frozen=True)
class RowStates:
    """What is put in a row of a batch.

    Attributes:
        columns: of the row.
        key: (key head, column, channel).
        value: likewise.
    """

    columns: Tensor
    key: Tensor
    value: Tensor


class SwapStates:
    """Keys and values of every call of the other run, on the CPU until they are used.

    Args:
        source: the other run.
        images: samples of each request.
    """

    def __init__(self, source: SwapSource, images: int) -> None:
        self._source, self._images = source, images
        self._layers = [{(of.tower, of.path): of for of in lay.layers} for lay in source.layouts]
        self._states: dict[Any, tuple[dict[Offset, int], Tensor, Tensor]] = {}
        self._calls: Counter[Any] = Counter()
        self._call: Call | None = None

    def begin(self, call: Call) -> None:
        """Take the announcement of a forward, of either run."""
        self._call = call
        self._calls[call.tower, call.step, call.rows] += 1

    def collect(self, modules: Mapping[LayerKey, nn.Module], wanted: Wanted) -> None:
        """Generate the other run, and keep the keys and values that are wanted of it."""
        mode = _StateMode(lambda key, value: self._keep(hooks.running, wanted, key, value))
        hooks = ModeHooks(modules, mode, innermost=True)
        with hooks:
            self._source.generate(self.begin)
        self._calls.clear()

    def _keep(self, key: LayerKey, wanted: Wanted, keys: Tensor, values: Tensor) -> None:
        call = self._call
        if call is None:
            return
        for row, (branch, sample) in enumerate(call.rows):
            layout = self._source.layouts[sample // self._images]
            name = layout.branch(branch)
            layer = layer_within(self._layers[sample // self._images][key], call.span)
            side = sides_of(layer, call, row)[1]
            if keys.shape[0] != len(call.rows) or keys.shape[2] != side.length:
                return  # a kernel of the module that is not the layer's
            offsets = wanted(key, (name, sample))
            columns = {
                of.offset: side.positions[of.position]
                for of in list_keys(layer, layout.texts[name].sequence)
                if (offsets is None or of.offset in offsets)
                and side.positions[of.position] != ABSENT
            }
            at = list(columns.values())
            kept = [of[row][:, at].detach().cpu() for of in (keys, values)]
            order = {offset: place for place, offset in enumerate(columns)}
            self._states[self._name(key, call, row)] = order, kept[0], kept[1]

    def states(
        self, key: LayerKey, call: Call, rows: Sequence[Columns]
    ) -> tuple[RowStates | None, ...]:
        """Return what is put in each row of the call that runs.

        Raises:
            CaptureError: the other run has no such call, or no such key in it.
        """
        return tuple(
            self._of_row(key, call, row, columns) if columns else None
            for row, columns in enumerate(rows)
        )

    def _of_row(self, key: LayerKey, call: Call, row: int, columns: Columns) -> RowStates:
        stored = self._states.get(self._name(key, call, row))
        missing = [of for of, _ in columns if stored is None or of not in stored[0]]
        if stored is None or missing:
            segment, position = missing[0]
            raise CaptureError(
                f"{key[1]} has no key {position} of '{segment}' in step {call.step} of the run "
                "with the other prompt, so that there is nothing to swap it with"
            )
        order, keys, values = stored
        places = [order[of] for of, _ in columns]
        at = torch.tensor([column for _, column in columns])
        return RowStates(at, keys[:, places], values[:, places])

    def _name(self, key: LayerKey, call: Call, row: int) -> Any:
        """Return what a row of a call is called in both runs: of several alike, which it is."""
        count = self._calls[call.tower, call.step, call.rows]
        return key, call.step, call.rows[row], count


class _StateMode(OperatorMode):
    """Show the keys and values of every attention kernel that runs under this mode."""

    def __init__(self, see: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self._see = see

    def run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return what an operator returns."""
        if func in FUSED:
            call = bind(func, args, kwargs)
            self._see(call["key"], call["value"])
        return func(*args, **kwargs)


def with_states(
    keys: Tensor, values: Tensor, rows: Sequence[RowStates | None], act: str
) -> tuple[Tensor, Tensor]:
    """Return the keys and values of a call in which some are those of the other run.

    Args:
        keys: (row, key head, key, channel).
        values: likewise.
        rows: what is put in each row.
        act: of `schema.SWAPS`: whether keys, values or both are.
    """
    keys, values = keys.clone(), values.clone()
    for row, states in enumerate(rows):
        if states is None:
            continue
        columns = states.columns.to(keys.device)
        if act != "swap_values":
            keys[row, :, columns] = states.key.to(keys)
        if act != "swap_keys":
            values[row, :, columns] = states.value.to(values)
    return keys, values
