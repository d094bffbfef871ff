"""The texts of `evolution`: what was asked for, and the numbers that one reads first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.tables import Table
from attn.trace.store import written_at
from attn.wording import percent

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

LISTED = 10
"""Tokens in the text; the table has all."""


def describe(trace: Trace) -> str:
    """Describe the request, one line per setting."""
    manifest = trace.manifest
    request = manifest.request
    facts: dict[str, object] = {
        "date": _date(trace),
        "prompt": request.prompt,
        "negative": request.negative,
        "seed": request.seed,
        "steps": request.steps,
        "guidance": request.guidance,
        "size": f"{request.width}x{request.height}",
        "scheduler": request.scheduler,
        "backend": manifest.backend,
        "model": manifest.model.get("source"),
        **{f"option {name}": value for name, value in request.options.items()},
    }
    told = ((name, value) for name, value in facts.items() if value not in (None, ""))
    return "".join(f"{name}: {value}\n" for name, value in told)


def _date(trace: Trace) -> str:
    """Return when the trace was finished, as the gallery does; nothing in memory."""
    return "" if trace.folder is None else f"{written_at(trace.folder):%Y-%m-%d %H:%M} UTC"


def summarise(arrays: Mapping[str, xr.DataArray], tokens: Table) -> str:
    """Return the numbers that one reads first, sample by sample."""
    samples = arrays["maps"].sizes["sample"]
    attrs = arrays["maps"].attrs
    lines = [f"word followed: {attrs['word']}, its tokens in {' + '.join(attrs['segments'])}"]
    for sample in range(samples):
        of_sample = {name: array.isel(sample=sample) for name, array in arrays.items()}
        lines += ["", *([f"sample {sample}", ""] if samples > 1 else [])]
        lines += [*_list_steps(of_sample["maps"], of_sample["correlation"]), ""]
        lines += _list_tokens(tokens, sample)
        if "balance" in of_sample:
            lines += ["", "attention to each segment, mean over layers and steps:"]
            shares = of_sample["balance"].mean(["layer", "step"])
            lines += [
                f"  {name}: {percent(float(shares.sel(segment=name)))}" for name in _names(shares)
            ]
    return "\n".join(lines) + "\n"


def _list_steps(maps: xr.DataArray, correlation: xr.DataArray) -> list[str]:
    """Return a line for every step: how large the map is, and how much like others."""
    lines = ["step  noise    mean      max       r(last)  r(before)"]
    for index, step in enumerate(maps["step"].values):
        step_map = maps.values[index]
        last, before = correlation.values[:, index]
        lines.append(
            f"{step:>4}  {_percent(float(maps['noise'][index])):>6}  {step_map.mean():<8.3g}  "
            f"{step_map.max():<8.3g}  {_number(last):>7}  {_number(before):>9}"
        )
    return lines


def _list_tokens(tokens: Table, sample: int) -> list[str]:
    """Return a line for each of the most active tokens of a sample."""
    lines = [
        "most active tokens (largest part of the text's attention, mean over layers and steps):"
    ]
    columns = [tokens[name] for name in ("token", "segment", "word", "share_max", "mass")]
    for row in np.flatnonzero(tokens["sample"] == sample)[:LISTED]:
        token, segment, word, largest, mass = (column[row] for column in columns)
        told = f" of '{word}'" if word else ""
        lines.append(f"  {token}{told} ({segment}): share_max {largest:.3g}, mass {mass:.3g}")
    return lines


def _names(shares: xr.DataArray) -> Sequence[str]:
    return [str(name) for name in shares["segment"].values]


def _percent(noise: float) -> str:
    return "-" if np.isnan(noise) else percent(noise)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"
