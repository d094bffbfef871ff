"""Kinds of weight changes: what their tensors are called, their rank, their shape and their norm.

Sources: W + (alpha / rank) · up · down is LoRA (Hu et al. 2021, equation 3); the others are defined
by the LyCORIS library (Yeh et al. 2023), whose names of tensors these are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from attn.checkpoints.headers import TensorInfo
from attn.lora.changes.norms import (
    blocks_norm,
    hadamard_norm,
    product_norm,
    product_work,
    tucker_norm,
    unfold,
)
from attn.lora.changes.relative import RELATIVE, extent, glora_order
from attn.lora.changes.tensors import Parts, Stored, Values, flat

MAGNITUDES = ("magnitude", "dora_scale")
"""Of DoRA: peft's, one for each row of the weight; LyCORIS', for each row or each column."""

Infos = Mapping[str, TensorInfo]
Shape = tuple[int, ...]
Weight = tuple[Stored, ...]
"""A weight of the base model: tensors whose rows follow one another."""


class Misshapen(Exception):  # noqa: N818 - a fact about one module, which the report states
    """The tensors of a module do not belong together, or one is missing."""


@dataclass(frozen=True)
class Form:
    """What the shapes of a module's tensors say: `rank` and the `shape` of the change, if any."""

    rank: int | None = None
    shape: Shape | None = None


@dataclass(frozen=True)
class ChangeKind:
    """A kind of change.

    Attributes:
        title: as it is known.
        roles: every tensor that its formula reads; a module with another cannot be applied.
        form: checks the shapes; raises `Misshapen`.
        norm: of the unscaled change; None where it cannot be told without the base weight.
    """

    title: str
    roles: frozenset[str]
    form: Callable[[Infos], Form]
    norm: Callable[[Parts, Weight | None], float | None]


def kind_of(infos: Infos) -> str | None:
    """Return the name in `KINDS` of what these tensors are, or None for no change at all."""
    roles = infos.keys()
    if {"a1", "a2", "b1", "b2"} <= roles:
        return "glora"
    for role in ("oft_blocks", "oft_diag"):
        if role in roles:
            return "boft" if len(infos[role].shape) == 4 else "oft"  # noqa: PLR2004
    for name, marks in _MARKS.items():
        if any(role.startswith(marks) for role in roles):
            return name
    return None


_MARKS = {
    "lora": ("down", "up", "mid"),
    "loha": ("hada_",),
    "lokr": ("lokr_",),
    "ia3": ("on_input", "ia3_l"),
    "peft_oft": ("oft_R",),
    "peft_boft": ("boft_",),
    "full": ("diff",),
    "norm": ("w_norm", "b_norm"),
}


def require_beside(infos: Infos, form: Form) -> None:
    """Check what stands beside factors: one number for each row of the change.

    LyCORIS' magnitudes may be those of input channels, of which each may have several columns.

    Raises:
        Misshapen: names the tensor.
    """
    if form.shape is None:
        return
    rows, columns = form.shape[0], math.prod(form.shape[1:])
    for role in (role for role in (*MAGNITUDES, "bias", "diff_b") if role in infos):
        size = infos[role].elements
        is_of_columns = role == "dora_scale" and infos[role].shape[:1] != (rows,)
        if columns % size if is_of_columns else size != rows:
            shape = list(infos[role].shape)
            raise Misshapen(f"its {role} has shape {shape}; expected {rows} numbers")


def work_of(kind: str, infos: Infos, form: Form) -> int:
    """Return the multiplications that a norm takes, about or at most; 0 if it is only read.

    Args:
        kind: its name in `KINDS`.
        infos: the tensors by role.
        form: what `Kind.form` returned for them.
    """
    if form.rank is None or form.shape is None:
        return 0
    rows, columns = form.shape[0], math.prod(form.shape[1:])
    cores = [infos[role] for role in _CORES if role in infos]
    ranks = [size for core in cores for size in core.shape[:2]]
    ranks += [infos[role].shape[0] for role in _SECOND_FACTORS if role in infos]
    rank = max([form.rank, *ranks])
    if kind in _PRODUCTS:
        work = _PRODUCTS[kind] * rank * rows * columns
    else:
        work = product_work(rows, rank, columns)
    if cores:
        work += 2 * rank * (rank * (rows + columns) + sum(core.elements for core in cores))
    return work


_CORES = ("mid", "hada_t1", "hada_t2", "lokr_t1", "lokr_t2")
_SECOND_FACTORS = ("hada_w1_b", "hada_w2_b", "lokr_w1_b", "lokr_w2_b")
_PRODUCTS = {"loha": 2, "glora": 3}
"""Kinds of several products of the size of the change, and how many."""


def rows_of(weight: Weight) -> Iterable[Values]:
    """Yield a weight of the base model as a matrix, some rows at a time."""
    return chain.from_iterable(stored.rows() for stored in weight)


def _require(infos: Infos, roles: Iterable[str]) -> None:
    missing = [role for role in roles if role not in infos]
    if missing:
        there = " and ".join(sorted(infos.keys() - {"alpha", *MAGNITUDES}))
        raise Misshapen(f"has {there} without {' and '.join(missing)}")


