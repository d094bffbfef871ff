"""How strongly a ControlNet acts, as the histories of a trace have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.tables import Table, make_table
from attn.analysis.words.curves import step_axis
from attn.analysis.words.selection import Selection
from attn.errors import TraceError
from attn.files.outside import DAMAGED, decode, decode_reason

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace


@dataclass(frozen=True)
class _Residuals:
    """How strongly a ControlNet acted: by guidance row, then by step and block."""

    blocks: tuple[str, ...]
    strength: dict[str, tuple[tuple[float, ...], ...]]


@dataclass(frozen=True)
class _History:
    """What is read of `outputs/history.json`."""

    residuals: _Residuals | None = None


def read_residuals(trace: Trace, selection: Selection) -> xr.DataArray | None:
    """Return the strength of a ControlNet's residuals as the trace's histories have it."""
    import xarray as xr

    names = [name for name in trace.manifest.outputs if "/history" in name]
    residuals = [
        residual
        for residual in (_history(trace, name).residuals for name in names)
        if residual is not None
    ]
    if not residuals or selection.branch not in residuals[0].strength:
        return None
    indices = [step.index for step in trace.steps]
    shape = (len(residuals), len(indices), len(residuals[0].blocks))
    try:
        strength = np.array(
            [residual.strength[selection.branch] for residual in residuals], np.float64
        )
        of_steps = strength.reshape(shape)[:, [indices.index(step) for step in selection.steps]]
    except (KeyError, ValueError) as exc:
        raise TraceError(
            f"the histories of {trace.folder} do not tell {shape[2]} residuals at each of "
            f"{shape[1]} steps"
        ) from exc
    return xr.DataArray(
        np.swapaxes(of_steps, 1, 2),
        {"series": list(residuals[0].blocks), **step_axis(trace, selection.steps)},
        ("sample", "series", "step"),
        attrs={"branch": selection.branch},
    )


def _history(trace: Trace, name: str) -> _History:
    try:
        return decode(trace.output(name), _History)
    except DAMAGED as exc:
        reason = decode_reason(exc)
        raise TraceError(f"could not read {name} of {trace.folder}: {reason}") from exc


def tabulate_residuals(residuals: xr.DataArray) -> Table:
    """Tabulate (sample, series, step) by block, sample and step."""
    sample, block, step = np.indices(residuals.shape).reshape(3, -1)
    return make_table(
        {
            "block": residuals["series"].values.astype(object)[block],
            "sample": sample,
            "branch": np.full(sample.size, residuals.attrs["branch"], object),
            "step": residuals["step"].values[step],
            "noise": residuals["noise"].values[step],
            "strength": residuals.values.ravel(),
        }
    )
