"""Collect what is kept of each step, and check that nothing that was due is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from attn.engine.attention import Attention, placements
from attn.engine.cells import TORCH_DTYPES, Cells
from attn.engine.heads import unfold, with_heads, without_copies
from attn.engine.layer_plans import LayerPlan, Shapes, Span
from attn.engine.open_calls import OpenCall, is_filled, is_skipped, say_unseen
from attn.engine.plan import Plan
from attn.engine.reduction.batching import Batches
from attn.engine.reduction.gates import GateKey, part_values, summarise
from attn.engine.reduction.means import Means
from attn.engine.reduction.measures import Scratch, measure
from attn.errors import CaptureError
from attn.schema import STEP_MEASURES, Call, Layer, LayerKey, Step

Write = Callable[[int, Step | None, Mapping[str, np.ndarray]], None]
"""Takes (trace of the batch, step or None for means, tensors)."""


class Recorder:
    """Take announced calls and observed attention, write one shard per step and trace.

    A step keeps, of each (branch, sample), the first call that runs it.

    Args:
        plans: one per trace of the batch; they differ in their columns only, and where texts grow
            in their lengths.
        images: samples of each trace.
        write: takes the tensors of every finished step, and at the end the means.
    """

    def __init__(self, plans: Sequence[Plan], images: int, write: Write) -> None:
        self._plans = plans
        self._images = images
        self._write = write
        self._layers: list[dict[LayerKey, LayerPlan]] = [
            {(plan.layer.tower, plan.layer.path): plan for plan in trace.layers} for trace in plans
        ]
        self._scratch = Scratch()
        self._batches = Batches(self._take_batch, self._scratch)
        self._step: Step | None = None
        self._spans: dict[int, Span] = {}  # of the traces that read a part of a text in this step
        self._within: dict[tuple[int, LayerKey], LayerPlan] = {}  # this step's
        self._call: OpenCall | None = None
        self._calls: list[OpenCall] = []
        self._recorded: set[tuple[str, str, int]] = set()
        self._shapes = [_shapes(plan) for plan in plans]  # this step's
        self._cells = Cells(plans, images)
        self._gaps: set[tuple[int, int]] = set()  # traces and layers in which rows are missing
        self._means = [Means(plan) for plan in plans]
        self._is_empty = True
        self._last = -1
        self.steps: list[list[Step]] = [[] for _ in plans]

    @property
    def keys(self) -> list[LayerKey]:
        """The layers that must be watched."""
        return list(self._layers[0])

    @property
    def gates(self) -> dict[GateKey, str]:
        """The gates that must be watched, with their paths."""
        return {
            (*key, gate.part): gate.path
            for key, plan in self._layers[0].items()
            for gate in plan.layer.gates
        }

    def on_call(self, call: Call) -> None:
        """Take the announcement of one forward.

        Raises:
            CaptureError: the call before it left out a layer, or steps run backwards.
        """
        self._close_call()
        if self._step is None or call.step != self._step.index:
            self._close_step()
            if call.step <= self._last:
                raise CaptureError(
                    f"the backend announced step {call.step} after {self._last}; "
                    "announce steps 0, 1, 2, … in order"
                )
            self._step = Step(call.step, call.timestep, call.noise)
        self._read_span(call)
        kept = self._plans[0].branches
        rows = {
            (branch, sample): row
            for row, (branch, sample) in enumerate(call.rows)
            if branch in kept and (call.tower, branch, sample) not in self._recorded
        }
        due = {
            key for key in self.keys if rows and key[0] == call.tower and not is_skipped(key, call)
        }
        self._call = OpenCall(call, rows, due)

    def _read_span(self, call: Call) -> None:
        """Take which positions of their texts the rows of a call read."""
        for trace in {sample // self._images for _, sample in call.rows}:
            plan, span = self._plans[trace], call.span
            if bool(plan.spans) != (span is not None) or self._spans.get(trace, span) != span:
                raise CaptureError(
                    f"step {call.step} is announced with the span {span}, expected "
                    f"{self._spans.get(trace, 'one' if plan.spans else None)}: say in Call.span "
                    "what spans() lays out, the same for all samples of a request"
                )
            if span is not None and trace not in self._spans:
                self._spans[trace] = span
                self._shapes[trace] = _shapes(plan, span)

    def _plan(self, trace: int, key: LayerKey) -> LayerPlan:
        """Return what is kept of a layer in this step."""
        plan = self._layers[trace][key]
        if trace not in self._spans:
            return plan
        if (trace, key) not in self._within:
            self._within[trace, key] = plan.within(self._spans[trace])
        return self._within[trace, key]

    def wanted(self) -> bool:
        """Whether the forward that runs now has rows to keep."""
        return self._call is not None and bool(self._call.rows)

    @property
    def running(self) -> tuple[Call, list[int]]:
        """The forward that runs, and which rows of it are kept."""
        call = self._open_call()
        return call.call, list(call.rows.values())

    def see_concepts(self, key: LayerKey, tensors: Mapping[str, Tensor]) -> None:
        """Take what is kept of concepts, (kept row, …), by what it is called of a layer."""
        call = self._open_call()
        for place, (branch, sample) in enumerate(call.rows):
            trace, cell = self._cells.cell_of(branch, sample)
            index = self._layers[trace][key].layer.index
            for name, values in tensors.items():
                self._cells.add(trace, f"{index}/{name}", cell, values[place])
        call.conceived.add(key)

    def see(self, key: LayerKey, attention: Attention) -> None:
        """Take one kernel call of a layer; those of other shapes (adapters) are not the layer's."""
        call = self._open_call()
        layer = self._layers[0][key].layer
        attention = with_heads(attention, len(call.call.rows)).with_sink()
        if call.call.span is not None:
            attention = ungrouped(attention, layer, call.call.span)
        batch, *shape = attention.shape
        if any(self._shape(key, call, *cell) != shape for cell in call.rows):
            heads, queries, keys = shape
            call.other.setdefault(key, []).append(f"{heads} heads, {queries} queries, {keys} keys")
            return
        if batch != len(call.call.rows):
            raise CaptureError(
                f"layer {layer.path}, step {call.call.step}: the batch has {batch} rows, "
                f"the backend announced {len(call.call.rows)}; say in Call.rows of every row of "
                "the batch which branch and sample it is"
            )
        if key in call.seen:
            raise CaptureError(
                f"layer {layer.path}, step {call.call.step}: two attention kernels of the same "
                "shape ran in one call, so it is unclear which one is meant"
            )
        call.seen.add(key)
        for (branch, sample), row in call.rows.items():
            plan = self._plan(sample // self._images, key)
            if is_filled(plan.layer, call.call, row):
                row_attention = attention.of_row(row, plan.layer, call.call)
                self._keep(key, branch, sample, row_attention, 0)
            else:
                self._keep(key, branch, sample, attention, row)

    def see_gate(self, key: GateKey, values: Tensor) -> None:
        """Take what a gate's module returns, (row, query, head) or (row, query, head · channel).

        Raises:
            CaptureError: they are of another shape, or come twice in one call.
        """
        call = self._open_call()
        *layer_key, name = key
        for (branch, sample), row in call.rows.items():
            trace, cell = self._cells.cell_of(branch, sample)
            layer = self._layers[trace][layer_key[0], layer_key[1]].layer
            gate = next(gate for gate in layer.gates if gate.part == name)
            selected = part_values(values, call.call, row, layer, gate)
            if key in call.gates:
                raise CaptureError(f"the gate of {layer.path} ({name}) ran twice in one call")
            summary = summarise(selected, layer.num_heads, gate.activation)
            self._cells.add(trace, f"{layer.index}/gate.{name}", cell, summary)
        call.gates.add(key)

    def done(self, key: LayerKey) -> None:
        """Check, after a layer ran, that its attention was seen, and its gates."""
        call = self._open_call()
        layer = self._layers[0][key].layer
        if key not in call.seen:
            raise CaptureError(say_unseen(layer, call))
        for gate in layer.gates:
            if (*key, gate.part) not in call.gates:
                raise CaptureError(
                    f"layer {layer.path} ran in step {call.call.step}, but not its gate {gate.path}"
                )

    def finish(self) -> None:
        """Close the last step and write the means.

        Raises:
            CaptureError: nothing was captured, or a layer is missing.
        """
        self._close_call()
        self._close_step()
        if self._is_empty:
            raise CaptureError(
                "the generation ended without one forward of a captured tower; call on_call before "
                "every forward, with all its rows, and give in towers() the modules that run"
            )
        for trace, sums in enumerate(self._means):
            if means := sums.means(self.steps[trace][-1].span):
                self._write(trace, None, means)

    def _open_call(self) -> OpenCall:
        if self._call is None:
            raise CaptureError(
                "attention ran before the backend announced a call; call on_call before every "
                "forward"
            )
        return self._call

    def _shape(self, key: LayerKey, call: OpenCall, branch: str, sample: int) -> list[int]:
        """Return the heads, queries and keys that one row of a layer has in the batch."""
        layer, row = self._plan(sample // self._images, key).layer, call.rows[branch, sample]
        if call.call.lengths:
            sides = placements(layer, call.call, row)
            return [layer.num_heads, *(side.length for side in sides)]
        padding = call.call.padding[row] if call.call.padding else 0
        return [layer.num_heads, layer.num_queries + padding, layer.num_keys + padding]

    def _keep(
        self, key: LayerKey, branch: str, sample: int, attention: Attention, row: int
    ) -> None:
        trace, cell = self._cells.cell_of(branch, sample)
        plan = self._plan(trace, key)
        index = plan.layer.index
        if attention.valid is not None:
            self._gaps.add((trace, index))
        for query in plan.totals if trace in self._spans else ():  # what is not there yet gets none
            name = f"{index}/total.{query}"
            shape = self._shapes[trace][name][0][2:]
            self._cells.add(trace, name, cell, torch.zeros(shape, device=attention.device))
        if not self._batches.add((trace, cell), plan, attention, row):
            for name, value in measure(plan, attention, row, self._scratch).items():
                self._keep_measure(trace, cell, name, self._rounded(trace, name, value))

    def _take_batch(
        self, row: tuple[int, int], layers: Sequence[int], measure: str, values: Tensor
    ) -> None:
        """Take a measure of several layers of a cell of a trace, (layer, …)."""
        trace, cell = row
        rounded = self._rounded(trace, f"{layers[0]}/{measure}", values)
        for layer, value in zip(layers, rounded.unbind(0), strict=True):
            self._keep_measure(trace, cell, f"{layer}/{measure}", value)

    def _rounded(self, trace: int, name: str, value: Tensor) -> Tensor:
        """Return a measure with the digits that it is kept with."""
        shapes = self._shapes[trace]
        dtype = TORCH_DTYPES[shapes[name][1]] if name in shapes else value.dtype
        is_factor = "." not in name
        if is_factor:  # never rounded, even where attention runs wider than the model's weights
            dtype = torch.promote_types(dtype, value.dtype)
        return value.to(dtype, copy=is_factor and value.dtype == dtype)

    def _keep_measure(self, trace: int, cell: int, name: str, value: Tensor) -> None:
        """Keep a measure; of a total the segments that there are yet."""
        if trace in self._spans and "/total." in name:
            segments = self._shapes[trace][name][0][-1]
            value = torch.nn.functional.pad(value, (0, segments - value.shape[1]))
        self._cells.add(trace, name, cell, value)

    def _close_call(self) -> None:
        if self._call is None:
            return
        call, self._call = self._call, None
        missing = sorted(call.due - call.seen)
        if missing:
            raise CaptureError(say_unseen(self._layers[0][missing[0]].layer, call))
        conceiving = {key for key in call.due if self._layers[0][key].concepts is not None}
        if unmet := sorted(conceiving - call.conceived):
            raise CaptureError(
                f"the concepts did not run through {unmet[0][1]} in step {call.call.step}: it was "
                "called in another way than the backend says"
            )
        self._recorded |= {(call.call.tower, branch, sample) for branch, sample in call.rows}
        self._calls.append(call)
        self._is_empty &= not call.rows

    def _keep_outcomes(self, step: Step) -> None:
        """Ask the calls of a step what it wrote, which is known only at its end."""
        for call in self._calls:
            outcome = call.call.outcome() if call.call.outcome and call.rows else {}
            for (branch, sample), row in call.rows.items():
                trace, cell = self._cells.cell_of(branch, sample)
                padding = call.call.padding[row] if call.call.padding else 0
                for name, values in outcome.items():
                    rows = _of_row(values, row, padding, self._plans[trace].positions, name)
                    self._cells.add(trace, f"step/{name}", cell, rows)
        self._calls.clear()
        for trace, plan in enumerate(self._plans):
            for name in STEP_MEASURES if plan.positions else ():
                if len(self._cells.of(trace, f"step/{name}")) != self._cells.count(trace):
                    raise CaptureError(
                        f"step {step.index}: the backend lays out a generated segment, but does "
                        f"not say its {name}; announce every row with an `outcome` that does"
                    )

    def _close_step(self) -> None:
        if self._step is None:
            return
        step, self._step = self._step, None
        self._batches.flush()
        self._keep_outcomes(step)
        self._cells.require_numbers(step, self._gaps)
        for trace, plan in enumerate(self._plans):
            if plan.spans and trace not in self._spans:  # its text has ended
                continue
            shapes = self._shapes[trace]
            kept = {
                name: self._cells.stack(trace, name, shapes.get(name))
                for name in (*shapes, *self._cells.masks(trace))
            }
            for name in [name for name in kept if plan.mean_of(name)]:
                ran = self._cells.of(trace, name)
                self._means[trace].add(name, kept[name], ran, self._spans.get(trace))
                if plan.is_mean(name):
                    del kept[name]
            read = replace(step, span=self._spans.get(trace))
            self.steps[trace].append(read)
            self._write(trace, read, kept)
        self._cells.clear()
        self._spans.clear()
        self._within.clear()
        self._gaps.clear()
        self._recorded.clear()
        self._last = step.index


def _shapes(plan: Plan, span: Span | None = None) -> Shapes:
    """Return every tensor that a step computes."""
    return plan.step_shapes(span) | (plan.mean_shapes(span) if plan.kept.level == "means" else {})


def ungrouped(attention: Attention, layer: Layer, span: Span) -> Attention:
    """Give grouped queries the heads of the model, as calls with a cache may not have them."""
    return without_copies(unfold(attention, layer.num_heads, span[1] - span[0]), layer)


def _of_row(values: np.ndarray, row: int, padding: int, positions: int, name: str) -> Tensor:
    if values.shape[1:] != (padding + positions,):
        raise CaptureError(
            f"the {name} of a Call's outcome have shape {values.shape}, expected (row, position) "
            f"with {padding + positions} positions, padding included"
        )
    return torch.from_numpy(values[row, padding:].copy())
