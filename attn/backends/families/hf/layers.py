"""Which modules of a language model attend, and with how many heads."""

from __future__ import annotations

from typing import Any

from torch import nn

from attn.engine.heads import count_heads, has_sink
from attn.errors import ModelError
from attn.schema import Layer, Segment, with_sink

NAMED = "Attention"
"""What transformers calls its modules of attention."""
HEAD_SIZES = ("qk_head_dim", "head_dim", "attention_head_size")
"""What they call the channels of a head."""


def attention_layers(model: Any, segments: tuple[Segment, ...]) -> tuple[Layer, ...]:
    """Return the self-attention of every block, each position to all before it.

    Args:
        model: a causal language model of transformers, with or without weights.
        segments: of its sequence.

    Raises:
        ModelError: it has none, or does not say how many heads they have.
    """
    inside = _text_path(model)
    modules = [
        (path, module)
        for path, module in model.named_modules()
        if path.startswith(inside) and _attends(module)
    ]
    if not modules:
        raise ModelError(
            f"{type(model).__name__} has no module of attention, so there is nothing to capture"
        )
    return tuple(
        _layer(index, path, module, segments) for index, (path, module) in enumerate(modules)
    )


def _text_path(model: Any) -> str:
    """Return what the paths of the modules that read the text begin with: no eyes, no ears."""
    decoder = model.get_decoder()
    path = next((path for path, module in model.named_modules() if module is decoder), "")
    return f"{path}." if path else ""


def _attends(module: nn.Module) -> bool:
    """Whether it is the innermost of modules that are called so."""
    parts = list(module.modules())
    return NAMED in type(module).__name__ and not any(
        NAMED in type(part).__name__ for part in parts[1:]
    )


def _layer(index: int, path: str, module: Any, segments: tuple[Segment, ...]) -> Layer:
    heads = count_heads(module)
    if heads is None:
        raise ModelError(
            f"{path} ({type(module).__name__}) does not say how many heads it has; capture this "
            "model with attn.tap (docs/python.md)"
        )
    key_heads = _key_heads(module, heads)
    return Layer(
        index=index,
        tower="denoiser",
        path=path,
        kind="self",
        num_heads=heads,
        queries=segments,
        keys=with_sink(segments) if has_sink(module) else segments,
        head_dim=_head_size(module, heads),
        num_key_heads=None if key_heads == heads else key_heads,
    )


def _key_heads(module: Any, heads: int) -> int:
    groups = getattr(module, "num_key_value_groups", 1)
    return heads // groups if isinstance(groups, int) and groups > 0 else heads


def _head_size(module: Any, heads: int) -> int | None:
    sizes = (getattr(module, name, None) for name in HEAD_SIZES)
    size = next((size for size in sizes if isinstance(size, int)), None)
    if size is not None:
        return size
    width = getattr(getattr(module, "config", None), "hidden_size", None)
    width = getattr(module, "embed_dim", width)
    return width // heads if isinstance(width, int) else None
