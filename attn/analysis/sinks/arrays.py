"""What the pictures of `sinks` show: of the first guidance row, means over samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.result import Table
from attn.analysis.sinks.tables import Token
from attn.analysis.words.word_sums import mean_present
from attn.schema import Step

if TYPE_CHECKING:
    import xarray as xr

UNITS = {
    "mass": "attention probability",
    "text_share": "part of the text's attention",
    "ratio_to_uniform": "ratio to an even share of the text's attention",
}


def label_token(
    tokens: Sequence[Token], steps: Sequence[Step], value: str
) -> dict[str, xr.DataArray]:
    """Return `heads`, (layer, head), mean over steps, and `steps`, (layer, step), over heads.

    Layers with fewer heads than others have NaN for those that they lack.
    """
    import xarray as xr

    key = next(iter(tokens[0].keys.values()))
    branch = next(iter(tokens[0].keys))
    name = f"{key.token} ({key.segment} {key.role}, position {key.position})"
    attrs = {
        "value": value,
        "unit": UNITS[value],
        "branch": branch,
        "token": name,
        "title": name,
    }
    values = [token.with_mean()[value][0] for token in tokens]  # sample, step, head
    layers = [token.layer for token in tokens]
    heads = [mean_present(mean_present(one, 0), 0)[1:] for one in values]
    table = np.full((len(layers), max(map(len, heads))), np.nan)
    for row, own in zip(table, heads, strict=True):
        row[: len(own)] = own
    curves = np.stack([mean_present(one[:, :, 0], 0) for one in values])
    coords = {"layer": layers}
    noise = [np.nan if step.noise is None else step.noise for step in steps]
    axis = {"step": [step.index for step in steps], "noise": ("step", noise)}
    return {
        "heads": xr.DataArray(table, coords, ("layer", "head"), attrs=attrs),
        "steps": xr.DataArray(curves, coords | axis, ("layer", "step"), attrs=attrs),
    }


def label_roles(table: Table) -> xr.DataArray:
    """Return what each role receives from the picture's rows: (role, layer)."""
    import xarray as xr

    columns = table.columns
    branch = columns["branch"][0]
    chosen = (columns["branch"] == branch) & (columns["rows"] == "image")
    pairs = zip(columns["segment"], columns["role"], strict=True)
    names = np.array([one if one == role else f"{one} {role}" for one, role in pairs], object)
    roles, layers = (list(dict.fromkeys(one[chosen].tolist())) for one in (names, columns["layer"]))
    values = np.full((len(roles), len(layers)), np.nan)
    for row, role in enumerate(roles):
        for place, layer in enumerate(layers):
            own = columns["mass"][chosen & (names == role) & (columns["layer"] == layer)]
            if own.size:
                values[row, place] = float(mean_present(own, 0))
    attrs = {"unit": UNITS["mass"], "branch": branch}
    return xr.DataArray(values, {"role": roles, "layer": layers}, ("role", "layer"), attrs=attrs)


def summarise(arrays: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Return what the summary page of a collection shows of one trace."""
    import xarray as xr

    roles = arrays["roles"]
    title = "What the picture attends to, by layer"
    masses = roles.rename(role="series").assign_attrs(title=title, absent=0.0)
    digests = {"3 roles by layer": masses}
    if "steps" not in arrays:
        return digests
    steps = arrays["steps"]
    digests["4 token by step"] = xr.DataArray(
        mean_present(steps.values, axis=0)[np.newaxis],
        {"series": [steps.attrs["token"]], "step": steps["step"], "noise": steps["noise"]},
        ("series", "step"),
        attrs={"title": "The followed token, by step", "unit": steps.attrs["unit"]},
    )
    return digests
