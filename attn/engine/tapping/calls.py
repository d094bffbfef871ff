"""What the calls of a tapped module say of its batch and its sequence, and who is told of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any
from weakref import WeakMethod

import torch
from torch import Tensor

MATRIX = 2
"""Axes of tokens: row, position."""
SEQUENCE = 3
"""Axes of vectors: row, position, channel."""
OTHERS = ("key_value_states", "encoder_hidden_states", "cross_attention_states")
"""Arguments that hold another sequence, to which a module attends."""
GENERATION, UNFINISHED = "transformers.generation", "unfinished_sequences"
"""Where `generate` writes a text, and what it calls a 1 or 0 for each row, 0 behind its end."""
BEAMS = "flat_running_sequences"
"""What it calls the texts of all rows, where it searches with beams."""


class InnerCalls:
    """The calls of modules inside of the forward that runs.

    Attributes:
        counts: calls of each module in this forward, by its path.
        lengths: of the sequence that a module was last called with, if it was called with one.
        crossing: modules that were last called to attend to another sequence than their own.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lengths: dict[str, int | None] = {}
        self.crossing: set[str] = set()

    def begin(self, path: str, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Take a call that begins."""
        self.counts[path] += 1
        self.lengths[path] = count_positions(args, named)
        if any(named.get(name) is not None for name in OTHERS):
            self.crossing.add(path)
        else:
            self.crossing.discard(path)


def count_rows(args: tuple[Any, ...], named: Mapping[str, Any]) -> int | None:
    """Return how many rows the batch of a call has; None where no tensor says so."""
    inputs = (*args, *named.values())
    sizes = (value.shape[0] for value in inputs if isinstance(value, Tensor) and value.ndim > 1)
    return next(sizes, None)


def ended_rows(rows: int) -> Tensor | None:
    """Return which rows `generate` of transformers counts as ended, (row,) bool, on the CPU.

    Whether it ends a row depends on arguments that the model is not told (`eos_token_id`,
    `stop_strings`), so this reads, and only reads, the variable of the loop that calls the model.

    Args:
        rows: of the batch.

    Returns:
        None where no such loop runs: in a loop of one's own, in other versions, with beams.
    """
    unfinished = _variable(UNFINISHED)
    if unfinished is None or unfinished.shape != (rows,):
        return None
    return unfinished.detach().cpu() == 0


def beam_texts(rows: int, length: int) -> Tensor | None:
    """Return what the rows of a search with beams have read, (row, position), on the CPU.

    `generate` sorts rows between forwards, and hands on a cache, which may hold the last positions
    only: then rows that end alike cannot be told apart by it.

    Args:
        rows: of the batch.
        length: positions that were read so far.

    Returns:
        None where no such search runs: see `ended_rows`.
    """
    texts = _variable(BEAMS)
    if texts is None or texts.ndim != MATRIX or len(texts) != rows or texts.shape[1] < length:
        return None
    return texts[:, :length].detach().cpu().long()


def _variable(name: str) -> Tensor | None:
    """Return a tensor of the innermost loop of `generate` that runs, by its name."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(GENERATION):
            value = frame.f_locals.get(name)
            if isinstance(value, Tensor):
                return value
        frame = frame.f_back
    return None


def is_backward() -> bool:
    """Whether a backward pass runs, in which gradient checkpointing computes modules again."""
    return torch._C._current_graph_task_id() != -1


def count_positions(args: tuple[Any, ...], named: Mapping[str, Any]) -> int | None:
    """Return how long the sequence of vectors is that a module is called with, if it is."""
    inputs = (*args, *named.values())
    lengths = (
        value.shape[1] for value in inputs if isinstance(value, Tensor) and value.ndim == SEQUENCE
    )
    return next(lengths, None)


def weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls a method as long as its object lives."""
    reference = WeakMethod(method)

    def call(*args: Any) -> Any:
        living = reference()
        return living(*args) if living is not None else None

    return call
