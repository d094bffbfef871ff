"""Networks without weights: built in no memory, in bounded time, and in one thread alone.

The ways of the libraries change `torch.nn.Module` or the default type of torch while they build,
for every thread of the process: two that build at once leave the change behind, and what a user
builds meanwhile gets it too. A mode of torch functions belongs to its thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

MOST_TENSORS = 5_000
"""More than any network has; the largest published ones have about two thousand."""

_PARAMETERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
_TABLES = {torch.arange, torch.linspace}
"""What tables of positions are made of, which are in no file."""


class Unfilled(TorchFunctionMode):
    """For a `with` block: make what parameters consist of on the meta device, and count it.

    Args:
        tables: whether tables of positions are computed; else they are on the meta device too.

    Raises:
        ValueError: in the block, by the network that has more than `MOST_TENSORS` tensors.
    """

    def __init__(self, *, tables: bool = True) -> None:
        super().__init__()
        self._count = 0
        self._made = _PARAMETERS if tables else _PARAMETERS | _TABLES

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, on the meta device if it makes a tensor; see torch."""
        named = dict(kwargs or {})
        if func is torch.tensor and args == ([],):  # transformers asks whether to draw weights,
            named["device"] = "meta"  # for which it would change torch's functions for everybody
        if func in self._made and named.get("device") is None:
            named["device"] = "meta"
            self._count += 1
        if self._count > MOST_TENSORS:
            raise ValueError(f"it describes a network of more than {MOST_TENSORS} tensors")
        return func(*args, **named)
