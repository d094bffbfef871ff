"""Weights of words, applied to what the text encoders return as A1111's web UI does.

Source: `EmphasisOriginal` in `modules/sd_emphasis.py` of AUTOMATIC1111/stable-diffusion-webui: each
token's state is multiplied by its weight, then all of them so that their mean is what it was. Here
that mean is of one prompt and one encoder, so that a batch changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attn.errors import CaptureError
from attn.schema import Emphasis, Token

SMALLEST, LARGEST = 0.5, 2.0
"""Beyond these the mean is next to nothing, and restoring it would only blow the states up."""
UNRESTORED = (
    "the mean of a text encoder's states is so near to 0 that weights of words are applied without "
    "restoring it, as with A1111's emphasis 'No norm'"
)


@dataclass(frozen=True)
class EncodedPart:
    """Where the states of one encoder lie in the embeddings of a prompt.

    Attributes:
        positions: of the text.
        channels: of each position.
    """

    positions: slice
    channels: slice


def token_weights(tokens: Sequence[Token], emphasis: Emphasis) -> list[float]:
    """Return the weight of each token: that of the part of the prompt that it begins in."""

    def weight(token: Token) -> float:
        parts = (value for start, stop, value in emphasis if start <= token.start < stop)
        return next(parts, 1.0) if token.is_content else 1.0

    return [weight(token) for token in tokens]


@contextmanager
def weighted(
    pipe: Any, weights: Mapping[str, Tensor], parts: Sequence[EncodedPart]
) -> Iterator[list[str]]:
    """Weight the embeddings that a pipeline makes of its prompts; it is left as it was.

    Args:
        pipe: its `encode_prompt` returns embeddings of the prompts, and of the negative ones.
        weights: of the branches `cond` and `uncond`, (prompt, position); a branch that is not
            there is left alone.
        parts: of the embeddings.

    Yields:
        a list to which warnings are added.

    Raises:
        CaptureError: the embeddings are laid out otherwise; raised from within the pipeline.
    """
    original: Callable[..., Any] = pipe.encode_prompt
    before = vars(pipe).get("encode_prompt")
    told: list[str] = []

    def encode(*args: Any, **keywords: Any) -> Any:
        prompt, negative, *rest = original(*args, **keywords)
        states = {"cond": prompt, "uncond": negative}
        for branch, rows in weights.items():
            states[branch], is_restored = weigh(states[branch], rows, parts)
            told.extend([] if is_restored or UNRESTORED in told else [UNRESTORED])
        return (states["cond"], states["uncond"], *rest)

    object.__setattr__(pipe, "encode_prompt", encode)
    try:
        yield told
    finally:
        object.__delattr__(pipe, "encode_prompt")
        if before is not None:
            object.__setattr__(pipe, "encode_prompt", before)


def weigh(states: Tensor, weights: Tensor, parts: Sequence[EncodedPart]) -> tuple[Tensor, bool]:
    """Return weighted states, and whether all means were restored.

    Args:
        states: (row, position, channel); the rows of a prompt follow one another.
        weights: (prompt, position).
        parts: of them.

    Raises:
        CaptureError: there are other rows or positions than weights.
    """
    if states.shape[1] != weights.shape[1] or len(states) % len(weights):
        raise CaptureError(
            f"the pipeline's embeddings have the shape {list(states.shape)}, where weights of "
            f"words are for {list(weights.shape)}: they cannot be applied to this pipeline"
        )
    rows = weights.repeat_interleave(len(states) // len(weights), 0).to(states.device)
    result, is_restored = states.clone(), True
    for part in parts:
        factors = rows[:, part.positions, None]
        plain = states[:, part.positions, part.channels].float()
        scaled = plain * factors
        ratio = plain.mean((1, 2), keepdim=True) / scaled.mean((1, 2), keepdim=True)
        can_restore = (ratio >= SMALLEST) & (ratio <= LARGEST)
        is_restored &= bool(can_restore.all())
        restored = torch.where(can_restore, scaled * ratio, scaled).to(states.dtype)
        is_weighted = (factors != 1).any(1, keepdim=True)
        kept = states[:, part.positions, part.channels]
        result[:, part.positions, part.channels] = torch.where(is_weighted, restored, kept)
    return result, is_restored
