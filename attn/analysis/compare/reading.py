"""One pass over a trace: how much each term is attended to, and where.

Every shard is opened once, and what is left of a trace is small: sums over the tokens of terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from attn.analysis.compare.terms import Term, lay_out
from attn.analysis.needs import find_lack
from attn.analysis.words import daam
from attn.analysis.words.selection import BLOCK
from attn.analysis.words.word_sums import Numbers, mean_present
from attn.analysis.words.words import WANTS
from attn.trace.trace import resample

if TYPE_CHECKING:
    from attn.schema import Column, Grid
    from attn.trace.trace import Trace
    from attn.trace.views import View

Pooling = Literal["mean", "daam"]


@dataclass(frozen=True)
class Selection:
    """What of a trace is read.

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
class Reading:
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
    maps: Numbers | None
    lack: str = ""


def read(trace: Trace, chosen: Selection) -> Reading:
    """Read what was selected, shard by shard.

    There are no maps where the trace has none, or only their mean over other steps than asked.

    Raises:
        TraceError: a shard is damaged.
    """
    masses, shares = (
        [trace.view(name, layer, BLOCK) for layer in chosen.layers] for name in ("mass", "share")
    )
    places = [lay_out(view.columns, chosen.terms) for view in masses]
    maps = _MapSums(trace, chosen)
    branch = trace.branches.index(chosen.branch)
    indices = [step.index for step in trace.steps]
    steps = [indices.index(step) for step in chosen.steps or indices]
    heads = max(view.layer.num_heads for view in masses)
    shape = (len(steps), len(masses), trace.manifest.samples, len(chosen.terms))
    mass, share = np.full((*shape, 1 + heads), np.nan), np.full(shape, np.nan)
    for row, step in enumerate(steps):
        for column, place in enumerate(places):
            per_head = _piece(masses[column], step, branch) @ place
            mass[row, column, :, :, 0] = per_head.mean(1)
            mass[row, column, :, :, 1 : 1 + per_head.shape[1]] = per_head.swapaxes(1, 2)
            share[row, column] = _piece(shares[column], step, branch) @ place
        maps.add(step)
    return Reading(
        chosen.terms,
        np.moveaxis(mean_present(mass, 0), 0, 2),
        np.moveaxis(mean_present(mass[..., 0], 1), 0, 2),
        np.moveaxis(mean_present(share, 0), 0, 2),
        np.moveaxis(mean_present(share, 1), 0, 2),
        maps.of_terms(),
        maps.lack,
    )


class _MapSums:
    """Adds up the maps of layers and steps, grid by grid."""

    def __init__(self, trace: Trace, chosen: Selection) -> None:
        self._trace, self._chosen = trace, chosen
        self._branch = trace.branches.index(chosen.branch)
        self._views: list[View] = []
        self._sums: dict[Grid, Numbers] = {}
        self._count = 0
        self.lack = str(find_lack(WANTS, trace.manifest) or "")
        if chosen.maps and not self.lack:
            views = [trace.view("map", at, BLOCK, lay_out=True) for at in chosen.layers]
            if not all(view.grid and view.columns == views[0].columns for view in views):
                self.lack = "maps of the same tokens in all layers"
            elif not views[0].is_stepwise and chosen.steps is not None:
                lacking = "maps of single steps, of which only the mean was kept"
                self.lack = f"{lacking}; capture with --keep maps"
            else:
                self._views = views

    def add(self, step: int) -> None:
        """Add the maps of one step, where there are such."""
        if self._views and self._views[0].is_stepwise and self._chosen.pooling == "mean":
            self._add((step,))

    def of_terms(self) -> Numbers | None:
        """Return (sample, term, row, column), or None without maps."""
        if not self._views:
            return None
        if self._chosen.pooling == "daam":
            layers = [view.layer for view in self._views]
            pooled = daam.pool(self._trace, BLOCK, layers, self._chosen.steps, self._chosen.branch)
            return self._lay_out(pooled.values, pooled.columns, mean=True)
        if not self._views[0].is_stepwise:
            self._add(())
        if not self._count:
            self.lack = "maps without gaps"
            return None
        finest = max(self._sums, key=lambda sizes: sizes[0] * sizes[1])
        moved = (np.moveaxis(maps, -1, 1) for maps in self._sums.values())
        total = np.sum([regrid(maps, finest) for maps in moved], axis=0)
        mean = np.asarray(np.moveaxis(total / self._count, 1, -1))
        return self._lay_out(mean, self._views[0].columns)

    def _add(self, lead: tuple[int, ...]) -> None:
        for view in self._views:
            piece = view.read((*lead, self._branch, *[slice(None)] * 4))
            if view.grid and not np.isnan(piece).any():
                total = self._sums.setdefault(view.grid, np.zeros(piece.shape))
                total += piece
                self._count += 1

    def _lay_out(
        self, maps: Numbers, columns: tuple[Column, ...], *, mean: bool = False
    ) -> Numbers:
        """Sum or average keys over the tokens of each term; NaN for terms without columns."""
        places = lay_out(columns, self._chosen.terms)
        known = places.any(0)
        weights = places / np.maximum(places.sum(0), 1) if mean else places
        return np.moveaxis(np.where(known, maps @ weights, np.nan), -1, 1)


def _piece(view: View, step: int, branch: int) -> Numbers:
    """Return one step of a measure in float64: (sample, …, key)."""
    rest = [slice(None)] * (len(view.sizes) - 2)
    return np.asarray(view.read((step, branch, *rest)), np.float64)


def regrid(maps: Numbers, grid: Grid) -> Numbers:
    """Lay maps (…, row, column) out on another grid, by area."""
    import xarray as xr

    axes = [f"axis {axis}" for axis in range(maps.ndim - 2)]
    labelled = xr.DataArray(maps, dims=(*axes, "row", "column"))
    return np.asarray(resample(labelled, grid).values, np.float64)
