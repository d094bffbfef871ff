"""Make a trace of what a tap has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attn.engine.tapping.histories import History
from attn.engine.tapping.layout import Layout
from attn.engine.tapping.recording import (
    PER_PART,
    PICTURE,
    Kernel,
    Tapped,
    TappedLayer,
    TappedStep,
    Tensors,
    keys_of,
    kind_of,
)
from attn.engine.tapping.stretches import Side
from attn.engine.tapping.texts import Tokens, read_texts, rows_of
from attn.errors import CaptureError
from attn.schema import Column, Kept, Layer, Manifest, Request, Segment, Step
from attn.trace.store import shard_file
from attn.trace.trace import MemoryFiles, Trace


def make_trace(tapped: Tapped, history: History, tokens: Tokens, about: dict[str, Any]) -> Trace:
    """Return the trace of a block that is over.

    Args:
        tapped: what was kept of each forward.
        history: the text that was read.
        tokens: what its positions are called.
        about: further fields of the manifest.

    Raises:
        CaptureError: segments or tokens are of another length than what was read.
    """
    segments = _sequence(tapped.layout, history)
    steps = _steps(tapped, history)
    layers = [_describe(tapped, place, history) for place in range(len(tapped.layers))]
    ancestors = history.ancestors()
    shards: dict[str, Tensors] = {}
    for step, seen in zip(steps, tapped.steps, strict=True):
        rows = ancestors[seen.index] if seen.index < len(ancestors) else None
        shards[shard_file(step)] = _name_tensors(tapped, layers, seen, rows)
    is_growing = any(step.span for step in steps)
    if not is_growing:
        _fill(shards)
    if tapped.means:
        shards[shard_file(None)] = _means(tapped, layers, history)
    text, texts = read_texts(tokens, segments, _rows(history, tapped, segments))
    manifest = Manifest(
        backend="tap",
        request=Request(prompt=text.prompt),
        branches=("cond",),
        samples=tapped.samples,
        steps=steps,
        layers=tuple(layer.layer for layer in layers),
        segments={"cond": segments},
        tokens={"cond": text.tokens},
        words=text.words,
        truncated={},
        kept=_kept(tapped, layers, segments),
        shards=(),
        environment={},
        cost={},
        schema=2 if is_growing or texts or any(one.layer.num_sinks for one in layers) else 1,
        texts=texts,
        **about,
    )
    return Trace(MemoryFiles(manifest, shards))


@dataclass(frozen=True)
class _Described:
    """A layer as the trace has it, and what of a block's name each of its kernels is."""

    layer: Layer
    parts: tuple[tuple[str, str], ...]


def _rows(history: History, tapped: Tapped, segments: Sequence[Segment]) -> list[Any]:
    ids, padding = (
        None if value is None else value[:, : history.length].numpy()
        for value in (history.ids, history.padding)
    )
    source = tapped.layout.source
    if source and tapped.source is not None and ids is not None:
        ids = np.concatenate([tapped.source[0], ids], 1)
        padding = np.concatenate([tapped.source[1], padding], 1)
    return rows_of(ids, padding, tapped.samples)


def _sequence(layout: Layout, history: History) -> tuple[Segment, ...]:
    """Return the segments of the whole text, that of the encoder first."""
    if not history.length:
        return layout.declared or ()
    if layout.declared and layout.declared[-1].stop != history.length:
        raise CaptureError(
            f"segments= names {layout.declared[-1].stop} positions, but the model read "
            f"{history.length}; name those that it reads"
        )
    source, text = layout.source or 0, layout.text(history.length)
    if not source:
        return text
    moved = (replace(part, start=part.start + source, stop=part.stop + source) for part in text)
    return (Segment("prompt", "text", 0, source), *moved)


