"""MMaDA's pictures: a text, and behind it a grid of image tokens that are unmasked.

The sequence is `[t2i] [begin] text [end] [soi] image tokens [eoi]`, as the model was taught (Yang
et al. 2025, https://arxiv.org/abs/2505.15809). The row `uncond` reads `[t2i] [begin] [end] [soi]`
with padding before it, which nothing reads. The tokens are sampled as in MaskGIT (Chang et al.
2022, https://arxiv.org/abs/2202.04200); what the tokens look like only the model's VQ decoder
knows, which is not part of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attn.backends.families.mmada import history
from attn.backends.families.mmada.chat import MaskedVocabulary
from attn.backends.families.mmada.codes import Codes
from attn.backends.families.mmada.unmask import Record, UnmaskSettings, Writing

STEPS = 18
"""Of a picture, where none are asked for."""
SMALLEST = 1e-20
"""Below this a logarithm is cut off."""

Predict = Callable[["Painting", int], Tensor]
"""Takes the state and the step; returns the guided logits of all codes, (sample, token, code)."""


class Painting(Writing):
    """The state of a batch of pictures; one position more than what is written, `[eoi]`."""

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        generators: Sequence[torch.Generator],
        recipe: UnmaskSettings,
        device: torch.device,
        codes: Codes,
    ) -> None:
        super().__init__(prompts, generators, recipe, device)
        self.codes = codes
        end = torch.full((len(prompts), 1), codes.closing, device=device)
        self.ids = torch.cat([self.ids, end], 1)
        self.masked = torch.cat([self.masked, torch.zeros_like(end, dtype=torch.bool)], 1)

    @property
    def columns(self) -> slice:
        """Where the image tokens are."""
        return slice(self.start, self.start + self.recipe.length)

    def paint(self, predict: Predict) -> None:
        """Write all image tokens: in step s all but ⌊n · cos(π/2 · (s + 1) / steps)⌋ of the n."""
        temperature = self.recipe.temperature
        for step in range(self.recipe.steps):
            ratio = (step + 1) / self.recipe.steps
            temperature *= 1 - ratio
            left = math.floor(self.recipe.length * math.cos(ratio * math.pi / 2))
            is_last = step == self.recipe.steps - 1
            self._write(predict(self, step), temperature, None if is_last else left)

    def _write(self, logits: Tensor, temperature: float, left: int | None) -> None:
        """Draw every masked token; keep all (None), or all but the `left` least sure ones."""
        before = self.masked.clone()
        confidence = torch.full(self.ids.shape, torch.nan)
        for sample, generator in enumerate(self._generators):
            masked = before[sample, self.columns].cpu()
            drawn, sure, order = draw(logits[sample].cpu(), masked, temperature, generator)
            again = torch.zeros_like(masked)
            unknown = int(masked.sum())
            if left is not None and unknown:
                again = order < order.sort().values[max(1, min(unknown - 1, left))]
            ids = torch.where(again, self.recipe.mask, drawn + self.codes.first)
            current = self.ids[sample, self.columns].cpu()
            self.ids[sample, self.columns] = torch.where(masked, ids, current).to(self.ids.device)
            self.masked[sample, self.columns] = (masked & again).to(self.ids.device)
            confidence[sample, self.columns] = torch.where(masked, sure, torch.nan)
        self.records.append(
            Record(
                block=0,
                masked=before.cpu().numpy(),
                tokens=self.ids.cpu().numpy().astype(np.int32),
                finalised=(before & ~self.masked).cpu().numpy(),
                confidence=confidence.numpy(),
            )
        )


def draw(
    logits: Tensor, masked: Tensor, temperature: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a code for every token, and say which to keep first.

    Args:
        logits: (token, code); computed with in float32.
        masked: which tokens are still to be written.
        temperature: of the Gumbel noise on the order.
        generator: on the CPU, so that every device draws the same.

    Returns:
        the codes, drawn from softmax(logits); their probabilities p; and the order, ln p +
        temperature · Gumbel noise, largest first, where what is not masked comes before all else.
    """
    probs = logits.float().softmax(-1)
    codes = torch.multinomial(probs, 1, generator=generator)[:, 0]
    sure = probs.gather(-1, codes[:, None])[:, 0]
    uniform = torch.zeros_like(sure).uniform_(0, 1, generator=generator)
    noise = -_log(-_log(uniform))
    held = torch.where(masked, sure, torch.finfo(sure.dtype).max)
    return codes, sure, _log(held) + temperature * noise


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=SMALLEST).log()


def rows_of(painting: Painting, *, guided: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the ids read, rows [cond; uncond], and the arguments that hide the padding."""
    rows, length = painting.ids, painting.ids.shape[1]
    padding = torch.tensor(painting.padding, device=rows.device)[:, None]
    hidden = padding
    if guided:
        unread = rows.clone()
        begin = painting.start - len(painting.codes.unread)
        unread[:, :begin] = painting.codes.end
        unread[:, begin : painting.start] = torch.tensor(painting.codes.unread, device=rows.device)
        rows = torch.cat([rows, unread])
        hidden = torch.cat([padding, torch.full_like(padding, begin)])
        padding = padding.repeat(2, 1)
    if not bool(hidden.any()):
        return rows, {}
    positions = torch.arange(length, device=rows.device)
    return rows, {
        "attention_mask": positions >= hidden,
        "position_ids": (positions - padding).clamp(min=0),
    }


def outcome(painting: Painting, step: int, *, guided: bool) -> dict[str, np.ndarray]:
    """Return the measures of a step; the row `uncond` has a prompt of its own."""
    cond = history.measures(painting.records[step])
    if not guided:
        return cond
    tokens = cond["tokens"].copy()
    tokens[:, : painting.start] = painting.codes.end
    tokens[:, painting.start - len(painting.codes.unread) : painting.start] = painting.codes.unread
    uncond = cond | {"tokens": tokens}
    return {name: np.concatenate([cond[name], uncond[name]]) for name in cond}


def describe(painting: Painting, sample: int, vocabulary: MaskedVocabulary) -> dict[str, Any]:
    """Return the history of one picture; the code of an image token is its id - `first_code`."""
    codes = painting.codes
    spelled = {"grid": list(codes.grid), "first_code": codes.first, "codebook_size": codes.count}
    return spelled | history.describe(painting, sample, vocabulary)
