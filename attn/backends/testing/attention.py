"""The check that probabilities and everything made of them are exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attn.backends.testing.observe import Recording, begin, fail, pair, recorded, watched
from attn.backends.testing.oracle import (
    as_float64,
    exact_logits,
    exact_probs,
    fold_columns,
    measures,
)
from attn.backends.types import Session
from attn.engine.attention import Attention
from attn.engine.layer_plans import layer_within
from attn.engine.reduction.measures import as_index
from attn.schema import Call, Column, Layer, Request, block_names, part, positions
from attn.schema import Sequence as TokenSequence

TOLERANCE = {"float32": 1e-5}
"""Largest absolute difference of a probability from float64, by the dtype of query and key."""
LOW_PRECISION = 1e-4
OPEN_TOLERANCE = 1e-6
FLOAT32_ROUNDING = 2.0**-21
"""What large logits lose in float32, relative to the largest: kernels compute them in no more."""
OPEN_SOFTMAX = {"float64": 1e-5, "float32": 1e-5, "bfloat16": 1e-2, "float16": 2e-3}
"""How far rows that the model itself rounded may be from 1."""
RELATIVE = ("share", "share_max", "entropy")
RELATIVE_FACTOR = 20
"""These are made of ratios and logarithms of probabilities, which magnify differences."""
HALF = 2.0**-11
"""Relative rounding of maps, which are stored as float16."""

Exact = dict[tuple[str, int], dict[str, np.ndarray]]
"""Tensors of step 0 by name, by (branch, sample)."""


def attention_exact(session: Session, request: Request) -> None:
    """Probabilities are the float64 softmax of query and key, measures what they are defined as."""
    session, request = begin(session, request)
    requests = pair(request)
    exact: Exact = {}
    tolerance: dict[int, float] = {}

    def visit(call: Call, row: int, layer: Layer, attention: Attention) -> None:
        if call.step:
            return
        expected = exact.setdefault(call.rows[row], {})
        if f"{layer.index}/mass.all.all" in expected:
            return
        probs, allowed = exact_probs(attention, 0), _tolerance(attention, 0)
        tolerance[layer.index] = max(allowed, tolerance.get(layer.index, 0.0))
        _compare_blocks(layer, attention, 0, probs, allowed)
        expected |= measures(layer, probs)

    watched(session, requests, visit)
    seen = {int(name.split("/")[0]) for expected in exact.values() for name in expected}
    if seen != {layer.index for layer in session.layers(request)}:
        fail(
            "generate()",
            f"step 0 ran layers {sorted(seen)}",
            "run every layer of layers() in step 0",
        )
    _compare_tensors(recorded(session, requests, "heads"), exact, tolerance, skip="map")
    maps = recorded(session, requests, "maps")
    for (_, sample), expected in exact.items():
        span = next(iter(session.spans(requests[sample])), None)
        layers = {
            layer.index: layer_within(layer, span) for layer in session.layers(requests[sample])
        }
        sequence = session.sequence(requests[sample], "cond")
        columns = tuple(
            column
            for column in maps.columns[sample]
            if span is None or column.position is None or column.position < span[1]
        )
        _fold_maps(expected, layers, columns, sequence)
    _compare_tensors(maps, exact, tolerance, skip="headmap")


def _compare_blocks(
    layer: Layer, attention: Attention, row: int, exact: np.ndarray, allowed: float
) -> None:
    """Compare every block of one kernel call, and check that full rows sum to 1, or to 0."""
    heads = slice(0, layer.num_heads)
    for block in block_names(layer):
        sides = zip((layer.queries, layer.keys), block.split("."), strict=True)
        query, key = (positions(part(segments, half)) for segments, half in sides)
        rows, columns = (as_index(tuple(ranges), attention.device) for ranges in (query, key))
        got = as_float64(attention.probs(row, heads, rows, columns))
        _require(layer, f"probs of {block}", got, exact[:, query][:, :, key], allowed)
    sums = as_float64(attention.probs(row, heads, slice(None), slice(None))).sum(-1)
    if attention.open_probs is not None:
        allowed = OPEN_SOFTMAX[str(attention.open_probs.dtype).removeprefix("torch.")]
    _require(layer, "sum of a row of probs", sums, np.round(sums).clip(0, 1), 10 * allowed)


def _fold_maps(
    expected: dict[str, np.ndarray],
    layers: Mapping[int, Layer],
    columns: tuple[Column, ...],
    sequence: TokenSequence,
) -> None:
    """Give the exact maps the key columns that `--keys content` keeps, in place."""
    for name, probs in expected.items():
        index, _, rest = name.partition("/")
        measure, _, block = rest.partition(".")
        if measure == "map":
            expected[name] = fold_columns(probs, layers[int(index)], block, columns, sequence)


def _compare_tensors(
    run: Recording, exact: Exact, tolerance: Mapping[int, float], *, skip: str
) -> None:
    """Compare step 0 of a recording with what it should be, tensor by tensor."""
    for (branch, sample), expected in exact.items():
        tensors = run.tensors[sample, 0]
        for name, exact_value in expected.items():
            index, _, rest = name.partition("/")
            measure = rest.partition(".")[0]
            if measure == skip:
                continue
            if name not in tensors:
                fail("layers()", f"a recording of everything has no {name}", "report this to attn")
            got = tensors[name][run.branches.index(branch), 0].astype(np.float64)
            want = exact_value
            if measure == "total":  # what is not written yet receives nothing
                lacking = max(0, got.shape[-1] - exact_value.shape[-1])
                want = np.pad(exact_value, [(0, 0), (0, lacking)])
            allowed = tolerance[int(index)] * (RELATIVE_FACTOR if measure in RELATIVE else 1)
            rounding = HALF * want + 1e-7 if "map" in measure else 0.0
            if got.shape != want.shape or not _is_near(got, want, allowed + rounding):
                fail(
                    "generate()",
                    f"{name} of branch {branch}, sample {sample} is not what its definition says "
                    f"(shape {got.shape}, expected {want.shape})",
                    "make two runs of one request repeatable; if they are, report this to attn",
                )


def _is_near(got: np.ndarray, want: np.ndarray, allowed: np.ndarray | float) -> bool:
    """Whether numbers are as they should be; NaN stands for rows that are none."""
    is_none = np.isnan(got) & np.isnan(want)
    return bool(((np.abs(got - want) <= allowed) | is_none).all())


def _require(layer: Layer, what: str, got: np.ndarray, want: np.ndarray, allowed: float) -> None:
    worst = float(np.abs(got - want).max(initial=0.0))
    if not worst <= allowed:
        fail(
            "generate()",
            f"{what} in {layer.tower}:{layer.path} differs by {worst:.1e}, not "
            f"at most {allowed:.0e}",
            "let the model compute its attention by torch's scaled_dot_product_attention",
        )


def _tolerance(attention: Attention, row: int) -> float:
    if attention.query is None:
        return OPEN_TOLERANCE
    dtype = str(attention.query.dtype).removeprefix("torch.")
    largest = float(np.abs(exact_logits(attention, row)).max())
    return max(TOLERANCE.get(dtype, LOW_PRECISION), FLOAT32_ROUNDING * largest)