def _steps(tapped: Tapped, history: History) -> tuple[Step, ...]:
    source = tapped.layout.source or 0
    spans: list[tuple[int, int] | None] = []
    for number, step in enumerate(tapped.steps):
        at = step.stretch
        start = 0 if at is None or not number else at.start + source
        spans.append(None if at is None else (start, at.stop + source))
    is_whole = all(span in (None, (0, history.length + source)) for span in spans)
    return tuple(
        Step(step.index, None, None, None if is_whole else span)
        for step, span in zip(tapped.steps, spans, strict=True)
    )


def _describe(tapped: Tapped, index: int, history: History) -> _Described:
    """Describe a layer: the queries and keys of all its kernels, and its blocks."""
    layer, layout = tapped.layers[index], tapped.layout
    first, numbered = layer.kernels[0], list(enumerate(layer.kernels))
    (queries, rows), (keys, columns) = (
        _stack(
            [
                keys_of(kernel, layout.final(kernel.sides, 1, history.length))
                if which
                else layout.final(kernel.sides, 0, history.length)
                for kernel in layer.kernels
            ],
            [kernel.sides[which] if which == 0 else number for number, kernel in numbered],
        )
        for which in (0, 1)
    )
    parts = tuple(zip(rows, columns, strict=True))
    described = Layer(
        index=index,
        tower="model",
        path=layer.name,
        kind=kind_of(first),
        num_heads=first.heads,
        queries=queries,
        keys=keys,
        blocks=_blocks(tapped, layer, index, parts, queries),
        head_dim=first.head_dim,
        num_key_heads=first.key_heads,
    )
    return _Described(described, parts)


def _stack(
    sides: list[tuple[Segment, ...]], same: list[Side]
) -> tuple[tuple[Segment, ...], list[str]]:
    """Put the segments of kernels one after the other; return them, and the part that each is.

    Those for which `same` is the same are there once.
    """
    if len(set(same)) == 1:
        return sides[0], ["all"] * len(sides)
    stacked: list[Segment] = []
    parts: dict[Side, str] = {}
    for number, (segments, side) in enumerate(zip(sides, same, strict=True), start=1):
        if side in parts:
            continue
        begin, used = sum(part.length for part in stacked), {part.name for part in stacked}
        moved = [
            replace(
                part,
                name=f"{part.name}-{number}" if part.name in used else part.name,
                start=begin + part.start,
                stop=begin + part.stop,
            )
            for part in segments
        ]
        stacked += moved
        parts[side] = moved[0].name if len(moved) == 1 else moved[-1].kind
    return tuple(stacked), [parts[side] for side in same]


def _blocks(
    tapped: Tapped,
    layer: TappedLayer,
    index: int,
    parts: Sequence[tuple[str, str]],
    queries: Sequence[Segment],
) -> tuple[str, ...]:
    if len(layer.kernels) > 1:
        return tuple(dict.fromkeys(".".join(part) for part in parts))
    blocks = {
        name.partition(".")[2]: None
        for step in tapped.steps
        for name in step.tensors.get((index, 0), ())
        if name.startswith("mass.")
    }
    is_written = any(one.is_generated for one in queries)
    if is_written and layer.kernels[0].queries == "text":
        blocks |= {f"{one.name}.all": None for one in queries}
    return tuple(blocks)


def _name_tensors(
    tapped: Tapped, layers: Sequence[_Described], step: TappedStep, rows: list[int] | None
) -> Tensors:
    """Return the tensors of a step by their names in a shard, rows in the order of the last."""
    named: Tensors = {}
    for (index, number), measured in step.tensors.items():
        layer, kernel = layers[index], tapped.layers[index].kernels[number]
        tensors = {
            name: _with_segments(array, layer.layer) if name.startswith("total.") else array
            for name, array in measured.items()
        }
        whole = tensors
        if len(layer.parts) > 1:
            whole = _renamed(tensors, ".".join(layer.parts[number]), number)
        elif kernel.queries == "text":
            whole = tensors | _of_parts(tensors, layer.layer, step)
        for name, array in whole.items():
            named[f"{index}/{name}"] = array if rows is None else array[:, rows]
    return named


