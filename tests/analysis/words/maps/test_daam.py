"""The pooling `daam`."""

import numpy as np
import pytest

from attn.analysis.words.maps.daam import pool, resize
from attn.errors import AnalysisError
from tests.helpers.toy_traces import CROSS, cross_layer, make_trace, manifest, stored, tensors

BLOCK = "image.text"


def torch_resize(maps, grid):
    """Resize (…, row, column) as DAAM does."""
    import torch
    from torch.nn.functional import interpolate

    flat = torch.from_numpy(np.ascontiguousarray(maps.reshape(1, -1, *maps.shape[-2:])))
    resized = interpolate(flat, size=grid, mode="bicubic", align_corners=False)
    return resized.numpy().reshape(*maps.shape[:-2], *grid)


@pytest.mark.parametrize("grid", [(6, 10), (7, 11), (3, 5), (12, 5)])
def test_resize(grid):
    """Maps are resized as torch resizes them, whatever the ratio."""
    maps = np.random.default_rng(0).random((2, 3, 5, 4))
    expected = torch_resize(np.moveaxis(maps, -1, 1), grid)
    np.testing.assert_allclose(np.moveaxis(resize(maps, grid), -1, 1), expected, atol=1e-12)


def plain(about, files, measure, layers=CROSS):
    """Return DAAM's mean over layers and heads of clamped, resized maps: (sample, key, …)."""
    maps = []
    for layer in layers:
        heads = layer.num_heads
        steps = np.mean([stored(files, layer, measure, step) for step in range(3)], 0)
        steps = steps.reshape(2, -1, *layer.grid, steps.shape[-1])
        resized = torch_resize(np.moveaxis(steps, -1, 2), (6, 10)).clip(0)
        maps += list(np.moveaxis(resized, 1, 0)) * (heads // resized.shape[1])
    return np.mean(maps, 0)


@pytest.mark.parametrize(("level", "measure"), [("heads", "headmap"), ("maps", "map")])
def test_pool(level, measure):
    """Every layer and head counts once; without heads a layer's mean counts as often as it has."""
    about = manifest(level=level)
    files = tensors(about)
    result = pool(make_trace(about, files), BLOCK, CROSS, None, "cond")
    expected = plain(about, files, measure)
    np.testing.assert_allclose(np.moveaxis(result.values, -1, 1), expected, atol=1e-7)


def test_middle_block():
    """Layers of a UNet's middle block are left out; if nothing is left, that is said."""
    from dataclasses import replace

    middle = replace(cross_layer(5, (6, 10), 3), path="mid_block.attentions.0.attn2")
    about = manifest([*CROSS, middle])
    trace = make_trace(about)
    both, without = (pool(trace, BLOCK, layers, None, "cond") for layers in (about.layers, CROSS))
    np.testing.assert_array_equal(both.values, without.values)
    with pytest.raises(AnalysisError, match="leaves the middle block out"):
        pool(trace, BLOCK, [middle], None, "cond")


def test_steps():
    """Only the asked steps count."""
    about = manifest()
    files = tensors(about)
    result = pool(make_trace(about, files), BLOCK, CROSS[1:], [1], "cond")
    expected = stored(files, CROSS[1], "map", 1).reshape(2, 6, 10, -1)
    np.testing.assert_allclose(result.values, expected, atol=1e-12)