def _equal(what: str, left: int, right: int) -> None:
    if left != right:
        raise Misshapen(f"its {what} differ: {left} and {right}")


def _matrix(infos: Infos, role: str) -> Shape:
    """Return the shape of a matrix or of a kernel, which has at least two axes."""
    shape = infos[role].shape
    if len(shape) < 2:  # noqa: PLR2004 - rows and columns
        raise Misshapen(f"its {role} has shape {list(shape)}; expected a matrix")
    return shape


def _lora_form(infos: Infos) -> Form:
    _require(infos, ("down", "up"))
    down, up = _matrix(infos, "down"), _matrix(infos, "up")
    if math.prod(up[2:]) != 1:
        raise Misshapen(f"its up has a kernel: shape {list(up)}")
    if "mid" not in infos:
        _equal("ranks, of down and up,", down[0], up[1])
        return Form(down[0], (up[0], *down[1:]))
    mid = _matrix(infos, "mid")
    if math.prod(down[2:]) != 1:
        raise Misshapen(f"its down has a kernel beside that of mid: shape {list(down)}")
    _equal("ranks, of mid and up,", mid[0], up[1])
    _equal("ranks, of down and mid,", down[0], mid[1])
    return Form(down[0], (up[0], down[1], *mid[2:]))


def _lora_norm(parts: Parts, base: Weight | None) -> float:
    down, up = flat(parts["down"].read()), flat(parts["up"].read())
    if "mid" in parts:
        return tucker_norm(up, _core(parts["mid"].read()), down)
    return product_norm(up, down)


def _loha_form(infos: Infos) -> Form:
    factors = [_factor_form(infos, f"hada_w{number}", f"hada_t{number}") for number in (1, 2)]
    if factors[0].shape != factors[1].shape:
        shapes = " and ".join(str(list(factor.shape or ())) for factor in factors)
        raise Misshapen(f"its two factors differ in shape: {shapes}")
    return factors[0]


def _loha_norm(parts: Parts, base: Weight | None) -> float:
    return hadamard_norm(*loha_factors(parts))


def loha_factors(parts: Parts) -> tuple[tuple[Values, Values], tuple[Values, Values]]:
    """Return the factors of both matrices whose product, place by place, is the change."""
    return _factors(parts, "hada_w1", "hada_t1"), _factors(parts, "hada_w2", "hada_t2")


def _lokr_form(infos: Infos) -> Form:
    (first, rank), (second, other) = (_kronecker(infos, number) for number in (1, 2))
    shape = (first[0] * second[0], first[1] * second[1], *second[2:])
    return Form(rank if rank is not None else other, shape)


def _kronecker(infos: Infos, number: int) -> tuple[Shape, int | None]:
    """Return the shape of one factor of a Kronecker product, and its rank unless it is whole."""
    name = f"lokr_w{number}"
    if name in infos:
        return _matrix(infos, name), None
    form = _factor_form(infos, name, f"lokr_t{number}")
    return form.shape or (), form.rank


def _lokr_norm(parts: Parts, base: Weight | None) -> float:
    return _kronecker_norm(parts, 1) * _kronecker_norm(parts, 2)


def _kronecker_norm(parts: Parts, number: int) -> float:
    """Return the norm of one factor: ‖A ⊗ B‖ = ‖A‖ ‖B‖."""
    name = f"lokr_w{number}"
    if name in parts:
        return blocks_norm(parts[name].rows())
    return product_norm(*_factors(parts, name, f"lokr_t{number}"))


def kronecker_factor(parts: Parts, number: int) -> Values:
    """Return one factor of a Kronecker product as a matrix."""
    name = f"lokr_w{number}"
    if name in parts:
        return flat(parts[name].read())
    left, right = _factors(parts, name, f"lokr_t{number}")
    return left @ right


def _factor_form(infos: Infos, name: str, core: str) -> Form:
    """Return the form of a · b, or with a core of aᵀ · core · b."""
    left, right = f"{name}_a", f"{name}_b"
    _require(infos, (left, right))
    a, b = _matrix(infos, left), _matrix(infos, right)
    if core not in infos:
        _equal(f"ranks, of {left} and {right},", a[1], b[0])
        return Form(b[0], (a[0], *b[1:]))
    middle = _matrix(infos, core)
    _equal(f"ranks, of {core} and {left},", middle[0], a[0])
    _equal(f"ranks, of {core} and {right},", middle[1], b[0])
    return Form(b[0], (a[1], b[1], *middle[2:]))


def _factors(parts: Parts, name: str, core: str) -> tuple[Values, Values]:
    left, right = flat(parts[f"{name}_a"].read()), flat(parts[f"{name}_b"].read())
    return unfold(left, _core(parts[core].read()), right) if core in parts else (left, right)


def _full_form(infos: Infos) -> Form:
    return Form(None, infos["diff"].shape if "diff" in infos else None)


def _norm_form(infos: Infos) -> Form:
    return Form(None, infos["w_norm"].shape if "w_norm" in infos else None)


