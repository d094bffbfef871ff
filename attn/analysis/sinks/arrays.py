"""What the pictures of `sinks` show: of the first guidance row, means over samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.digest import Digest
from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.sinks.roles import SPELLED
from attn.analysis.sinks.tables import FollowedToken
from attn.analysis.tables import Table
from attn.schema import Step

if TYPE_CHECKING:
    import xarray as xr

UNITS = {
    "mass": "attention probability",
    "text_share": "part of the text's attention",
    "ratio_to_uniform": "ratio to an even share of the text's attention",
}


def name_token(tokens: Sequence[FollowedToken]) -> str:
    """Return a display name for the followed token."""
    key = next(iter(tokens[0].keys.values()))
    return f"{key.token} ({key.segment} {SPELLED[key.role]}, position {key.position})"


def label_heads(tokens: Sequence[FollowedToken], value: str) -> xr.DataArray:
    """Return (layer, head), mean over steps.

    Layers with fewer heads than others have NaN for those that they lack.
    """
    import xarray as xr

    values = [token.with_mean()[value][0] for token in tokens]  # sample, step, head
    heads = [mean_present(mean_present(value, 0), 0)[1:] for value in values]
    table = np.full((len(tokens), max(map(len, heads))), np.nan)
    for row, means in zip(table, heads, strict=True):
        row[: len(means)] = means
    coords = {"layer": [token.layer for token in tokens]}
    return xr.DataArray(table, coords, ("layer", "head"), attrs=_attributes(tokens, value))


def label_steps(tokens: Sequence[FollowedToken], steps: Sequence[Step], value: str) -> xr.DataArray:
    """Return (layer, step), mean over heads."""
    import xarray as xr

    coords = {
        "layer": [token.layer for token in tokens],
        "step": [step.index for step in steps],
        "noise": ("step", _noise(steps)),
    }
    attrs = _attributes(tokens, value)
    return xr.DataArray(_curves(tokens, value), coords, ("layer", "step"), attrs=attrs)


def label_roles(table: Table) -> xr.DataArray:
    """Return the mass that each role receives from image queries: (role, layer)."""
    import xarray as xr

    masses, layers = _masses(table)
    attrs = {"unit": UNITS["mass"], "branch": table["branch"][0]}
    coords = {"role": list(masses), "layer": layers}
    values = np.array(list(masses.values())).reshape(len(masses), len(layers))
    return xr.DataArray(values, coords, ("role", "layer"), attrs=attrs)


def summarise(
    table: Table,
    tokens: Sequence[FollowedToken],
    steps: Sequence[Step],
    value: str,
    names: Mapping[int, str],
) -> dict[str, Digest]:
    """Return one trace's contribution to the summary page of a collection.

    Args:
        table: of roles.
        tokens: the followed token in every layer, if it is followed.
        steps: that were looked at.
        value: which of the token's values.
        names: of layers, by index.
    """
    masses, layers = _masses(table)
    about = tuple(layers), "What the image attends to, by layer", UNITS["mass"]
    digests = {"3 roles by layer": Digest(masses, "layer", *about, absent=0.0, names=names)}
    if tokens:
        digests["4 token by step"] = Digest(
            {name_token(tokens): mean_present(_curves(tokens, value), axis=0)},
            "step",
            tuple(step.index for step in steps),
            "The followed token, by step",
            UNITS[value],
            tuple(_noise(steps)),
        )
    return digests


def _attributes(tokens: Sequence[FollowedToken], value: str) -> dict[str, str]:
    name, branch = name_token(tokens), next(iter(tokens[0].keys))
    return {"value": value, "unit": UNITS[value], "branch": branch, "token": name, "title": name}


def _noise(steps: Sequence[Step]) -> list[float]:
    return [np.nan if step.noise is None else step.noise for step in steps]


def _curves(tokens: Sequence[FollowedToken], value: str) -> Numbers:
    """Return (layer, step) of the followed token, mean over samples and heads."""
    values = [token.with_mean()[value][0] for token in tokens]  # sample, step, head
    return np.stack([mean_present(value[:, :, 0], 0) for value in values])


def _masses(table: Table) -> tuple[dict[str, Numbers], list[int]]:
    """Return the mass that each role receives from image queries, (layer,), and the layers."""
    is_counted = (table["branch"] == table["branch"][0]) & (table["rows"] == "image")
    rows = {name: column[is_counted] for name, column in table.items()}
    pairs = zip(rows["segment"], rows["role"], strict=True)
    names = [
        SPELLED[role] if segment == role else f"{segment} {SPELLED[role]}"
        for segment, role in pairs
    ]
    layers = rows["layer"].tolist()
    indices = {layer: index for index, layer in enumerate(dict.fromkeys(layers))}
    groups: dict[tuple[str, int], list[float]] = {}
    for *key, mass in zip(names, layers, rows["mass"].tolist(), strict=True):
        groups.setdefault((key[0], key[1]), []).append(mass)
    masses = {name: np.full(len(indices), np.nan) for name in dict.fromkeys(names)}
    for (name, layer), values in groups.items():
        masses[name][indices[layer]] = mean_present(np.array(values), 0)
    return masses, list(indices)
