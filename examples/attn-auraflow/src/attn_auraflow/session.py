"""A loaded AuraFlow: how its sequence is laid out, and what is not as in other pipelines."""

from collections.abc import Sequence
from math import isqrt
from typing import Any

from attn.backends.diffusers import DiffusersSession
from attn.errors import RequestError
from attn.schema import Layer, Request, Segment
from attn.schema import Sequence as TokenSequence

LONGEST = 256
STACKS = ("joint_transformer_blocks", "single_transformer_blocks")


class AuraFlowSession(DiffusersSession):
    """The sequence of every layer is `registers`, then `t5`, then `image`."""

    denoiser = "transformer"
    lora_families = ("auraflow",)
    encoders = {"t5": ("",), "registers": ()}  # noqa: RUF012 - no encoder fills the registers
    default_steps = 50
    default_guidance = 3.5

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Pixels per token of the picture."""
        return int(self.pipe.vae_scale_factor * self.model.config.patch_size)

    def complete(self, request: Request) -> Request:
        """Also check that the size fits the position table; see `Session.complete`."""
        request = super().complete(request)
        most = isqrt(self.model.config.pos_embed_max_size) * self.multiple
        if max(request.width or 0, request.height or 0) > most:
            raise RequestError(
                f"size {request.width}x{request.height}: this model has positions for at most "
                f"{most} pixels a side"
            )
        return request

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the learned registers, with which the sequence begins, and the text."""
        registers = self.model.register_tokens.shape[1]
        return (
            Segment("registers", "text", 0, registers),
            Segment("t5", "text", registers, registers + self.options.t5_tokens),
        )

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the blocks of two streams, then those of one."""
        segments, config = self._segments(request), self.model.config
        paths = [
            f"{stack}.{number}.attn"
            for stack in STACKS
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

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return registers, tokens of the text, and the picture."""
        read = self.read_text(request, branch)
        return TokenSequence(self._segments(request), read.tokens, read.truncated, read.warnings)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the length of the text."""
        return {"max_sequence_length": self.options.t5_tokens}

    def _segments(self, request: Request) -> tuple[Segment, ...]:
        *texts, last = self.text_segments(request)
        grid = (request.height or 0) // self.multiple, (request.width or 0) // self.multiple
        stop = last.stop + grid[0] * grid[1]
        return *texts, last, Segment("image", "image", last.stop, stop, grid)
