"""Refuse, before time is spent, models whose attention cannot be captured exactly."""

from __future__ import annotations

import sys
from collections.abc import Set
from functools import cache

import torch
from torch import nn

from attn.engine.walks import walk_modules
from attn.errors import CaptureError

ELSEWHERE = ("flash", "flex", "paged", "/")
"""Parts of the names of transformers' attention that is not torch's; `/` is a hub's kernel."""
SEEN = frozenset({"native", "_native_cudnn", "_native_efficient", "_native_flash", "_native_math"})
"""Attention backends of diffusers that are torch's own kernels, on CPUs and GPUs."""

_COMPILED = "_compiled_call_impl"
_FAST = "fast path"
_HOOKED = "_hf_hook"
_SHARED = (
    "several processes share it (tensor or context parallelism), and each sees its own part of "
    "the attention; load it in one process, over several GPUs with device_map"
)
_WITH_FAST_PATH = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


def refuse_unobservable(model: nn.Module, name: str) -> None:
    """Raise if a model runs its attention where hooks see nothing or see something else.

    Raises:
        CaptureError: compiled, sliced, sent to another attention library, shared by several
            processes, or offloaded layer by layer on the CPU without a `device_map`; with the call
            that undoes it.
    """
    is_mapped = getattr(model, "hf_device_map", None) is not None
    telling = _OBSTACLES.keys() - ({_HOOKED} if is_mapped else set())
    for path, module in walk_modules(model):
        obstacle = _obstacle(module, telling)
        if obstacle is not None:
            where = f"{name}.{path}" if path else name
            raise CaptureError(f"cannot capture {where}: {obstacle}")


def refuse_weightless(model: nn.Module) -> None:
    """Raise if a model was opened to plan only, without its weights.

    Weights that accelerate keeps elsewhere, and fetches for each module when it runs, are there.

    Raises:
        CaptureError: says so.
    """
    for _, module in walk_modules(model):
        weights = module._parameters.values()
        is_empty = any(weight is not None and weight.is_meta for weight in weights)
        if is_empty and not _fetching(module):
            raise CaptureError("this session was opened without weights; it can plan, not generate")


def _fetching(module: nn.Module) -> list[object]:
    """Return the hooks of accelerate that fetch a module's weights when it runs."""
    hook = getattr(module, "_hf_hook", None)
    return [each for each in getattr(hook, "hooks", (hook,)) if getattr(each, "offload", False)]


def _obstacle(module: nn.Module, telling: Set[str]) -> str | None:
    if any(hasattr(weight, "device_mesh") for weight in module._parameters.values()):
        return _SHARED
    parts = module._modules.keys()
    names = telling & (vars(module).keys() | parts | _of_class(type(module)))  # type: ignore[arg-type]
    if not names:
        return None
    told = (tell(module) for name, tell in _OBSTACLES.items() if name in names)
    return next(filter(None, told), None)


@cache
def _of_class(kind: type) -> frozenset[str]:
    """Return which names of `_OBSTACLES` all modules of a class have."""
    names = {name for name in _OBSTACLES if hasattr(kind, name)} - {_COMPILED, "forward"}
    return frozenset(names | ({_FAST} if issubclass(kind, _WITH_FAST_PATH) else set()))


def _compiled(module: nn.Module) -> str | None:
    if vars(module).get(_COMPILED) is None and "_orig_mod" not in module._modules:
        return None
    return (
        "it is compiled, and compiled code runs past every hook; load the model without "
        "torch.compile, or pass the module that was compiled (`model._orig_mod`)"
    )


def _two_paths(module: nn.Module) -> str | None:
    if module.training or not torch.backends.mha.get_fastpath_enabled():
        return None
    return (
        "torch takes another path through it while hooks are attached, with slightly other "
        "numbers; call torch.backends.mha.set_fastpath_enabled(False) before both runs"
    )


def _processor(module: nn.Module) -> str | None:
    processor = getattr(module, "processor", None)
    if getattr(processor, "_parallel_config", None) is not None:
        return _SHARED
    if hasattr(processor, "slice_size"):
        return "attention slicing changes the picture; call pipe.disable_attention_slicing()"
    if "xformers" in type(processor).__name__.lower():
        return "call pipe.disable_xformers_memory_efficient_attention(): xformers hides its numbers"
    backend = _attention_backend(processor)
    if backend is None or backend in SEEN:
        return None
    return (
        f"its attention backend is {backend}, a kernel that hides its numbers; call "
        "model.set_attention_backend('native') before"
    )


def _attention_backend(processor: object) -> str | None:
    """Return the attention backend of diffusers that a processor runs, if it runs one.

    One that has none of its own runs what was set last, of any model, or in the environment.
    """
    if not hasattr(processor, "_attention_backend"):
        return None
    backend = processor._attention_backend
    dispatch = sys.modules.get("diffusers.models.attention_dispatch")
    if backend is None and dispatch is not None:
        backend, _ = dispatch._AttentionBackendRegistry.get_active_backend()
    return None if backend is None else str(getattr(backend, "value", backend))


def _graphed(module: nn.Module) -> str | None:
    if getattr(module.forward, "__module__", None) != "torch.cuda.graphs":
        return None
    return (
        "its forward replays a CUDA graph, in which no kernel can be looked at; record the model "
        "as it was before torch.cuda.make_graphed_callables"
    )


def _implementation(module: nn.Module) -> str | None:
    chosen = getattr(getattr(module, "config", None), "_attn_implementation", None)
    if not isinstance(chosen, str) or not any(name in chosen for name in ELSEWHERE):
        return None
    return (
        f"its attention is {chosen}, a kernel that hides its numbers; call "
        "model.set_attn_implementation('sdpa') ('eager', where the model has no sdpa) before"
    )


def _sequential_offload(module: nn.Module) -> str | None:
    devices = [str(getattr(each, "execution_device", "")) for each in _fetching(module)]
    if "cpu" not in devices:
        return None
    return (
        "sequential offload on the CPU does not work in accelerate; call "
        "pipe.remove_all_hooks(), or use --offload model"
    )


def _parallel(module: nn.Module) -> str | None:
    return None if getattr(module, "_parallel_config", None) is None else _SHARED


_OBSTACLES = {
    _COMPILED: _compiled,
    "_orig_mod": _compiled,
    "_parallel_config": _parallel,
    _FAST: _two_paths,
    "processor": _processor,
    "forward": _graphed,
    "config": _implementation,
    _HOOKED: _sequential_offload,
}
"""What tells of an obstacle, by the attribute of those modules that may have it: of thousands few
do."""
