"""See the attention kernels that really run, and get their log-sum-exp.

The operators are internal to torch and change between releases: arguments are bound by the names
in the operator's own schema, and what a kernel hands out is checked before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from attn.engine.attention import HIDDEN, Attention
from attn.engine.open_softmax import OpenSoftmaxes
from attn.errors import CaptureError
from attn.trace.measures.exact import UNIFORM_BELOW

_aten = torch.ops.aten


def _operators(*names: str) -> frozenset[OpOverload]:
    pairs = (name.partition(".")[::2] for name in names)
    return frozenset(
        getattr(getattr(_aten, name), overload or "default")
        for name, overload in pairs
        if hasattr(_aten, name)
    )


FUSED = _operators(
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
SOFTMAX = _operators("_softmax", "_safe_softmax")
DROPOUT = _operators("native_dropout", "bernoulli_.float")
COMPOSITE = _operators(
    "scaled_dot_product_attention", "_scaled_dot_product_attention_math", "softmax.int"
)
"""Reached undecomposed by inference tensors; its parts are what we need to see."""

COMPOSITE_PRODUCTS = _operators("matmul", "einsum")
"""The same of what multiplies values; looked into only where a softmax waits for them."""

ELSEWHERE = frozenset({"flash_attn", "flash_attn_2", "flash_attn_3", "sageattention", "xformers"})
"""Namespaces of other libraries' operators of attention."""
_EXACT = {"none", "ieee"}
_others: dict[int, Any] = {}
"""Operators that have nothing to do with attention, by identity: a hash is slow."""

DROPS = "attention dropout is active; call .eval() on the model first"

LSE_TOLERANCE = 1e-3
"""Largest believable difference of a kernel's log-sum-exp from our own, absolute."""

Report = dict[str, Any]
Result = TypeVar("Result")
Seen = TypeVar("Seen")


def raise_it(error: Exception) -> None:
    """Raise an error where it happened."""
    raise error


def is_other(func: Any) -> bool:
    """Whether an operator has nothing to do with attention."""
    if id(func) in _others:
        return True
    is_unrelated = (
        not isinstance(func, torch._ops.HigherOrderOperator)
        and func not in FUSED | SOFTMAX | DROPOUT | COMPOSITE
        and func.namespace not in ELSEWHERE
    )
    if is_unrelated:
        _others[id(func)] = func
    return is_unrelated


class OperatorMode(TorchDispatchMode):
    """Take every operator that runs under this mode, composite ones by their parts."""

    supports_higher_order_operators = True

    @property
    def is_waiting(self) -> bool:
        """Whether what was seen waits for another operator."""
        return False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Go without torch's guard against compiling the mode itself, at each operator.

        It loads the compiler, and nothing is compiled while a mode runs; see `hooks.Uncompiled`.
        """
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if self.passes(func):
            return func(*args, **kwargs or {})
        if self.divides(func):
            with self:
                return func.decompose(*args, **kwargs or {})
        return self.run(func, args, dict(kwargs or {}))

    def passes(self, func: Any) -> bool:
        """Whether an operator runs as if there was no mode."""
        return False

    def divides(self, func: Any) -> bool:
        """Whether the parts of an operator are taken in its place."""
        return func in COMPOSITE

    def run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return what an operator returns."""
        raise NotImplementedError


