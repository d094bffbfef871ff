"""How a tap looks at a model: what its caller says of axes, padding and tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
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

    @property
    def width(self) -> int | None:
        """Positions that `padding` names, if it is there."""
        return None if self.padding is None else self.padding.shape[1]

    def require_rows(self, rows: int | None) -> None:
        """Refuse a padding of other rows than those that the model reads, where it says so.

        Raises:
            CaptureError: they are others.
        """
        if self.padding is not None and rows not in (None, len(self.padding)):
            raise CaptureError(
                f"padding= names {len(self.padding)} rows, but the model reads {rows}; name each "
                "row of the batch (beams and several texts of a prompt are rows, too)"
            )


def is_count(value: object) -> bool:
    """Whether a value is a whole number from 1 on."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def require_usable(model: object, layers: object, keep: str, see: object) -> None:
    """Refuse what cannot be tapped.

    Raises:
        UsageError: `model` is none, there is no such level, or `layers` or `see` are of no use.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"tap: expected a torch module, got {type(model).__name__} {model!r:.60}; load the "
            "model and pass it, as in attn.tap(model)"
        )
    if keep not in LEVELS:
        raise UsageError(f"keep: expected one of {', '.join(LEVELS)}; got '{keep}'")
    globs = [layers] if isinstance(layers, str) else [] if layers is None else layers
    if not isinstance(globs, Iterable) or not all(isinstance(glob, str) for glob in globs):
        raise UsageError(f"layers: expected globs of module paths; got {layers!r:.60}")
    if see is not None and not callable(see):
        raise UsageError(f"see: expected a function of (path, attention); got {see!r:.60}")


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
    if not is_count(every):
        raise UsageError(f"every: expected 1 or more forwards; got {every!r:.60}")
    if not isinstance(value_norm, bool | str):
        raise UsageError(
            "value_norm: expected True, or the path of the output projection; got "
            f"{value_norm!r:.60}"
        )
    require_tokens(tokens)
    return TapOptions(every, read_axes_of(axes), read_padding(padding), value_norm, tokens)


def read_axes_of(axes: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return the letters of the axes of open softmaxes by globs of paths.

    Raises:
        UsageError: they are no axes.
    """
    if not isinstance(axes, str | Mapping | None):
        raise UsageError(f"axes: expected letters, or letters by globs; got {axes!r:.60}")
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
    try:
        mask = torch.as_tensor(padding).cpu()
    except (TypeError, ValueError, RuntimeError) as error:  # no numbers, or rows unlike each other
        raise UsageError(
            f"padding: expected (row, position) of True and False; got {padding!r:.60}"
        ) from error
    if mask.ndim != 2 or mask.dtype != torch.bool:  # noqa: PLR2004 - (row, position)
        raise UsageError(
            "padding: expected (row, position) of True and False, True where a position is "
            f"padding, such as attention_mask == 0; got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    return mask
