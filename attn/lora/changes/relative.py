"""Changes that depend on the weight that is changed: (IA)³, GLoRA, OFT and BOFT.

All arrays are float64. A weight is a matrix: its rows, and columns with the kernel's positions.
"""

from __future__ import annotations

import numpy as np

from attn.lora.changes.tensors import Parts, Values, flat

Sides = tuple[int | None, int | None]
"""Rows and input channels that a weight must have; None for any number."""


def sides_of(kind: str, parts: Parts) -> Sides:
    """Return the size of the weight that tensors belong to, where they have no shape of their own.

    Args:
        kind: its name in `attn.lora.changes.kinds.KINDS`.
        parts: tensors by role, of shapes that were checked.
    """
    if kind == "ia3":
        size = _vector(parts).size
        return (None, size) if _is_on_input(parts) else (size, None)
    if kind in {"oft", "boft"}:
        blocks, size, _ = _blocks(parts).shape[-3:]
        return blocks * size, None
    return None, None


def ia3(parts: Parts, weight: Values) -> Values:
    """Return the change by a vector v of rows, or of input channels.

    W ∘ v as LyCORIS stores v, and W ∘ (v - 1) as peft does.
    """
    factors = ia3_factors(parts)
    if _is_on_input(parts):
        channels = weight.reshape(len(weight), factors.size, -1) * factors[:, None]
        return channels.reshape(weight.shape)
    return weight * factors[:, None]


def ia3_bias(parts: Parts, bias: Values) -> Values | None:
    """Return the change of a bias, of which peft multiplies that of rows with the rows."""
    is_multiplied = "ia3_l" in parts and not _is_on_input(parts)
    return bias * ia3_factors(parts) if is_multiplied else None


def ia3_factors(parts: Parts) -> Values:
    """Return what the weight is multiplied by to make its change."""
    vector = _vector(parts)
    return vector - 1 if "ia3_l" in parts else vector


def glora_order(shapes: dict[str, tuple[int, ...]]) -> tuple[str, str, str, str] | None:
    """Return the roles so that the change is W · (first · second) + left · right.

    Early files have the factors of each half the other way round; the shapes tell. None where
    they do not fit together.
    """
    a1, a2, b1, b2 = (shapes[role] for role in ("a1", "a2", "b1", "b2"))
    if a1[0] == a2[1] == b1[0] == b2[1]:
        return "a2", "a1", "b2", "b1"
    if a1[1] == a2[0] == b1[1] == b2[0]:
        return "a1", "a2", "b1", "b2"
    return None


def glora(parts: Parts, weight: Values) -> Values:
    """Return W · a · b + c · d, the first product over input channels."""
    order = glora_order({role: stored.info.shape for role, stored in parts.items()})
    first, second, left, right = (flat(parts[role].read()) for role in order or ())
    channels = weight.reshape(len(weight), len(first), -1)
    seen = np.einsum("oik,ij,jl->olk", channels, first, second, optimize=True)
    changed: Values = seen.reshape(weight.shape) + left @ right
    return changed


def oft(parts: Parts, weight: Values) -> Values:
    """Return r ∘ (Rᵀ W) - W, R of blocks along the diagonal.

    Source: `diag_oft` of LyCORIS and `networks/oft.py` of sd-scripts.
    """
    rotation = _rotation(parts)
    blocks = weight.reshape(*rotation.shape[:2], -1)
    turned = np.einsum("knm,knc->kmc", rotation, blocks)
    return _rescaled(parts, turned.reshape(weight.shape)) - weight


def boft(parts: Parts, weight: Values) -> Values:
    """Return r ∘ (R_m … R_1 W) - W, stage i turning rows that are 2^i apart among themselves.

    Source: `boft` of LyCORIS.
    """
    stages = _rotation(parts)
    columns, block = weight.shape[1], stages.shape[-1]
    turned = weight
    for index, rotation in enumerate(stages):
        apart = 2**index * (block // 2)
        sorted_rows = turned.reshape(-1, 2, apart, columns).swapaxes(1, 2)
        blocks = sorted_rows.reshape(-1, block, columns)
        mixed = np.einsum("bij,bjc->bic", rotation, blocks)
        turned = mixed.reshape(-1, apart, 2, columns).swapaxes(1, 2).reshape(weight.shape)
    return _rescaled(parts, turned) - weight


def extent(kind: str, parts: Parts) -> float:
    """Return the size of the factors: 0 where nothing is changed, NaN where they are not finite."""
    match kind:
        case "ia3":
            terms = [ia3_factors(parts)]
        case "glora":
            order = glora_order({role: stored.info.shape for role, stored in parts.items()})
            norms = [float(np.linalg.norm(parts[role].read())) for role in order or ()]
            return norms[0] * norms[1] + norms[2] * norms[3]
        case _:
            rotation = _rotation(parts)
            rescale = parts["rescale"].read() if "rescale" in parts else np.ones(1)
            terms = [rotation - np.eye(rotation.shape[-1]), rescale - 1]
    return float(sum(np.linalg.norm(term) for term in terms))


def _vector(parts: Parts) -> Values:
    return parts["ia3_l" if "ia3_l" in parts else "weight"].read().reshape(-1)


def _is_on_input(parts: Parts) -> bool:
    """Whether (IA)³ multiplies input channels; peft's shape tells, (1, n) or (n, 1)."""
    if "ia3_l" in parts:
        return parts["ia3_l"].info.shape[0] == 1
    return bool(parts["on_input"].read().any())


def _blocks(parts: Parts) -> Values:
    return parts["oft_blocks" if "oft_blocks" in parts else "oft_diag"].read()


def _rotation(parts: Parts) -> Values:
    """Return rotations by Cayley's transform, (I + Q)(I - Q)⁻¹ with Q = B - Bᵀ.

    The norm of all Q of a module is at most alpha times the rows, unless alpha is 0. Early files
    hold the rotations themselves (`oft_diag`).
    """
    blocks = _blocks(parts)
    if "oft_blocks" not in parts:
        return blocks
    skew = blocks - blocks.swapaxes(-1, -2)
    rows = blocks.shape[-3] * blocks.shape[-2]
    most = float(parts["alpha"].read().reshape(-1)[0]) * rows if "alpha" in parts else 0.0
    norm = float(np.linalg.norm(skew)) + 1e-8
    if 0 < most < norm:
        skew *= most / norm
    identity = np.eye(blocks.shape[-1])
    rotation: Values = (identity + skew) @ np.linalg.inv(identity - skew)
    return rotation


def _rescaled(parts: Parts, rows: Values) -> Values:
    return rows * parts["rescale"].read().reshape(-1, 1) if "rescale" in parts else rows


RELATIVE = {"ia3": ia3, "glora": glora, "oft": oft, "boft": boft}
"""The unscaled change of each kind, of its tensors and the weight."""
