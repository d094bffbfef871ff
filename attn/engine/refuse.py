"""Refuse, before time is spent, models whose attention cannot be captured exactly."""

from __future__ import annotations

import torch
from torch import nn

from attn.errors import CaptureError

ELSEWHERE = ("flash", "flex", "paged", "/")
"""Parts of the names of transformers' attention that is not torch's; `/` is a hub's kernel."""


def refuse_unobservable(model: nn.Module, name: str) -> None:
    """Raise if a model runs its attention where hooks see nothing or see something else.

    Raises:
        CaptureError: compiled, sliced, sent to another attention library, shared by several
            processes, or offloaded layer by layer on the CPU without a `device_map`; with the call
            that undoes it.
    """
    is_mapped = getattr(model, "hf_device_map", None) is not None
    obstacles = _OBSTACLES if is_mapped else (*_OBSTACLES, _sequential_offload)
    for path, module in model.named_modules():
        obstacle = next(filter(None, (find(module) for find in obstacles)), None)
        if obstacle is not None:
            where = f"{name}.{path}" if path else name
            raise CaptureError(f"cannot capture {where}: {obstacle}")


def refuse_weightless(model: nn.Module) -> None:
    """Raise if a model was opened to plan only, without its weights.

    Weights that accelerate keeps elsewhere, and fetches for each module when it runs, are there.

    Raises:
        CaptureError: says so.
    """
    for module in model.modules():
        is_empty = any(weight.is_meta for weight in module.parameters(recurse=False))
        if is_empty and not _fetching(module):
            raise CaptureError("this session was opened without weights; it can plan, not generate")


def _fetching(module: nn.Module) -> list[object]:
    """Return the hooks of accelerate that fetch a module's weights when it runs."""
    hook = getattr(module, "_hf_hook", None)
    return [each for each in getattr(hook, "hooks", (hook,)) if getattr(each, "offload", False)]


def _compiled(module: nn.Module) -> str | None:
    if getattr(module, "_compiled_call_impl", None) is None and not hasattr(module, "_orig_mod"):
        return None
    return (
        "it is compiled, and compiled code runs past every hook; load the model without "
        "torch.compile, or pass the module that was compiled (`model._orig_mod`)"
    )


def _two_paths(module: nn.Module) -> str | None:
    fast = isinstance(module, (nn.MultiheadAttention, nn.TransformerEncoderLayer))
    if not fast or module.training or not torch.backends.mha.get_fastpath_enabled():
        return None
    return (
        "torch takes another path through it while hooks are attached, with slightly other "
        "numbers; call torch.backends.mha.set_fastpath_enabled(False) before both runs"
    )


def _processor(module: nn.Module) -> str | None:
    processor = getattr(module, "processor", None)
    if hasattr(processor, "slice_size"):
        return "attention slicing changes the picture; call pipe.disable_attention_slicing()"
    if "xformers" in type(processor).__name__.lower():
        return "call pipe.disable_xformers_memory_efficient_attention(): xformers hides its numbers"
    backend = getattr(processor, "_attention_backend", None)
    if backend is not None and "native" not in str(backend).lower():
        return f"its attention backend is {backend}; call model.reset_attention_backend()"
    return None


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
    parts = (module, getattr(module, "processor", None))
    is_shared = any(getattr(part, "_parallel_config", None) is not None for part in parts)
    is_split = any(hasattr(weight, "device_mesh") for weight in module.parameters(recurse=False))
    if not is_shared and not is_split:
        return None
    return (
        "several processes share it (tensor or context parallelism), and each sees its own part of "
        "the attention; load it in one process, over several GPUs with device_map"
    )


_OBSTACLES = (_compiled, _two_paths, _processor, _implementation, _parallel)
