"""How a tap looks at a model: what its caller says of axes, padding and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attn.engine.open_softmax import read_axes
from attn.engine.tapping.texts import Tokens, require_tokens
from attn.errors import CaptureError, UsageError

LEVELS = ("mass", "means", "maps", "heads", "factors")


@dataclass(frozen=True)
class TapOptions:
    """How a tap looks at things; see `tap`."""

    every: int
    axes: Mapping[str, str]
    padding: Tensor | None
    value_norm: bool | str
    tokens: Tokens


def require_usable(model: object, keep: str) -> None:
    """Refuse what cannot be tapped.

    Raises:
        UsageError: `model` is none, or there is no such level.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"tap: expected a torch module, got {type(model).__name__} {model!r:.60}; load the "
            "model and pass it, as in attn.tap(model)"
        )
    if keep not in LEVELS:
        raise UsageError(f"keep: expected one of {', '.join(LEVELS)}; got '{keep}'")


def read_options(
    every: int,
    axes: str | Mapping[str, str] | None,
    padding: Any,
    value_norm: bool | str,
    tokens: Tokens,
) -> TapOptions:
    """Return what the caller of `tap` says, checked.

    Raises:
        UsageError: it cannot be meant.
    """
    if every < 1:
        raise UsageError(f"every: expected 1 or more forwards; got {every}")
    require_tokens(tokens)
    return TapOptions(every, read_axes_of(axes), read_padding(padding), value_norm, tokens)


def read_axes_of(axes: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return the letters of the axes of open softmaxes by globs of paths.

    Raises:
        UsageError: they are no axes.
    """
    globs = {"*": axes} if isinstance(axes, str) else dict(axes or {})
    try:
        return {glob: read_axes(letters) for glob, letters in globs.items()}
    except CaptureError as error:
        raise UsageError(str(error)) from error


def read_padding(padding: Any) -> Tensor | None:
    """Return (row, position) bool, True where a position is padding.

    Raises:
        UsageError: it is no such matrix.
    """
    if padding is None:
        return None
    mask = torch.as_tensor(padding).cpu()
    if mask.ndim != 2 or mask.dtype != torch.bool:  # noqa: PLR2004 - (row, position)
        raise UsageError(
            "padding: expected (row, position) of True and False, True where a position is "
            f"padding, such as attention_mask == 0; got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    return mask
