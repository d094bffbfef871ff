"""Modules of a stranger's model: those that are watched, what is around them, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from attn.errors import UsageError


def choose_modules(model: nn.Module, layers: str | Sequence[str] | None) -> dict[str, nn.Module]:
    """Return the modules that globs name, by path; None is all.

    Raises:
        UsageError: a glob matches no module.
    """
    modules = dict(model.named_modules())
    if layers is None:
        return modules
    chosen: dict[str, nn.Module] = {}
    for pattern in [layers] if isinstance(layers, str) else layers:
        matches = {path: module for path, module in modules.items() if fnmatchcase(path, pattern)}
        if not matches:
            raise UsageError(f"no module of {type(model).__name__} matches '{pattern}'")
        chosen |= matches
    return chosen


def modules_around(model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return modules and all that they are in, the model itself first."""
    names = {""} | {
        ".".join(parts[:count])
        for parts in (path.split(".") for path in modules)
        for count in range(len(parts) + 1)
    }
    return {path: module for path, module in model.named_modules() if path in names}


def find_encoder(model: nn.Module) -> str | None:
    """Return the path of the encoder of an encoder-decoder of transformers."""
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None
    find: Any = getattr(model, "get_encoder", None)
    encoder = find() if callable(find) else None
    paths = [path for path, module in model.named_modules() if module is encoder]
    return f"{paths[0]}." if paths else None


def find_ends(model: nn.Module) -> tuple[tuple[int, ...], int | None]:
    """Return the ids that end a text, and that of padding, as a model of transformers has them."""
    settings = getattr(model, "generation_config", None)
    ends = getattr(settings, "eos_token_id", None)
    several = () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)
    return several, getattr(settings, "pad_token_id", None)


def say_outside(path: str) -> str:
    """Say why attention that ran outside of a forward belongs to no step."""
    part = path or "a part of the model"
    if torch._C._current_graph_task_id() != -1:
        return (
            f"{part} ran in a backward pass, which computes it again (gradient checkpointing), so "
            "it belongs to no step; switch that off, or call backward after the block"
        )
    return (
        f"{part} ran outside of a forward of the tapped model, so it belongs to no step; call the "
        "tapped model, or tap what is called"
    )


def say_nothing(model: nn.Module, modules: Mapping[str, nn.Module], forwards: int) -> str:
    """Say why nothing was recorded in a block."""
    name = type(model).__name__
    if not forwards:
        return f"no attention kernel ran in the tapped modules: {name} was not called in the block"
    return (
        f"no attention kernel ran in the tapped modules ({', '.join(list(modules)[:3])}, "
        f"{len(modules)} in all) in {forwards} forwards of {name}: they compute their attention "
        "without torch's scaled_dot_product_attention or a softmax that multiplies values, or are "
        "compiled, or are others; attn.tap(model) without globs finds those that do"
    )
