"""One pass over the shards of a trace, which leaves the sums over the tokens of words.

Every shard is opened once; one tensor of one layer and step is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.numbers import Numbers
from attn.analysis.words.selection import BLOCK
from attn.trace.words.sums import TokenPosition, lay_out, sum_tokens

if TYPE_CHECKING:
    from attn.schema import Column
    from attn.trace.means import MapSums
    from attn.trace.measures.views import MeasureView
    from attn.trace.trace import Trace


@dataclass(frozen=True)
class LayerSums:
    """What groups of tokens receive in one layer; NaN for groups without tokens there.

    Attributes:
        columns: the layer's text keys.
        mass: (step, sample, head, group), mean over queries; probability, 0 to 1. Head 0 is the
            mean over heads; single heads may follow.
        share: (step, sample, group), part of the attention to text; 0 to 1.
    """

    columns: tuple[Column, ...]
    mass: Numbers
    share: Numbers


def read_sums(
    trace: Trace,
    layers: Sequence[int],
    steps: Sequence[int],
    branch: str,
    groups: Sequence[Collection[TokenPosition]],
    *,
    heads: bool = False,
    maps: MapSums | None = None,
) -> list[LayerSums]:
    """Read masses and shares of layers, shard by shard.

    Args:
        trace: where to look.
        layers: indices.
        steps: indices.
        branch: guidance row.
        groups: the tokens that are added up.
        heads: keep single heads too.
        maps: what the same steps' maps are added to, if there are such.

    Raises:
        TraceError: a shard is damaged.
    """
    masses, shares = (
        [trace.pieces(name, layer, BLOCK) for layer in layers] for name in ("mass", "share")
    )
    for view in (*masses, *shares):
        view.require_fit()
    members = {columns: lay_out(columns, groups) for columns in {view.columns for view in masses}}
    row = trace.branches.index(branch)
    readers = [
        (_reader(mass, row), _reader(share, row), members[mass.columns])
        for mass, share in zip(masses, shares, strict=True)
    ]
    sums: list[list[tuple[Numbers, Numbers]]] = [[] for _ in layers]
    for lead in masses[0].leads(steps):
        for layer, (read_mass, read_share, laid) in zip(sums, readers, strict=True):
            single = sum_tokens(read_mass(lead), laid)
            mean = single.mean(axis=1, keepdims=True)
            every = np.concatenate([mean, single], axis=1) if heads else mean
            layer.append((every, sum_tokens(read_share(lead), laid)))
        if maps is not None and maps.views[0].is_stepwise:
            maps.add(lead)
    return [
        LayerSums(view.columns, *(np.stack(steps) for steps in zip(*layer, strict=True)))
        for view, layer in zip(masses, sums, strict=True)
    ]


def _reader(view: MeasureView, row: int) -> Callable[[tuple[int, ...]], Numbers]:
    """Return what reads one step of a measure: (sample, …, key)."""
    rest = [slice(None)] * (len(view.sizes) - view.is_stepwise - 1)
    read = view.reader((row, *rest))
    return lambda lead: np.asarray(read(lead), np.float64)
