"""Write text by unmasking: block after block, the most confident positions of each step first.

Source: Nie et al. 2025 (LLaDA, https://arxiv.org/abs/2502.09992), semi-autoregressive sampling
with low-confidence remasking, as MMaDA uses it. Unlike theirs, every sample draws from a generator
of its own, only the masked positions of the current block are looked at, in float64, and the mask
itself is never written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Remasking = Literal["low_confidence", "random"]
Predict = Callable[["Writing", int, range], Tensor]
"""Takes the state, the step and the columns of its block; returns their guided logits, (sample,
column, vocabulary)."""


@dataclass(frozen=True)
class UnmaskSettings:
    """How a text is written.

    Attributes:
        length: positions to write.
        block: positions of a block; divides `length`.
        steps: forwards in all; divisible by the number of blocks.
        temperature: of the Gumbel noise on the logits; 0 takes the likeliest token.
        remasking: whether the most confident masks are replaced first, or any.
        mask: id of the mask token, which is never written.
        stop: end when this id is the last of a block in every sample; None writes all blocks.
    """

    length: int
    block: int
    steps: int
    temperature: float
    remasking: Remasking
    mask: int
    stop: int | None = None

    @property
    def steps_per_block(self) -> int:
        """Forwards for each block."""
        return self.steps * self.block // self.length


@dataclass(frozen=True)
class Record:
    """What one step did; arrays are (sample, position), padding and prompt included.

    Attributes:
        block: number of the block.
        masked: where the model read a mask to be replaced.
        tokens: the ids after the step.
        finalised: which masks were replaced.
        confidence: probability of the token that the model would put there, NaN where none was
            considered.
    """

    block: int
    masked: np.ndarray
    tokens: np.ndarray
    finalised: np.ndarray
    confidence: np.ndarray


class Writing:
    """The state of one batch: the ids, where they are still masked, and what every step did.

    Prompts of different lengths are padded on the left, so that what is written begins at the same
    column. `ids` and `masked` are (sample, position).
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        generators: Sequence[torch.Generator],
        recipe: UnmaskSettings,
        device: torch.device,
    ) -> None:
        self.recipe = recipe
        self.start = max(map(len, prompts))
        self.padding = tuple(self.start - len(prompt) for prompt in prompts)
        shape = (len(prompts), self.start + recipe.length)
        self.ids = torch.full(shape, recipe.mask, device=device)
        for row, prompt in enumerate(prompts):
            self.ids[row, self.padding[row] : self.start] = torch.tensor(prompt, device=device)
        self.masked = torch.zeros(shape, dtype=torch.bool, device=device)
        self.masked[:, self.start :] = True
        self.records: list[Record] = []
        self._generators = generators

    @property
    def masked_share(self) -> float:
        """Part of the positions to write that is still masked, the same in every sample."""
        return float(self.masked[0].sum()) / self.recipe.length

    def run(self, predict: Predict) -> None:
        """Write everything; ends early only by `Recipe.stop`."""
        recipe = self.recipe
        counts = transfer_counts(recipe.block, recipe.steps_per_block)
        for step in range(recipe.steps):
            block, within = divmod(step, recipe.steps_per_block)
            first = self.start + block * recipe.block
            columns = range(first, first + recipe.block)
            self._replace(predict(self, step, columns), block, columns, counts[within])
            is_last = within == recipe.steps_per_block - 1
            if is_last and recipe.stop is not None and self._ends(columns[-1], recipe.stop):
                return

    def _replace(self, logits: Tensor, block: int, columns: range, count: int) -> None:
        """Replace `count` masks of the block in every sample."""
        before = self.masked.clone()
        confidence = torch.full(self.ids.shape, torch.nan, dtype=torch.float64)
        for sample, generator in enumerate(self._generators):
            positions = (
                columns.start + self.masked[sample, columns.start : columns.stop].nonzero()[:, 0]
            )
            if not len(positions):
                continue
            tokens, sure = choose(logits[sample, positions - columns.start], self.recipe, generator)
            confidence[sample, positions.cpu()] = sure.cpu()
            order = sure
            if self.recipe.remasking == "random":
                order = torch.rand(len(positions), dtype=torch.float64, generator=generator)
            kept = most_confident(order, count).to(positions.device)
            self.ids[sample, positions[kept]] = tokens[kept]
            self.masked[sample, positions[kept]] = False
        self.records.append(
            Record(
                block=block,
                masked=before.cpu().numpy(),
                tokens=self.ids.cpu().numpy().astype(np.int32),
                finalised=(before & ~self.masked).cpu().numpy(),
                confidence=confidence.float().numpy(),
            )
        )

    def _ends(self, column: int, stop: int) -> bool:
        return bool((self.ids[:, column] == stop).all())


def transfer_counts(masked: int, steps: int) -> tuple[int, ...]:
    """Return the number of masks each step of a block replaces, even, larger first."""
    each, more = divmod(masked, steps)
    return tuple(each + (step < more) for step in range(steps))


def choose(
    logits: Tensor, recipe: UnmaskSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose a token for every position, and say how likely it is.

    token = argmax(logit + temperature · Gumbel noise), which draws from
    softmax(logits / temperature); confidence = softmax(logits)[token], without the temperature.

    Args:
        logits: (position, vocabulary), of any dtype; computed with in float64.
        recipe: its temperature and mask.
        generator: on the CPU, so that every device draws the same noise.

    Returns:
        ids and float64 confidences, both (position,).
    """
    exact = logits.double()
    noisy = exact.clone()
    noisy[:, recipe.mask] = -torch.inf
    if recipe.temperature:
        uniform = torch.rand(exact.shape, dtype=torch.float64, generator=generator)
        noisy -= recipe.temperature * (-uniform.to(exact.device).log()).log()
    tokens = noisy.argmax(-1)
    return tokens, exact.softmax(-1).gather(-1, tokens[:, None])[:, 0]


def most_confident(confidence: Tensor, count: int) -> Tensor:
    """Return the places of the largest values, the first of equal ones."""
    return confidence.sort(descending=True, stable=True).indices[:count]
