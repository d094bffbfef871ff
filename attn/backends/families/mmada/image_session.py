"""A session of MMaDA that writes the tokens of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attn.backends.families.mmada import history, text_to_image
from attn.backends.families.mmada.codes import Codes, lay_out
from attn.backends.families.mmada.session import MMaDASession, generators, guide
from attn.backends.families.mmada.unmask import UnmaskSettings
from attn.backends.types import OnCall, Output
from attn.errors import RequestError
from attn.schema import Layer, Request, Token
from attn.schema import Sequence as TokenSequence


class ImageSession(MMaDASession):
    """A loaded model that writes image tokens. Its sequence is the prompt, then the picture."""

    def __init__(self, codes: Codes, *rest: Any) -> None:
        super().__init__(*rest)
        self.codes = codes

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return the prompt, empty in `uncond`, and where the picture will be."""
        return lay_out(self.vocabulary, self.codes, request.prompt, branch)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the attention of every block: text and picture in one sequence."""
        return tuple(replace(layer, kind="joint") for layer in super().layers(request))

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Write the image tokens of a batch; see `Session.generate`."""
        first, images = requests[0], range(requests[0].images)
        painting = text_to_image.Painting(
            [[token.id for token in self._prompt(request)] for request in requests for _ in images],
            generators(requests),
            self._recipe(first),
            self.model.device,
            self.codes,
        )
        with self._checked(requests, painting):
            painting.paint(partial(self._predict_codes, first, on_call))
        histories = [
            text_to_image.describe(painting, sample, self.vocabulary)
            for sample in range(len(painting.padding))
        ]
        count = len(images)
        return [
            Output(histories=tuple(histories[index * count : (index + 1) * count]))
            for index in range(len(requests))
        ]

    def _predict_codes(
        self, request: Request, on_call: OnCall | None, painting: text_to_image.Painting, step: int
    ) -> Tensor:
        """Run the model once; logits as in `_predict`, of the codes alone."""
        branches = self.branches(request)
        if on_call is not None:
            on_call(history.announce(painting, step, branches, text_to_image.outcome))
        rows, hiding = text_to_image.rows_of(painting, guided=len(branches) > 1)
        columns = torch.arange(rows.shape[1], device=rows.device)[painting.columns]
        logits: Tensor = self.model(
            input_ids=rows, logits_to_keep=columns, use_cache=False, **hiding
        ).logits[..., self.codes.first : self.codes.first + self.codes.count]
        return guide(logits, request, len(branches) > 1)

    def _prompt(self, request: Request) -> tuple[Token, ...]:
        tokens = self.sequence(request, "cond").tokens
        return tuple(token for token in tokens if token.segment == "prompt")

    def _recipe(self, request: Request) -> UnmaskSettings:
        length = self.codes.length
        steps = request.steps or text_to_image.STEPS
        mask, temperature = self.vocabulary.mask, self.options.temperature
        return UnmaskSettings(length, length, steps, temperature, "low_confidence", mask)

    def _steps(self, requested: int | None) -> int:
        steps = text_to_image.STEPS if requested is None else requested
        if steps < 1:
            raise RequestError(f"steps must be at least 1; got {steps}")
        return steps

    def _written_length(self) -> int:
        return self.codes.length + 1
