"""Frobenius norms of weight changes, from their factors; the change itself is never formed.

All arrays are float64. What is not finite gives NaN; the rest is exact up to rounding:
the error is below 1e-7 of the product of the factors' norms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from attn.lora.changes.tensors import CHUNK, Values, square


def product_norm(up: Values, down: Values) -> float:
    """Return ‖up · down‖ as sqrt(tr((upᵀ up)(down downᵀ))).

    Args:
        up: (rows, rank).
        down: (rank, columns).
    """
    rows, rank, columns = *up.shape, down.shape[1]
    if rows * columns < rank * (rows + columns):  # forming the change takes less
        return blocks_norm(up[part] @ down for part in _slices(rows, columns))
    return _root(float(np.vdot(up.T @ up, down @ down.T)))


def product_work(rows: int, rank: int, columns: int) -> int:
    """Estimate the number of multiplications of `product_norm`."""
    return rank * min(rank * (rows + columns), rows * columns)


def tucker_norm(up: Values, core: Values, down: Values) -> float:
    """Return the norm of Σ_ij up[p, i] core[i, j, k] down[j, q] over p, q and k.

    Args:
        up: (rows, i).
        core: (i, j, positions of the kernel).
        down: (j, columns).
    """
    left = np.einsum("ab,bjk->ajk", up.T @ up, core, optimize=True)
    right = np.einsum("ijk,jl->ilk", core, down @ down.T, optimize=True)
    return _root(np.sum(left * right))


def hadamard_norm(first: tuple[Values, Values], second: tuple[Values, Values]) -> float:
    """Return ‖(a₁ b₁) ∘ (a₂ b₂)‖, some rows at a time.

    Args:
        first: a₁ (rows, rank) and b₁ (rank, columns).
        second: a₂ and b₂; their rank may be another.
    """
    (left, right), (other_left, other_right) = first, second
    return blocks_norm(
        (left[rows] @ right) * (other_left[rows] @ other_right)
        for rows in _slices(len(left), right.shape[1])
    )


def blocks_norm(blocks: Iterable[Values]) -> float:
    """Return the norm of a tensor that comes in parts."""
    return _root(sum(square(block) for block in blocks))


def unfold(up: Values, core: Values, down: Values) -> tuple[Values, Values]:
    """Return the two factors of a Tucker product: its rows, and core and columns in one.

    Args:
        up: (i, rows), the axes as LyCORIS stores them for LoHa and LoKr.
        core: (i, j, positions of the kernel).
        down: (j, columns).
    """
    joined = np.einsum("ijk,jq->iqk", core, down, optimize=True)
    return up.T, joined.reshape(len(joined), -1)


def _slices(rows: int, columns: int) -> Iterable[slice]:
    step = max(CHUNK // columns, 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def _root(total: float) -> float:
    """Return the square root of a sum of squares; rounding may have made it negative."""
    number = float(total)
    return math.sqrt(max(number, 0.0)) if math.isfinite(number) else math.nan
