"""How alike layers are: the cosine of their maps.

similarity(a, b) = Σ A_a · A_b / (|A_a| |A_b|), over all rows and keys, with A the mean over heads
and steps of each layer; 1 for the same map, 0 where nothing overlaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.numbers import Numbers
from attn.analysis.result import Result
from attn.analysis.texts.texts import NEEDS_MAPS, MapMean, TextOptions, choose, lay_out, read_maps

if TYPE_CHECKING:
    from attn.trace.trace import Trace

NEEDS = NEEDS_MAPS
Options = TextOptions


def run(trace: Trace, options: TextOptions) -> Result:
    """Compare all layers with each other.

    Returns:
        `similarity/similarity.csv`; the array `similarity`, (sample, layer, other).

    Raises:
        AnalysisError: a layer, step or branch is not there.
    """
    import xarray as xr

    choice, samples = choose(trace, options), trace.manifest.samples
    mean = MapMean((len(choice.layers), samples, choice.length, choice.length))
    for _, layer, maps in read_maps(trace, choice):
        mean.add(layer, maps)
    means = np.nan_to_num(mean.values())
    similarities = np.stack([cosines(means[:, sample]) for sample in range(samples)])
    layers = [layer.index for layer in choice.layers]
    axes = {"sample": range(samples), "layer": layers, "other": layers}
    array = xr.DataArray(
        similarities, {"layer": layers, "other": layers}, ("sample", "layer", "other")
    )
    return Result(
        {"similarity/similarity.csv": lay_out(axes, {"similarity": similarities})},
        {"similarity": array},
    )


def cosines(maps: Numbers) -> Numbers:
    """Return the cosine of every two of some maps, (map, map).

    Args:
        maps: (map, …), none of them 0 throughout.
    """
    flat = maps.reshape(len(maps), -1)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)
