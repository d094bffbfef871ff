"""What figures of who reads whom show, in a sentence made from the numbers that they draw.

Every function takes the array of one figure, of one sample. Means leave out what is unknown; what
is told is where attention is, not why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attn.analysis.numbers import mean_present

if TYPE_CHECKING:
    import xarray as xr

NOTHING = "Nothing of this kind was read"


def tell_flow(read: xr.DataArray) -> str:
    """Say what part of its attention a text gives to the prompt; `read` is (layer, step)."""
    by_layer = mean_present(read.values, 1)
    if not np.isfinite(by_layer).any():
        return NOTHING
    most, least = int(np.nanargmax(by_layer)), int(np.nanargmin(by_layer))
    layers = read["layer"].values
    mean = percent(float(np.nanmean(by_layer)))
    told = f"Step by step the text gives {mean} of its attention to the prompt"
    if most == least:
        return told
    return (
        f"{told}: {percent(by_layer[most])} in layer {layers[most]}, the most, "
        f"{percent(by_layer[least])} in layer {layers[least]}, the least"
    )


def tell_received(mass: xr.DataArray) -> str:
    """Say which token receives most; `mass` is (layer, position)."""
    means = mean_present(mass.values, 0)
    if not np.isfinite(means).any():
        return NOTHING
    at = int(np.nanargmax(means))
    total = percent(means[at])
    return (
        f"{_token(mass, at)} gets {total} of all attention, the most of {len(means)} tokens that "
        "are drawn"
    )


def tell_sinks(share: xr.DataArray) -> str:
    """Say which token is a sink most often; `share` of layers is (step, position)."""
    means = mean_present(share.values, 0)
    at = int(np.nanargmax(means))
    if not means[at] > 0:
        return "No token is a sink"
    count = int((means > 0).sum())
    return (
        f"{_token(share, at)} is a sink in {percent(means[at])} of layers and steps, the most of "
        f"{count} token{'s' if count > 1 else ''} that ever {'are' if count > 1 else 'is'}"
    )


def tell_patterns(patterns: xr.DataArray) -> str:
    """Say in which layers attention is narrowest and widest; (measure, layer, step)."""
    entropy = mean_present(patterns.sel(measure="entropy").values, 1)
    if not np.isfinite(entropy).any():
        return NOTHING
    layers = patterns["layer"].values
    narrow, wide = int(np.nanargmin(entropy)), int(np.nanargmax(entropy))
    told = f"Attention is narrowest in layer {layers[narrow]} (entropy {entropy[narrow]:.3g} nats)"
    if narrow == wide:
        return told
    return f"{told} and widest in layer {layers[wide]} ({entropy[wide]:.3g})"


def tell_blocks(matrices: xr.DataArray) -> str:
    """Say what a block reads of the prompt while it is written; (written, rows, keys)."""
    read = {
        int(block): float(matrices.sel(written=block, rows=f"block {block}", keys="prompt"))
        for block in matrices["written"].values
    }
    there = {block: value for block, value in read.items() if np.isfinite(value)}
    if not there:
        return NOTHING
    first, last = min(there), max(there)
    told = f"While it is written, block {first} gives {percent(there[first])} of its attention"
    rest = "" if first == last else f", and block {last} {percent(there[last])}"
    return f"{told} to the prompt{rest}"


def tell_similarity(similarity: xr.DataArray) -> str:
    """Say which layers read most and least alike; cosines, (layer, other)."""
    layers = similarity["layer"].values
    if len(layers) == 1:
        return f"Only layer {layers[0]} was looked at"
    rows, columns = np.triu_indices(len(layers), 1)
    values = similarity.values[rows, columns]
    told = [
        f"{how} alike read layers {layers[rows[at]]} and {layers[columns[at]]} ({values[at]:.3g})"
        for at, how in ((np.nanargmax(values), "Most"), (np.nanargmin(values), "least"))
    ]
    return ", ".join(told[: len(values)])


def tell_strongest(matrices: xr.DataArray, dim: str = "") -> str:
    """Say which token reads which other most; (…, query, key).

    Args:
        matrices: probabilities.
        dim: the other axis, if there is one: `layer` or `head`.
    """
    values = np.array(matrices.values, np.float64)
    own = np.arange(min(values.shape[-2:]))
    values[..., own, own] = np.nan
    if not np.isfinite(values).any():
        return NOTHING
    *which, query, key = map(int, np.unravel_index(int(np.nanargmax(values)), values.shape))
    of = matrices[tuple(which)] if which else matrices
    number = of[dim].item() if dim in matrices.coords else which[0] if which else ""
    where = f" in {dim} {number}" if dim else ""
    return (
        f"Strongest: {_token(of, query)} reads {_token(of, key)} with "
        f"{percent(values[(*which, query, key)])}{where}"
    )


def tell_states_of_layer(read: xr.DataArray) -> str:
    """Say what a layer's text reads of the prompt, first and last; (state, step)."""
    curve = read.sel(state="prompt").values
    known = curve[np.isfinite(curve)]
    if not len(known):
        return NOTHING
    return (
        f"From first to last step the text's attention to the prompt goes from "
        f"{percent(known[0])} to {percent(known[-1])}"
    )


def _token(array: xr.DataArray, at: int) -> str:
    """Return a token as it is read, with its position."""
    text = " ".join(str(array["token"].values[at]).split())
    return f"“{text}” at {at}" if text.isprintable() and text else f"the token at {at}"


def percent(part: float | np.floating[Any]) -> str:
    """Return a part in three digits, in %."""
    return f"{100 * float(part):.3g} %"
