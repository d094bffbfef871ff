"""A loaded AuraFlow: how its sequence is laid out, and what is not as in other pipelines."""

from collections.abc import Sequence
from math import isqrt
from typing import Any

from attn.backends.diffusers import JointSession
from attn.schema import Request, Segment

LONGEST = 256


class AuraFlowSession(JointSession):
    """The sequence of every layer is `registers`, then `t5`, then `image`."""

    stacks = ("joint_transformer_blocks", "single_transformer_blocks")
    lora_families = ("auraflow",)
    encoders = {"t5": ("",), "registers": ()}  # noqa: RUF012 - no encoder fills the registers
    default_steps = 50
    default_guidance = 3.5

    @property
    def longest_side(self) -> int:
        """Pixels a side for which there is a table of positions."""
        return isqrt(self.model.config.pos_embed_max_size) * self.multiple

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the learned registers, with which the sequence begins, and the text."""
        registers = self.model.register_tokens.shape[1]
        return (
            Segment("registers", "text", 0, registers),
            Segment("t5", "text", registers, registers + self.options.t5_tokens),
        )

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the length of the text."""
        return {"max_sequence_length": self.options.t5_tokens}