class KernelMode(OperatorMode):
    """Hand every attention kernel that runs under this mode to `see`, and change nothing.

    `report` has one entry for each kind of call: which kernel, whether its output was compared
    with the plain call (`output`), and whose log-sum-exp is used (`lse`).

    Args:
        see: takes each kernel call as it happens, a softmax in the open as it multiplies values.
        refuse: takes the error of what cannot be observed exactly; if it returns, the model goes
            on.
        axes: asked at every softmax for the letters of its axes, see `open_softmax.AXES`.
    """

    def __init__(
        self,
        see: Callable[[Attention], None],
        refuse: Callable[[Exception], None] = raise_it,
        axes: Callable[[], str | None] = lambda: None,
    ) -> None:
        super().__init__()
        self._see = partial(exactly, see)
        self._refuse = refuse
        self._axes = axes
        self._softmaxes = OpenSoftmaxes()
        self.report: dict[tuple[Any, ...], Report] = {}

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let code be compiled, and compiled code run, as if nobody looked."""
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether a softmax waits for the values that it multiplies."""
        return bool(self._softmaxes)

    def forget(self) -> None:
        """Let go of softmaxes that multiplied no values: their module has ended."""
        self._softmaxes.clear()

    def passes(self, func: Any) -> bool:
        """Whether it has nothing to do with attention, and no softmax waits for values."""
        return is_other(func) and not self._softmaxes

    def divides(self, func: Any) -> bool:
        """Whether it is composite, or a product that a softmax may wait for."""
        return super().divides(func) or (bool(self._softmaxes) and func in COMPOSITE_PRODUCTS)

    def run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return what an operator returns, and look at it."""
        if func in FUSED:
            return self._fused(func, args, kwargs)
        if isinstance(func, torch._ops.HigherOrderOperator):
            self._refuse(
                CaptureError(
                    f"{func.name()} runs in place of an attention kernel and hides its numbers; "
                    "use the model's default attention (torch's scaled_dot_product_attention)"
                )
            )
        elif func.namespace in ELSEWHERE:
            self._refuse(CaptureError(_elsewhere(func)))
        if func in DROPOUT and _drops(func, args, kwargs):
            self._refuse(CaptureError(DROPS))
        result = func(*args, **kwargs)
        if func in SOFTMAX:
            self._guarded(self._softmaxes.add, func, args, result, self._axes())
        elif self._softmaxes:
            attention = self._guarded(self._softmaxes.follow, func, args, result)
            if attention is not None:
                self._see(attention)
        return result

    def _guarded(self, function: Callable[..., Result], *args: Any) -> Result | None:
        """Look at what the model does; no error of that is the model's."""
        try:
            return function(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever observes decides
            self._refuse(error)
            return None

    def _fused(self, func: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        plain = bind(func, args, kwargs)
        if plain.get("dropout_p"):
            self._refuse(CaptureError(DROPS))
            return run(func, plain)
        used = plain | ({"compute_log_sumexp": True} if "compute_log_sumexp" in plain else {})
        result = run(func, used)
        seen = self._guarded(self._checked, func, plain, used, result)
        if seen is None:
            return run(func, plain)
        attention, kind = seen
        if self.report[kind]["output"] == "differs with log-sum-exp":
            result = run(func, plain)
        self._see(attention)
        return result

    def _checked(
        self, func: OpOverload, plain: dict[str, Any], used: dict[str, Any], result: Any
    ) -> tuple[Attention, tuple[Any, ...]]:
        """Return what a kernel computed, and the kind of call that it was checked as."""
        seen = _attention(func, used, result)
        kind = (
            func,
            seen.device.type,
            plain["query"].dtype,
            plain["query"].shape,
            plain["key"].shape,
            seen.mask is None,
            seen.causal,
        )
        if kind not in self.report:
            with _disable_current_modes():  # another tap around this one counts kernels too
                self.report[kind] = _check(func, plain, result, seen)
        if self.report[kind]["lse"] == "recomputed":
            seen = replace(seen, lse=seen.log_sum_exp())
        return seen, kind


def exactly(function: Callable[[Seen], None], seen: Seen) -> None:
    """Let a function multiply float32 in float32, where the user allows the model less (TF32)."""
    settings: Any = torch.backends
    backends = settings.cuda.matmul, settings.mkldnn.matmul
    before = [backend.fp32_precision for backend in backends]
    if {settings.fp32_precision, *before} <= _EXACT:
        return function(seen)
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        function(seen)
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _elsewhere(func: OpOverload) -> str:
    return (
        f"{func} is attention of another library, which hides its numbers; use torch's "
        "scaled_dot_product_attention (in transformers, attn_implementation='sdpa')"
    )


@cache  # torch makes these objects anew whenever they are read
def _defaults(func: OpOverload) -> dict[str, Any]:
    """Return the arguments of an operator in order, with what they are unless they are given."""
    return {argument.name: argument.default_value for argument in func._schema.arguments}


@cache
def _sides(func: OpOverload) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the arguments of an operator that have a place, and those that only have a name."""
    schema = func._schema.arguments
    placed, named = (
        [part.name for part in schema if part.kwarg_only is only] for only in (False, True)
    )
    return tuple(placed), tuple(named)


def bind(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Name every argument of an operator call, defaults included."""
    defaults = _defaults(func)
    return {**defaults, **dict(zip(defaults, args, strict=False)), **kwargs}


def _drops(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    bound = bind(func, args, kwargs)
    return bool(bound.get("train", True)) and 0 < float(bound["p"]) < 1


def run(func: OpOverload, bound: Mapping[str, Any]) -> Any:
    """Call an operator with all its arguments, by their names."""
    placed, named = _sides(func)
    return func(*(bound[name] for name in placed), **{name: bound[name] for name in named})


def _attention(func: OpOverload, bound: Mapping[str, Any], result: Sequence[Tensor]) -> Attention:
    query, scale = bound["query"], bound["scale"]
    mask = bound.get("attn_mask", bound.get("attn_bias"))
    # efficient attention pads the row axis, cuDNN adds a last axis of one
    lse = result[1].reshape(query.shape[0], query.shape[1], -1)[..., : query.shape[2]]
    causal = bool(bound["is_causal"])
    return Attention(
        query=query.detach(),
        key=bound["key"].detach(),
        lse=lse.detach().float(),
        mask=None if mask is None else mask.detach(),
        scale=query.shape[-1] ** -0.5 if scale is None else scale,
        causal=causal,
        open_probs=None,
        kernel=func._schema.name,
        value=bound["value"].detach(),
        valid=None if mask is None else rows_with_keys(mask.detach(), query, causal=causal),
        output=result[0].detach(),
    )


def rows_with_keys(mask: Tensor, query: Tensor, *, causal: bool) -> Tensor | None:
    """Return which rows have an allowed key, (batch, 1 or head, query); None if all have."""
    mask = mask.reshape((1,) * (4 - mask.ndim) + tuple(mask.shape))
    shown = mask if mask.dtype == torch.bool else mask > HIDDEN
    if causal:
        shown = shown.expand(-1, -1, query.shape[2], -1).tril()
    valid = shown.any(-1)
    if bool(valid.all()):
        return None
    return valid.expand(query.shape[0], -1, query.shape[2])


def _check(
    func: OpOverload, plain: Mapping[str, Any], result: Sequence[Tensor], seen: Attention
) -> Report:
    """Compare one call with the plain kernel, and its log-sum-exp with our own on a few rows."""
    same = _same_bits(run(func, plain)[0], result[0])
    lacks_sum = "compute_log_sumexp" in plain and not plain["compute_log_sumexp"]
    believed = same and _believable(seen)
    return {
        "kernel": func._schema.name,
        "device": seen.device.type,
        "dtype": str(plain["query"].dtype).removeprefix("torch."),
        "query": list(plain["query"].shape),
        "key": list(plain["key"].shape),
        "output": "identical"
        if same
        else "differs with log-sum-exp"
        if lacks_sum
        else "not repeatable",
        "lse": "kernel" if believed else "recomputed",
    }


def _same_bits(left: Tensor, right: Tensor) -> bool:
    same_size = {2: torch.int16, 4: torch.int32, 8: torch.int64}[left.element_size()]
    return torch.equal(left.view(same_size), right.view(same_size))


def _believable(seen: Attention) -> bool:
    query, _, lse = seen.factors()
    some = sorted({0, query.shape[2] // 2, query.shape[2] - 1})
    computed = _slab(seen, some).log_sum_exp()
    theirs = lse[:1, :, some]
    finite = computed > UNIFORM_BELOW
    return bool(
        (
            (computed - theirs).abs()[finite] <= LSE_TOLERANCE * computed.abs()[finite].clamp(min=1)
        ).all()
    )


def _slab(seen: Attention, queries: list[int]) -> Attention:
    """Keep the first batch row and some queries; a causal mask becomes an additive one."""
    query, key, lse = seen.factors()
    mask = seen.mask
    if mask is not None:
        mask = mask.expand(seen.shape)[:1, :, queries]
    if seen.causal:
        hidden = torch.zeros(1, 1, len(queries), key.shape[2], device=query.device)
        for index, position in enumerate(queries):
            hidden[..., index, position + 1 :] = -torch.inf
        mask = hidden if mask is None else mask + hidden
    return Attention(
        query[:1, :, queries],
        key[:1],
        lse[:1, :, queries],
        mask,
        seen.scale,
        False,
        None,
        seen.kernel,
    )
