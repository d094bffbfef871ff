"""Write a text: one forward reads the prompt, then each token that was written is read.

The same forwards as `generate` of transformers makes, and one more, which reads the last token: so
every token of the text has its row and its column.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from attn.backends.diffusers.finite import require_finite
from attn.backends.families.hf.options import HFOptions
from attn.backends.families.hf.pictures import Picture


@dataclass(frozen=True)
class WritingSettings:
    """How texts are written.

    Attributes:
        length: tokens to write at most.
        ends: ids of the tokens that end a text.
        warpers: what is done to logits before a token is drawn; none takes the likeliest.
    """

    length: int
    ends: frozenset[int]
    warpers: LogitsProcessorList | None


@dataclass
class WrittenText:
    """The state of one text.

    Attributes:
        prompt: ids of the prompt.
        generator: of the drawing.
        recipe: how it is written.
        picture: that stands in the prompt, or None.
        written: ids so far.
        probabilities: of each when it was written, softmax of the logits without temperature.
    """

    prompt: list[int]
    generator: torch.Generator
    recipe: WritingSettings
    picture: Picture | None = None
    written: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    _cache: Any = field(default_factory=DynamicCache)
    _read: int = 0

    @property
    def is_over(self) -> bool:
        """Whether all that was written is read, and nothing more is to be written."""
        return self._has_ended and self._read == len(self.prompt) + len(self.written)

    @property
    def _has_ended(self) -> bool:
        is_end = bool(self.written) and self.written[-1] in self.recipe.ends
        return is_end or len(self.written) == self.recipe.length

    @property
    def span(self) -> tuple[int, int]:
        """Positions that the next forward reads."""
        return self._read, len(self.prompt) + len(self.written)

    def advance(self, model: Any) -> None:
        """Run the model once, and write a token if there is one to write."""
        start, stop = self.span
        ids = torch.tensor([(self.prompt + self.written)[start:stop]], device=model.device)
        seen = {} if self.picture is None or start else self.picture.arguments(ids, model)
        logits = model(
            input_ids=ids,
            **seen,
            past_key_values=self._cache,
            use_cache=True,
            **_last_only(model),
        ).logits[:, -1]
        self._read = stop
        if not self._has_ended:
            self._write(logits.float())

    def _write(self, logits: Tensor) -> None:
        require_finite(logits, "logits of the next token", "language model", "output")
        warpers = self.recipe.warpers
        if warpers is None:
            number = int(logits.argmax(-1))
        else:
            ids = torch.tensor([self.prompt + self.written], device=logits.device)
            read = cast("torch.LongTensor", ids)
            chances = warpers(read, logits).double().softmax(-1).cpu()
            number = int(torch.multinomial(chances, 1, generator=self.generator))
        self.written.append(number)
        self.probabilities.append(float(logits[0].double().softmax(-1)[number]))


def make_recipe(options: HFOptions, ends: frozenset[int]) -> WritingSettings:
    """Return how texts are written.

    Args:
        options: of the session.
        ends: ids of the tokens that end a text.
    """
    warpers = None
    if options.temperature:
        warpers = LogitsProcessorList([TemperatureLogitsWarper(options.temperature)])
        if options.top_k is not None:
            warpers.append(TopKLogitsWarper(options.top_k))
        if options.top_p is not None:
            warpers.append(TopPLogitsWarper(options.top_p))
    return WritingSettings(options.generate, ends if options.stop_at_end else frozenset(), warpers)


def _last_only(model: Any) -> dict[str, int]:
    """Ask for the logits of the last position only, of models that can, as `generate` does."""
    takes = inspect.signature(model.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