def _renamed(tensors: Tensors, block: str, number: int) -> Tensors:
    """Name what is kept of one of several kernels of a layer by its block."""
    return {
        name if "." not in name else f"{name.partition('.')[0]}.{block}": value
        for name, value in tensors.items()
        if name.endswith(".all.all") or ("." not in name and number == 0)
    }


def _of_parts(tensors: Tensors, layer: Layer, step: TappedStep) -> Tensors:
    """Return what is kept of a segment's rows, where a step has only rows of one segment."""
    if step.stretch is None or not any(one.is_generated for one in layer.queries):
        return {}
    at = step.stretch
    whose = [one.name for one in layer.queries if one.start < at.stop and at.start < one.stop]
    if len(whose) > 1:
        return {}
    return {
        f"{kind}.{whose[0]}{rest.removeprefix('all')}": value
        for kind, _, rest in (name.partition(".") for name in tensors)
        if kind in PER_PART and rest.split(".")[0] == "all"
        for value in (tensors[f"{kind}.{rest}"],)
    }


def _with_segments(total: np.ndarray, layer: Layer) -> np.ndarray:
    """Give a total the segments that were not there yet: they received nothing."""
    lacking = len(layer.keys) - total.shape[-1]
    return np.pad(total, [(0, 0)] * (total.ndim - 1) + [(0, lacking)]) if lacking > 0 else total


def _fill(shards: dict[str, Tensors]) -> None:
    """Give every step all tensors: NaN for the layers that did not run in it."""
    some = {name: value for tensors in shards.values() for name, value in tensors.items()}
    for tensors in shards.values():
        ran = {name.partition("/")[0] for name in tensors}
        for name, value in some.items():
            if name not in tensors:  # a layer that ran without a mask was masked by 0
                has_run = name.partition("/")[0] in ran
                tensors[name] = np.full_like(value, 0 if has_run else np.nan)


def _means(tapped: Tapped, layers: Sequence[_Described], history: History) -> Tensors:
    """Return the mean over the steps that computed each row of a map."""
    if history.is_sorted:
        raise CaptureError(
            "keep='means': the rows of the batch are beams that take each other's places, so they "
            "have no mean over steps; use keep='maps', or generate without beams"
        )
    found: Tensors = {}
    for (index, number), sums in tapped.means.items():
        layer = layers[index]
        block = ".".join(layer.parts[number])
        kernel: Kernel = tapped.layers[index].kernels[number]
        sizes = [_size(side, layer.layer, at) for at, side in enumerate(kernel.sides)]
        total = np.zeros((1, tapped.samples, *sizes), np.float32)
        count = np.zeros((1, tapped.samples, sizes[0], 1), np.float32)
        for stretch, (summed, times) in sums.items():
            at = slice(stretch.start, stretch.stop) if kernel.queries == "text" else slice(None)
            total[:, :, at, : summed.shape[-1]] += np.nan_to_num(summed)
            count[:, :, at] += times * ~np.isnan(summed[..., :1])
        with np.errstate(invalid="ignore"):
            found[f"{index}/map.{block}"] = total / count
    return found


def _size(side: Side, layer: Layer, at: int) -> int:
    segments = layer.keys if at else layer.queries
    return side if isinstance(side, int) else sum(one.length for one in segments)


def _kept(tapped: Tapped, layers: Sequence[_Described], segments: Sequence[Segment]) -> Kept:
    columns = tuple(
        Column(segment.name, position)
        for segment in segments
        if segment.kind == "text"
        for position in range(segment.start, segment.stop)
    )
    asked = dict.fromkeys(".".join(part) for layer in layers for part in layer.parts)
    if any(PICTURE in layer.layer.blocks for layer in layers) and tapped.keep.level != "means":
        asked[PICTURE] = None
    return Kept(
        level=tapped.keep.level,
        keys="all",
        mass="text",
        entropy=True,
        blocks=tuple(asked),
        layers=tuple(layer.layer.index for layer in layers),
        columns=columns,
    )
