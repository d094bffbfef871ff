"""Changes of weights written out, for the kinds that models are drawn with.

All arrays are float64 and flat matrices: rows of the weight, columns with the kernel's positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from attn.lora.changes.kinds import MAGNITUDES, kronecker_factor, loha_factors
from attn.lora.changes.relative import RELATIVE, ia3_bias
from attn.lora.changes.tensors import Parts, Values, flat


@dataclass(frozen=True)
class Strength:
    """What the numbers of a module are multiplied by.

    Attributes:
        scale: of the product of its factors; alpha / rank mostly.
        multiplier: of all that the module changes.
    """

    scale: float
    multiplier: float


def weight_delta(kind: str, parts: Parts, strength: Strength, weight: Values) -> Values | None:
    """Return the change of a weight, (rows, columns); None if there is none.

    Args:
        kind: one of `DELTAS`.
        parts: tensors of the module by role.
        strength: of the module.
        weight: the base's, which DoRA and the kinds of `attn.lora.changes.relative` read.
    """
    plain = DELTAS[kind](parts, weight)
    if plain is None:
        return None
    if "magnitude" in parts:
        change = strength.multiplier * strength.scale * plain
        return _decomposed(weight, change, parts["magnitude"].read().reshape(-1, 1))
    if "dora_scale" in parts:
        change = strength.scale * plain
        return strength.multiplier * _decomposed(weight, change, parts["dora_scale"].read())
    return strength.multiplier * strength.scale * plain


def bias_delta(parts: Parts, strength: Strength, bias: Values | None) -> Values | None:
    """Return the change of a bias, (rows,); None if there is none.

    `bias` belongs to the second factor and is scaled with it; the others are differences, but for
    those of (IA)³.

    Args:
        parts: tensors of the module by role.
        strength: of the module.
        bias: the base's; None where it has none.
    """
    if "ia3_l" in parts:
        change = None if bias is None else ia3_bias(parts, bias)
        return None if change is None else strength.multiplier * change
    scales = {"bias": strength.scale * strength.multiplier}
    scales |= dict.fromkeys(("diff_b", "b_norm"), strength.multiplier)
    terms = [
        scale * parts[role].read().reshape(-1) for role, scale in scales.items() if role in parts
    ]
    return np.sum(terms, 0) if terms else None


def is_written_out(kind: str, roles: Iterable[str]) -> bool:
    """Whether a change of a weight is more than two factors beside it."""
    return kind != "lora" or not {*MAGNITUDES, "mid"}.isdisjoint(roles)


def _decomposed(weight: Values, change: Values, magnitude: Values) -> Values:
    """Return m · V / ‖V‖ - W with V = W + ΔW, by row, or by input channel where m is of those.

    Source: equation 5 of DoRA (Liu et al. 2024), as peft and LyCORIS compute it.
    """
    rows, columns = weight.shape
    is_by_row = len(magnitude) == rows
    moved = (weight + change).reshape(rows, columns if is_by_row else magnitude.size, -1)
    axes = (1, 2) if is_by_row else (0, 2)
    norms = np.sqrt(np.sum(moved * moved, axes, keepdims=True))
    sizes = magnitude.reshape(norms.shape)
    factors = np.divide(sizes, norms, out=np.zeros_like(norms), where=norms != 0)
    decomposed: Values = (factors * moved).reshape(rows, columns)
    return decomposed - weight


def _lora(parts: Parts, weight: Values) -> Values:
    down, up = (flat(parts[role].read()) for role in ("down", "up"))
    if "mid" not in parts:
        return up @ down
    mid = parts["mid"].read()
    core = mid.reshape(*mid.shape[:2], -1)
    return flat(np.einsum("pi,ijk,jq->pqk", up, core, down, optimize=True))


def _loha(parts: Parts, weight: Values) -> Values:
    (left, right), (other_left, other_right) = loha_factors(parts)
    return (left @ right) * (other_left @ other_right)


def _lokr(parts: Parts, weight: Values) -> Values:
    product = np.kron(kronecker_factor(parts, 1), kronecker_factor(parts, 2))
    return product.astype(np.float64, copy=False)


def _stored(role: str) -> Callable[[Parts, Values], Values | None]:
    """Return a function for differences that are stored as they are; of a bias alone it is None."""
    return lambda parts, weight: flat(parts[role].read()) if role in parts else None


DELTAS: dict[str, Callable[[Parts, Values], Values | None]] = {
    "lora": _lora,
    "loha": _loha,
    "lokr": _lokr,
    "full": _stored("diff"),
    "norm": _stored("w_norm"),
    **RELATIVE,
}
"""The unscaled change of each kind that is applied."""
