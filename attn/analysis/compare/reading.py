"""One pass over a trace: how much each term is attended to, and where.

Every shard is opened once, and what is left of a trace is small: sums over the tokens of terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.compare.terms import Term
from attn.analysis.needs import find_lack
from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.words.maps import daam
from attn.analysis.words.selection import BLOCK
from attn.analysis.words.shards import read_sums
from attn.analysis.words.words import WANTS
from attn.choices import Pooling
from attn.shapes import GridMaps, WordMaps
from attn.trace.grids import resample_values
from attn.trace.means import MapSums
from attn.trace.words.sums import lay_out, sum_tokens

if TYPE_CHECKING:
    from attn.schema import Plane
    from attn.trace.trace import Trace


@dataclass(frozen=True)
class SideSelection:
    """Selection of what to read of a trace.

    Attributes:
        branch: guidance row.
        layers: indices.
        steps: indices; None is every step.
        terms: what is looked at.
        pooling: how one map is made of many.
        maps: whether there are to be maps.
    """

    branch: str
    layers: tuple[int, ...]
    steps: tuple[int, ...] | None
    terms: tuple[Term, ...]
    pooling: Pooling = "mean"
    maps: bool = True


@dataclass(frozen=True)
class SideReading:
    """What a trace says of terms. NaN stands for what was not computed or does not exist.

    Attributes:
        terms: the terms.
        mass: (sample, term, layer, head): mean over steps; head 0 is the mean over heads, single
            heads follow. Probability, 0 to 1.
        mass_steps: (sample, term, step): mean over layers and heads.
        share: (sample, term, layer): mean over steps; 0 to 1.
        share_steps: (sample, term, step): mean over layers.
        maps: (sample, term, row, column) on the finest grid, or None; NaN for sinks. Probability.
        lack: what is missing where there are no maps, and what would bring it.
    """

    terms: tuple[Term, ...]
    mass: Numbers
    mass_steps: Numbers
    share: Numbers
    share_steps: Numbers
    maps: WordMaps | None
    lack: str = ""


def read(trace: Trace, selection: SideSelection) -> SideReading:
    """Read what was selected, shard by shard.

    There are no maps where the trace has none, or only their mean over other steps than asked.

    Raises:
        TraceError: a shard is damaged.
    """
    groups = [term.tokens for term in selection.terms]
    maps, lack = _find_maps(trace, selection)
    pooled = maps if selection.pooling == "mean" else None
    steps = selection.steps or tuple(step.index for step in trace.steps)
    sums = read_sums(
        trace, selection.layers, steps, selection.branch, groups, heads=True, maps=pooled
    )
    heads = max(layer.mass.shape[2] for layer in sums)
    shape = (len(sums), len(steps), trace.manifest.samples, len(groups), heads)
    mass, share = np.full(shape, np.nan), np.stack([layer.share for layer in sums])
    for row, layer in zip(mass, sums, strict=True):
        row[..., : layer.mass.shape[2]] = layer.mass.swapaxes(2, 3)
    word_maps = None if maps is None else _pool(trace, selection, maps)
    return SideReading(
        selection.terms,
        _in_order(mean_present(mass, 1)),
        _in_order(mean_present(mass[..., 0], 0)),
        _in_order(mean_present(share, 1)),
        _in_order(mean_present(share, 0)),
        None if word_maps is None else np.ascontiguousarray(word_maps),
        "maps without gaps" if maps is not None and word_maps is None else lack,
    )


def _in_order(means: Numbers) -> Numbers:
    """Return means as (sample, term, …), in C order.

    That is how a file gives them back, and the order decides the last bits of sums.
    """
    return np.ascontiguousarray(np.moveaxis(means, 0, 2))


def _find_maps(trace: Trace, selection: SideSelection) -> tuple[MapSums | None, str]:
    """Return sums to add maps to, or None and the reason why there are no maps."""
    lack = str(find_lack(WANTS, trace.manifest) or "")
    if lack or not selection.maps:
        return None, lack
    views = [trace.pieces("map", at, BLOCK, lay_out=True) for at in selection.layers]
    if not all(view.grid and view.columns == views[0].columns for view in views):
        return None, "maps of the same tokens in all layers"
    if not views[0].is_stepwise and selection.steps is not None:
        return (
            None,
            "maps of single steps, of which only the mean was kept; capture with --keep maps",
        )
    return MapSums(views, trace.branches.index(selection.branch)), ""


def _pool(trace: Trace, selection: SideSelection, maps: MapSums) -> WordMaps | None:
    """Return (sample, term, row, column), or None where no layer ran; NaN for other terms."""
    columns = maps.views[0].columns
    members = lay_out(columns, [term.tokens for term in selection.terms])
    if selection.pooling == "daam":
        layers = [view.layer for view in maps.views]
        values = daam.pool(trace, BLOCK, layers, selection.steps, selection.branch).values
        means = sum_tokens(values, members) / np.maximum(members.sum(0), 1)
        return np.asarray(np.moveaxis(means, -1, 1))
    if not maps.views[0].is_stepwise:
        maps.add(())
    return np.moveaxis(sum_tokens(maps.mean(), members), -1, 1) if maps.layers else None


def regrid(maps: GridMaps, grid: Plane) -> Numbers:
    """Lay maps (…, row, column) out on another grid, by area."""
    return resample_values(maps, grid).astype(np.float64)
