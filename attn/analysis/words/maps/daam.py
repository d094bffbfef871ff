"""The pooling `daam`: one map per token as DAAM makes it, from maps of many layers and heads.

For a token k, with the pairs P of layer l and head h in all but a UNet's middle block:

    G[k] = 1/|P| Σ_{(l, h) in P} max(0, resize(1/S Σ_{s < S} probs[s, l, h, :, k]))

where `resize` is bicubic to the finest grid of these layers. A layer counts as often as it has
heads. The map of a word is the mean over its tokens.

Source: DAAM 0.2.0 (Tang et al. 2023, https://arxiv.org/abs/2210.04885; `trace.py`, `utils.py`).
Unlike there, steps are averaged instead of added, so G is DAAM's divided by the number of steps,
and equal words are kept apart. Its grid is square; here rows and columns are what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.analysis.numbers import Numbers
from attn.errors import AnalysisError
from attn.schema import Layer
from attn.shapes import AnyKeyMaps, HeadMaps
from attn.trace.means import MeanMaps, image_views

if TYPE_CHECKING:
    from attn.trace.measures.views import MeasureView
    from attn.trace.trace import Trace

A = -0.75
"""The free parameter of the cubic in torch, hence in DAAM; Keys' own, and PIL's, is -0.5."""

MIDDLE = "mid_block"


def pool(
    trace: Trace, block: str, layers: Sequence[Layer], steps: Sequence[int] | None, branch: str
) -> MeanMaps:
    """Return DAAM's map of every token; one layer is in memory at a time.

    Where single heads were kept they are clamped; else their mean is, counted as often as there
    are heads.

    Args:
        trace: with head maps, maps, or the means of maps over steps.
        block: whose queries are one image.
        layers: which ones; those of the middle block are left out.
        steps: indices; None is every step.
        branch: guidance row.

    Raises:
        AnalysisError: no layer is left.
        TraceError: there are no maps, or the layers are not to be averaged.
    """
    selected = [layer for layer in layers if not layer.path.startswith(MIDDLE)]
    if not selected:
        raise AnalysisError("pooling daam leaves the middle block out, and no other layer is asked")
    is_exact = trace.manifest.kept.level == "heads"
    name = "headmap" if is_exact else "map"
    views = image_views(trace, block, selected, name)
    grid = max((view.grid or (1, 1) for view in views), key=lambda sizes: sizes[0] * sizes[1])
    total = np.zeros(())
    ran: list[Layer] = []
    for view in views:
        maps = head_means(view, steps, trace.branches.index(branch))
        if maps is not None:
            weight = 1 if is_exact else view.layer.num_heads
            total = total + weight * resize(maps, grid).clip(0).sum(1)
            ran.append(view.layer)
    if not ran:
        raise AnalysisError("none of the asked layers ran in the asked steps")
    pairs = sum(layer.num_heads for layer in ran)
    indices = tuple(layer.index for layer in ran)
    return MeanMaps(total / pairs, views[0].columns, indices)


def resize(maps: AnyKeyMaps, grid: tuple[int, int]) -> Numbers:
    """Resize maps by bicubic interpolation, as torch does without aligned corners.

    Args:
        maps: (…, row, column, key).
        grid: rows and columns of the result.
    """
    rows, columns = (_cubic(old, new) for old, new in zip(maps.shape[-3:-1], grid, strict=True))
    return np.asarray(np.einsum("ir,jc,...rck->...ijk", rows, columns, maps, optimize=True))


def _cubic(old: int, new: int) -> Numbers:
    """Return (new, old): how each new place is made of the old ones; rows sum to 1."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.zeros((new, old))
    for tap in range(-1, 3):
        positions = np.floor(centres).astype(int) + tap
        near = np.clip(positions, 0, old - 1)
        np.add.at(weights, (np.arange(new), near), _kernel(np.abs(centres - positions)))
    return weights


def _kernel(distance: Numbers) -> Numbers:
    """Return the cubic convolution kernel (Keys 1981) at distances of 0 to 2 places."""
    inner = ((A + 2) * distance - (A + 3)) * distance**2 + 1
    outer = ((distance - 5) * distance + 8) * A * distance - 4 * A
    return np.where(distance <= 1, inner, outer)


def head_means(view: MeasureView, steps: Sequence[int] | None, branch: int) -> HeadMaps | None:
    """Return (sample, head, row, column, key), the mean over the steps in which the layer ran."""
    total: NDArray[np.float64] | None = None
    count = 0
    for lead in view.leads(steps):
        size = len(view.sizes) - len(lead) - 1
        piece = view.read((*lead, branch, *[slice(None)] * size)).astype(np.float64)
        if not np.isnan(piece).any():
            total = piece if total is None else total + piece
            count += 1
    if total is None:
        return None
    mean = total / count
    return mean if view.name == "headmap" else mean[:, np.newaxis]
