"""A loaded FLUX.1: how its sequence is laid out, and what is not as in other pipelines."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from attn.backends import ModelInfo
from attn.backends.diffusers import DiffusersSession
from attn.schema import Layer, Request, Segment
from attn.schema import Sequence as TokenSequence

LONGEST = 512
SCHNELL_LONGEST = 256


class FluxSession(DiffusersSession):
    """The sequence of every layer is `t5`, then `image`."""

    denoiser = "transformer"
    lora_families = ("flux",)
    encoders = {"t5": ("_2",)}  # noqa: RUF012 - CLIP gives one vector, which nothing attends to
    guidance = "calls"
    custom_sigmas = True
    unread_negative = (
        "the negative prompt is not read: this model's guidance is distilled; "
        "--set true_cfg=4 runs classifier-free guidance"
    )

    def __init__(self, pipe: Any, info: ModelInfo, options: Any, device: str) -> None:
        super().__init__(pipe, info, options, device)
        self.default_steps = 28 if self.is_guided else 4
        self.default_guidance = 3.5 if self.is_guided else 0.0
        self.multiple = 2 * int(pipe.vae_scale_factor)  # two by two latent pixels are one token

    @property
    def is_guided(self) -> bool:
        """Whether guidance is an input of the model: dev, not schnell."""
        return bool(self.model.config.guidance_embeds)

    def default_side(self) -> int:
        """Return the side that the pipeline is made for, in pixels."""
        return int(self.pipe.default_sample_size * self.pipe.vae_scale_factor)

    def complete(self, request: Request) -> Request:
        """Leave out the guidance that schnell does not take; see `Session.complete`."""
        return super().complete(request if self.is_guided else replace(request, guidance=None))

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell also of guidance that schnell does not take; see `Session.remarks`."""
        usual = super().remarks(request, completed)
        if self.is_guided or not request.guidance:
            return usual
        return ("this model takes no guidance (schnell); --guidance is not used", *usual)

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`; `uncond` too with classifier-free guidance."""
        return ("cond", "uncond") if self.options.true_cfg > 1 else ("cond",)

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return `t5`, with which the sequence begins."""
        longest = LONGEST if self.is_guided else SCHNELL_LONGEST
        return (Segment("t5", "text", 0, self.options.t5_tokens or longest),)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the double-stream blocks, then the single-stream blocks."""
        segments, config = self._segments(request), self.model.config
        paths = [
            f"{name}.{number}.attn"
            for name in ("transformer_blocks", "single_transformer_blocks")
            for number in range(len(getattr(self.model, name)))
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
        """Return T5's tokens, and the picture."""
        read = self.read_text(request, branch)
        return TokenSequence(self._segments(request), read.tokens, read.truncated, read.warnings)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the length of the text, and the guidance that is not distilled."""
        (text,) = self.text_segments(requests[0])
        return {"true_cfg_scale": self.options.true_cfg, "max_sequence_length": text.length}

    def _segments(self, request: Request) -> tuple[Segment, ...]:
        (text,) = self.text_segments(request)
        grid = (request.height or 0) // self.multiple, (request.width or 0) // self.multiple
        stop = text.stop + grid[0] * grid[1]
        return text, Segment("image", "image", text.stop, stop, grid)
