"""UNets that read text by cross-attention: what Stable Diffusion XL and 1.x share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from diffusers.models.attention_processor import Attention

from attn.backends.diffusers import DiffusersBackend, DiffusersSession
from attn.backends.diffusers.schedules import PREDICTIONS
from attn.backends.loading.family import Joint, ModelOptions
from attn.backends.loading.recipe import Recipe
from attn.backends.types import Session
from attn.engine.walks import walk_modules
from attn.errors import ModelError, RequestError
from attn.schema import Grid, Layer, Request, Segment

SKIPS_PROMPT = (
    "clip_skip={} is for the prompt alone, as in diffusers: the negative prompt is still read from "
    "the usual layer, where other programs skip in both, so their pictures differ"
)
LATENTS = Joint("unet", "out_channels", "latent_channels", ("vae",))
_ORDER = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
_BLOCK = re.compile(r"(down|mid|up)_block(?:s\.(\d+))?\.")


@dataclass(frozen=True)
class UNetOptions(ModelOptions):
    """Options of the UNet families."""

    unet: str | None = field(default=None, metadata={"help": "UNet: file or folder"})
    prediction: Literal["auto", "epsilon", "v"] = field(
        default="auto",
        metadata={"help": "what the UNet predicts; v also sets zero-terminal SNR and its spacing"},
    )
    guidance_rescale: float = field(
        default=0.0,
        metadata={
            "help": "pull the guided picture's contrast back (0 to 1; 0.7 for zero-SNR models)"
        },
    )
    clip_skip: int | None = field(
        default=None,
        metadata={
            "help": "leave out this many last layers of the text encoders, for the prompt alone"
        },
    )


class UNetSession(DiffusersSession):
    """A loaded SDXL or SD1.x pipeline."""

    denoiser = "unet"
    input_name = "sample"
    inpainting_channels: ClassVar[int] = 9
    """Of a UNet that sees the noise, the mask, and the picture without what is drawn anew."""
    default_steps = 30
    multiple = 8
    weighs_words = True
    skips_prompt_alone: ClassVar[bool] = True
    """Whether `clip_skip` leaves the negative prompt as it is, as it does in diffusers."""

    @property
    def needed_picture(self) -> str:  # type: ignore[override]
        """A picture and a mask, where they are inputs of the UNet."""
        return "mask" if self.model.config.in_channels == self.inpainting_channels else ""

    def complete(self, request: Request) -> Request:
        """Also check the options; see `Session.complete`."""
        request = super().complete(request)
        rescale, skip = self.options.guidance_rescale, self.options.clip_skip
        if not 0 <= rescale <= 1:
            raise RequestError(f"guidance_rescale must be 0 to 1; got {rescale:g}")
        if skip is not None:
            self._check_skip(skip)
        return request

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell also of a negative prompt that `clip_skip` leaves alone; see `Session.remarks`."""
        skip, usual = self.options.clip_skip, super().remarks(request, completed)
        if skip and self.skips_prompt_alone and "uncond" in self.branch_texts([completed]):
            return (*usual, SKIPS_PROMPT.format(skip))
        return usual

    def _check_skip(self, skip: int) -> None:
        parts = [getattr(self.pipe, name, None) for name in ("text_encoder", "text_encoder_2")]
        for encoder in filter(None, parts):
            depth = encoder.config.num_hidden_layers
            if not 0 <= skip < depth:
                raise RequestError(
                    f"clip_skip must be 0 to {depth - 1}, for a text encoder of {depth} layers; "
                    f"got {skip}"
                )

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond` alone also where the UNet reads the guidance as a number (LCM)."""
        reads_guidance = self.model.config.time_cond_proj_dim is not None
        return ("cond",) if reads_guidance else super().branches(request)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return self- and cross-attention modules in execution order: down, mid, up."""
        located = [
            (tower, path, module)
            for tower, model in self.towers().items()
            for path, module in _in_order(model)
        ]
        return tuple(self._layer(index, *where, request) for index, where in enumerate(located))

    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the one segment `clip`, which both encoders of SDXL share."""
        return (Segment("clip", "text", 0, self.pipe.tokenizer.model_max_length),)

    def _layer(self, index: int, tower: str, path: str, module: Any, request: Request) -> Layer:
        levels = len(self.model.config.block_out_channels)  # a ControlNet has those of its UNet
        grid = _grid(path, request, self.pipe.vae_scale_factor, levels)
        image = Segment("image", "image", 0, grid[0] * grid[1], grid)
        is_cross = path.endswith("attn2")
        return Layer(
            index=index,
            tower=tower,
            path=path,
            kind="cross" if is_cross else "self",
            num_heads=module.heads,
            queries=(image,),
            keys=self._read_segments(request) if is_cross else (image,),
            head_dim=module.inner_dim // module.heads,
        )

    def _read_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the states that cross-attention reads."""
        return self.text_segments(request)

    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the options that the pipeline takes."""
        return {
            "guidance_rescale": self.options.guidance_rescale,
            "clip_skip": self.options.clip_skip,
        }


class UNetBackend(DiffusersBackend):
    """What the UNet families share."""

    def finish(self, session: DiffusersSession, recipe: Recipe | None) -> Session:
        """Settle what the UNet predicts; see `DiffusersBackend.finish`."""
        prediction = session.options.prediction
        said = recipe.checkpoint if recipe else None
        if prediction != "auto":
            session.predict(prediction, zero_snr=prediction == "v")
        elif said is not None and said.prediction is not None:
            session.predict(said.prediction, zero_snr=said.zero_snr)
            if said.prediction == "v" and not said.zero_snr:
                session.warnings += (
                    "the file says v-prediction, and nothing of zero-terminal SNR, so the betas "
                    "stay as they are; set prediction to v for a model that was trained with it",
                )
        elif session.prediction is None:
            raise ModelError(
                "the scheduler's configuration says prediction_type "
                f"'{session.pipe.scheduler.config.get('prediction_type')}'; expected one of "
                f"{', '.join(PREDICTIONS.values())}: correct it, or set prediction to v or epsilon"
            )
        elif said is not None and session.options.config is None:
            session.warnings += (
                f"the file does not say what its UNet predicts; {session.prediction} is assumed. "
                "If the picture is nothing but noise, set prediction to the other of epsilon and v",
            )
        return session


def _in_order(model: Any) -> list[tuple[str, Attention]]:
    """Return the attention modules of a UNet or ControlNet, by path, as they run."""
    modules = [
        (path, module) for path, module in walk_modules(model) if isinstance(module, Attention)
    ]
    return sorted(modules, key=lambda entry: _ORDER[entry[0].split(".")[0]])


def _grid(path: str, request: Request, factor: int, levels: int) -> Grid:
    """Return (rows, columns) of the feature map that a module of the UNet sees.

    Every level below the first halves the latent, rounding up.
    """
    match = _BLOCK.match(path)
    if match is None:
        raise ModelError(f"the UNet has attention outside its blocks: {path}")
    index = int(match[2] or 0)
    level = {"down": index, "mid": levels - 1, "up": levels - 1 - index}[match[1]]
    rows, columns = (request.height or 0) // factor, (request.width or 0) // factor
    for _ in range(level):
        rows, columns = -(-rows // 2), -(-columns // 2)
    return rows, columns
