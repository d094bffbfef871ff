"""What the gates of a gated model let through.

A gate multiplies the output of attention by a number from 0 to 1, for every query and head, or for
every query and channel of a head. Kept of these values are, per step, layer, head and query part:

- mean, std        their mean and population standard deviation
- below_0.5        the share of them below 0.5: gates that take away more than they let through
- below_0.1        likewise below 0.1: gates that are nearly closed

Steps and heads have equally many values, so that what is said of several is exactly what all their
values together would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from attn.analysis.digest import Digest
from attn.analysis.needs import Needs
from attn.analysis.numbers import Numbers, mean_present, or_nan
from attn.analysis.result import Result
from attn.analysis.tables import Table, stack_tables
from attn.analysis.words.select import select_layers, select_steps
from attn.schema import GATE_STATISTICS, Layer, Step, name_layers

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(gates=True)

Value = Literal["mean", "std", "below_0.5", "below_0.1"]
UNITS = {
    "mean": "gate, mean",
    "std": "gate, standard deviation",
    "below_0.5": "share of gates below 0.5",
    "below_0.1": "share of gates below 0.1",
}


@dataclass(frozen=True)
class GatesOptions:
    """Options of the analysis of gates."""

    value: Value = field(default="mean", metadata={"help": "what the pictures show"})
    layers: tuple[str, ...] = field(
        default=(), metadata={"help": "7, 0-11, or a glob of the path; empty is the first tower"}
    )
    steps: tuple[str, ...] = field(default=(), metadata={"help": "7 or 0-9; empty is every step"})


@dataclass(frozen=True)
class Gating:
    """What a gate did.

    Attributes:
        layer: on whose output.
        part: of which queries.
        values: (branch, sample, step, head, statistic); head 0 is all heads together. NaN where the
            layer did not run.
    """

    layer: Layer
    part: str
    values: Numbers


def run(trace: Trace, options: GatesOptions) -> Result:
    """Tabulate the gates of a trace, in every guidance row that was kept.

    Returns:
        `gates/gates.csv`, by step, and `gates/gates_summary.csv`, over all steps; to draw, of the
        first guidance row and all samples: `heads <part>` (layer, head), `steps <part>` (layer,
        step).

    Raises:
        AnalysisError: a layer or step is not there.
    """
    gated = [layer for layer in trace.layers if layer.gates]
    layers = select_layers(gated, options.layers, captured=trace.layers, having="gates")
    indices = select_steps(trace.steps, options.steps)
    steps = [step for step in trace.steps if step.index in indices]
    gatings = [_read(trace, layer, gate.part, indices) for layer in layers for gate in layer.gates]
    tables = {
        "gates/gates.csv": _by_step(trace.branches, gatings, steps),
        "gates/gates_summary.csv": _summary(trace.branches, gatings),
    }
    arrays: dict[str, xr.DataArray] = {}
    for part in dict.fromkeys(gating.part for gating in gatings):
        of_part = [gating for gating in gatings if gating.part == part]
        arrays |= _label(of_part, steps, trace.branches[0], options.value)
    return Result(tables, arrays, digests=_digests(arrays, name_layers(trace.layers)))


def pool(values: Numbers, axis: int) -> Numbers:
    """Return the statistics of several equally large sets of values together.

    Args:
        values: (…, statistic); NaN is left out.
        axis: over which sets; not the last.
    """
    mean = mean_present(values[..., 0], axis)
    square = mean_present(values[..., 0] ** 2 + values[..., 1] ** 2, axis)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    shares = [mean_present(values[..., column], axis) for column in range(2, values.shape[-1])]
    return np.stack([mean, std, *shares], -1)


def _read(trace: Trace, layer: Layer, part: str, steps: Sequence[int]) -> Gating:
    array = trace.gates(layer.index, part).sel(step=list(steps))
    array = array.transpose("branch", "sample", "step", "head", "statistic")
    heads = np.asarray(array.values, np.float64)
    return Gating(layer, part, np.concatenate([pool(heads, 3)[:, :, :, np.newaxis], heads], 3))


def _by_step(branches: Sequence[str], gatings: Sequence[Gating], steps: Sequence[Step]) -> Table:
    """Return a row per guidance row, sample, step, layer, part and head."""
    columns = []
    for gating in gatings:
        branch, sample, step, head = np.indices(gating.values.shape[:-1]).reshape(4, -1)
        columns.append(
            {
                "branch": np.array(branches, object)[branch],
                "sample": sample,
                "step": np.array([each.index for each in steps])[step],
                "timestep": or_nan([each.timestep for each in steps])[step],
                "noise": or_nan([each.noise for each in steps])[step],
                **_describe(gating, head),
                **_statistics(gating.values),
            }
        )
    return _join(columns)


def _summary(branches: Sequence[str], gatings: Sequence[Gating]) -> Table:
    """Return a row per guidance row, sample, layer, part and head: all steps together."""
    columns = []
    for gating in gatings:
        values = pool(gating.values, 2)
        branch, sample, head = np.indices(values.shape[:-1]).reshape(3, -1)
        columns.append(
            {
                "branch": np.array(branches, object)[branch],
                "sample": sample,
                **_describe(gating, head),
                **_statistics(values),
            }
        )
    return _join(columns)


def _describe(gating: Gating, head: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    names = np.array(["mean", *map(str, range(gating.layer.num_heads))], object)
    labels = {"layer": gating.layer.index, "path": gating.layer.path, "part": gating.part}
    same = {name: np.full(head.size, label, object) for name, label in labels.items()}
    return same | {"head": names[head]}


def _statistics(values: Numbers) -> dict[str, Numbers]:
    flat = values.reshape(-1, len(GATE_STATISTICS))
    return {name: flat[:, column] for column, name in enumerate(GATE_STATISTICS)}


def _join(columns: Sequence[dict[str, NDArray[Any]]]) -> Table:
    """Put tables one below the other, ordered by guidance row, sample and step."""
    by = [name for name in ("branch", "sample", "step") if name in columns[0]]
    return stack_tables(columns, by)


def _label(
    gatings: Sequence[Gating], steps: Sequence[Step], branch: str, value: str
) -> dict[str, xr.DataArray]:
    """Return the arrays to draw for one query part; heads that a layer lacks are NaN."""
    import xarray as xr

    part, column = gatings[0].part, GATE_STATISTICS.index(value)
    attrs = {
        "title": f"gates of {part} queries",
        "value": value,
        "unit": UNITS[value],
        "branch": branch,
        "part": part,
    }
    by_head = [pool(pool(gating.values[0], 0), 0)[1:, column] for gating in gatings]
    table = np.full((len(gatings), max(map(len, by_head))), np.nan)
    for row, heads in zip(table, by_head, strict=True):
        row[: len(heads)] = heads
    curves = np.stack([pool(gating.values[0, :, :, 0], 0)[:, column] for gating in gatings])
    coords = {"layer": [gating.layer.index for gating in gatings]}
    axis = {
        "step": [step.index for step in steps],
        "noise": ("step", or_nan([step.noise for step in steps])),
    }
    return {
        f"heads {part}": xr.DataArray(table, coords, ("layer", "head"), attrs=attrs),
        f"steps {part}": xr.DataArray(curves, coords | axis, ("layer", "step"), attrs=attrs),
    }


def _digests(arrays: dict[str, xr.DataArray], names: Mapping[int, str]) -> dict[str, Digest]:
    """Return one trace's contribution to the summary page of a collection: gates by layer."""
    digests = {}
    for name, steps in arrays.items():
        if name.startswith("steps "):
            part, unit = steps.attrs["part"], steps.attrs["unit"]
            digests[f"5 gates {part}"] = Digest(
                {part: mean_present(steps.values, 1)},
                "layer",
                tuple(steps["layer"].values.tolist()),
                f"Gates of {part} queries, by layer",
                unit,
                names=names,
            )
    return digests