def _stored_norm(role: str) -> Callable[[Parts, Weight | None], float]:
    """Return a function for changes that are stored as they are; without weight there is none."""

    def norm(parts: Parts, base: Weight | None) -> float:
        return blocks_norm(parts[role].rows()) if role in parts else 0.0

    return norm


def _ia3_form(infos: Infos) -> Form:
    if "ia3_l" not in infos:
        _require(infos, ("weight",))
    elif len(infos["ia3_l"].shape) != 2 or 1 not in infos["ia3_l"].shape:  # noqa: PLR2004
        shape = list(infos["ia3_l"].shape)
        raise Misshapen(f"its ia3_l has shape {shape}, which does not tell what it multiplies")
    return Form()


def _glora_form(infos: Infos) -> Form:
    shapes = {role: _matrix(infos, role) for role in ("a1", "a2", "b1", "b2")}
    order = glora_order(shapes)
    if order is None:
        raise Misshapen("its ranks, of a1, a2, b1 and b2, differ")
    first, second, left, right = (shapes[role] for role in order)
    _equal("ranks, of both halves,", first[1], left[1])
    _equal("input channels, of both halves,", first[0], right[1])
    _equal("columns, of both halves,", math.prod(second[1:]), first[0])
    return Form(left[1], (left[0], *right[1:]))


def _oft_form(infos: Infos) -> Form:
    role = "oft_blocks" if "oft_blocks" in infos else "oft_diag"
    shape = infos[role].shape
    if len(shape) not in {3, 4} or shape[-1] != shape[-2]:
        raise Misshapen(f"its {role} has shape {list(shape)}; expected square blocks")
    is_butterfly = len(shape) == 4  # noqa: PLR2004
    if is_butterfly and (shape[-1] % 2 or shape[1] % 2 ** (shape[0] - 1)):
        raise Misshapen(f"its {role} has shape {list(shape)}, whose stages mix no whole blocks")
    rows = shape[-3] * shape[-2]
    if "rescale" in infos:
        _equal("rows, of rescale and blocks,", infos["rescale"].elements, rows)
    return Form()


def _relative_norm(kind: str) -> Callable[[Parts, Weight | None], float | None]:
    """Return a function for changes that depend on the weight; without it only 0 and NaN show."""

    def norm(parts: Parts, base: Weight | None) -> float | None:
        if base is not None:
            return blocks_norm([RELATIVE[kind](parts, matrix_of(base))])
        size = extent(kind, parts)
        return None if math.isfinite(size) and size else size

    return norm


def matrix_of(weight: Weight) -> Values:
    """Return a weight of the base model as a matrix."""
    return np.concatenate(list(rows_of(weight)))


def _unread_form(infos: Infos) -> Form:
    return Form()


def _unread_norm(parts: Parts, base: Weight | None) -> None:
    """Return nothing: the kind is not computed."""


def _core(values: Values) -> Values:
    return values.reshape(*values.shape[:2], -1)


def _factor_roles(kind: str) -> tuple[str, ...]:
    sides = [f"{kind}_w{number}_{side}" for number in "12" for side in "ab"]
    return (*sides, f"{kind}_t1", f"{kind}_t2")


def _kind(
    title: str,
    roles: Iterable[str],
    form: Callable[[Infos], Form],
    norm: Callable[[Parts, Weight | None], float | None],
) -> ChangeKind:
    return ChangeKind(title, frozenset((*roles, "alpha")), form, norm)


_BESIDE = (*MAGNITUDES, "diff_b")  # a change of the bias may stand beside any factors
_ROTATION = ("oft_blocks", "oft_diag", "rescale")
KINDS = {
    "lora": _kind("LoRA", ("down", "up", "mid", "bias", *_BESIDE), _lora_form, _lora_norm),
    "loha": _kind("LoHa", (*_factor_roles("hada"), *_BESIDE), _loha_form, _loha_norm),
    "lokr": _kind(
        "LoKr",
        (*_factor_roles("lokr"), "lokr_w1", "lokr_w2", *_BESIDE),
        _lokr_form,
        _lokr_norm,
    ),
    "ia3": _kind("(IA)³", ("weight", "on_input", "ia3_l"), _ia3_form, _relative_norm("ia3")),
    "glora": _kind("GLoRA", ("a1", "a2", "b1", "b2"), _glora_form, _relative_norm("glora")),
    "full": _kind("full difference", ("diff", "diff_b"), _full_form, _stored_norm("diff")),
    "norm": _kind(
        "difference of a norm layer", ("w_norm", "b_norm"), _norm_form, _stored_norm("w_norm")
    ),
    "oft": _kind("OFT", _ROTATION, _oft_form, _relative_norm("oft")),
    "boft": _kind("BOFT", _ROTATION, _oft_form, _relative_norm("boft")),
    "peft_oft": _kind("peft's OFT", ("oft_R",), _unread_form, _unread_norm),
    "peft_boft": _kind("peft's BOFT", ("boft_R", "boft_s"), _unread_form, _unread_norm),
}
