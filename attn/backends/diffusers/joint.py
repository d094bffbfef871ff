"""Pipelines whose text and image are one sequence, which every layer reads whole."""

from __future__ import annotations

from typing import ClassVar

import torch

from attn.backends.diffusers.concepts import block_modules
from attn.backends.diffusers.session import DiffusersSession
from attn.errors import RequestError
from attn.schema import Grid, Layer, LayerKey, Request, Segment
from attn.schema import Sequence as TokenSequence


class JointSession(DiffusersSession):
    """A loaded pipeline of one sequence: the text segments, then the image.

    A family whose image comes first overrides `segments`; one whose blocks have several modules of
    attention, or some that read less, overrides `layers`.
    """

    denoiser = "transformer"
    stacks: ClassVar[tuple[str, ...]] = ()
    """The denoiser's lists of blocks, as they run; each block's attention is its `attn`."""

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Pixels per token of the image."""
        return int(self.pipe.vae_scale_factor * self.model.config.patch_size)

    @property
    def longest_side(self) -> int | None:
        """Pixels a side for which the model has positions; None is any number."""
        return None

    def complete(self, request: Request) -> Request:
        """Also check that there are positions for the size; see `Session.complete`."""
        request, most = super().complete(request), self.longest_side
        if most is not None and max(request.width or 0, request.height or 0) > most:
            raise RequestError(
                f"size {request.width}x{request.height}: this model has positions for at most "
                f"{most} pixels a side"
            )
        return request

    def grid(self, request: Request) -> Grid:
        """Return rows and columns of the image's tokens."""
        return (request.height or 0) // self.multiple, (request.width or 0) // self.multiple

    def leading_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return what stands before the image: the texts, and what may fill them up."""
        return self.text_segments(request)

    def segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the whole sequence of a completed request."""
        texts, grid = self.leading_segments(request), self.grid(request)
        start = texts[-1].stop
        return *texts, Segment("image", "image", start, start + grid[0] * grid[1], grid)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the blocks of every stack."""
        segments, config = self.segments(request), self.model.config
        paths = [
            f"{stack}.{number}.attn"
            for stack in self.stacks
            for number in range(len(getattr(self.model, stack)))
        ]
        return tuple(
            Layer(
                index=index,
                tower="denoiser",
                path=path,
                kind="joint",
                num_heads=config.num_attention_heads,
                queries=segments,
                keys=segments,
                head_dim=config.attention_head_dim,
            )
            for index, path in enumerate(paths)
        )

    def concept_modules(self, request: Request) -> dict[LayerKey, str]:
        """Return the blocks in which text is handed on."""
        stack = self.concept_stream
        return block_modules(self.layers(request), stack) if stack else {}

    def project_concepts(self, states: torch.Tensor) -> torch.Tensor:
        """Return states as the first block reads them."""
        projected: torch.Tensor = self.model.context_embedder(states)
        return projected

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return the segments, with the tokens of the texts."""
        read = self.read_text(request, branch)
        return TokenSequence(self.segments(request), read.tokens, read.truncated, read.warnings)
