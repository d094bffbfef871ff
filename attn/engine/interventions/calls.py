"""The edits of one call of an attention kernel, and the mask that they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from attn.engine.attention import HIDDEN
from attn.engine.interventions.acts import Edit, find_swap, logit_bias, needs_probs
from attn.engine.shapes import Everywhere
from attn.errors import CaptureError

SMALL = 2**16
"""Most places of edits that are kept for the calls that follow: 64 KB, and 256 KB of bias."""


@dataclass(frozen=True)
class CallEdits:
    """What is done to a call, which is often one of many alike.

    Attributes:
        edits: in order; none leaves the call as it is.
        masks: what was made so far for calls without a mask of their own, by dtype.
    """

    edits: tuple[Edit, ...]
    masks: dict[torch.dtype, Tensor | None] = field(default_factory=dict, compare=False)

    @property
    def is_small(self) -> bool:
        """Whether it may be kept."""
        return sum(edit.where.numel() for edit in self.edits) <= SMALL

    @cached_property
    def bias(self) -> Everywhere | None:
        """What all acts before the softmax add to the logits; see `logit_bias`."""
        return logit_bias(self.edits)

    @cached_property
    def needs_probs(self) -> bool:
        """Whether some act comes after the softmax."""
        return needs_probs(self.edits)

    @cached_property
    def swap(self) -> Edit | None:
        """The edit that takes keys or values of another run, if there is one."""
        return find_swap(self.edits)

    def mask(self, name: str, plain: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """Return an additive mask with what the edits add to the logits.

        Args:
            name: of the module, for messages.
            plain: the mask of the call, additive; None is none.
            dtype: of the result.

        Raises:
            CaptureError: a row is left without a key.
        """
        mask = plain
        if self.bias is not None:
            mask = (self.bias if plain is None else plain + self.bias).to(dtype)
            require_keys(name, plain, mask)
        if plain is None:
            self.masks[dtype] = mask
        return mask


def require_keys(name: str, before: Tensor | None, after: Tensor) -> None:
    """Refuse a cut that leaves a row without a key.

    Raises:
        CaptureError: says in which module.
    """
    left = (after > HIDDEN).any(-1)
    had = left.new_ones(()) if before is None else (before > HIDDEN).any(-1)
    if not bool((left | ~had).all()):
        raise CaptureError(
            f"the cut hides every key of a row in {name}, so that nothing is left to attend to; "
            "cut fewer keys, or of fewer queries (@queries=generated: the first tokens of a causal "
            "model read but themselves), or skip the layer"
        )
