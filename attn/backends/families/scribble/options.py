"""Options of models that read a drawing, and those of a single request."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from attn.backends.families.scribble.drawing import Fit
from attn.backends.families.scribble.strokes import Ground
from attn.backends.families.sdxl import SDXLOptions
from attn.schema import Request

AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class ScribbleOptions(SDXLOptions):
    """Options of models that read a drawing."""

    controlnet: str | None = field(
        default=None, metadata={"help": "ControlNet: file, folder or hub id"}
    )
    sketch: str = field(
        default=AUTO,
        metadata={
            "help": "the drawing: a picture file; none is the model without one; auto is the "
            "prompt's outline, which only the demo models can draw"
        },
    )
    ground: Ground = field(
        default="auto", metadata={"help": "what the strokes are drawn on; auto looks"}
    )
    fit: Fit = field(default="pad", metadata={"help": "how a drawing of another shape is laid out"})
    edges: Literal["none", "canny"] = field(
        default="none",
        metadata={
            "help": "take the edges of a photo for the strokes; canny needs pip install "
            "'attn[sketch]'",
            "needs": {"canny": "cv2"},
        },
    )
    conditioning_scale: float = field(
        default=1.0, metadata={"help": "what the ControlNet's residuals are multiplied by"}
    )
    guess_mode: bool = field(
        default=False,
        metadata={"help": "the drawing guides the cond row alone, weaker in the fine blocks"},
    )
    control_start: float = field(
        default=0.0, metadata={"help": "share of the steps after which the ControlNet acts"}
    )
    control_end: float = field(
        default=1.0, metadata={"help": "share of the steps after which it acts no more"}
    )
    base: str | None = field(
        default=None,
        metadata={"help": "ScribbleDiffusion: the SD1.x that its UNet was made of"},
    )
    lines: Literal["black", "white"] = field(
        default="black", metadata={"help": "ScribbleDiffusion: strokes as in its training, or not"}
    )
    sketch_size: int = field(
        default=256, metadata={"help": "ScribbleDiffusion: side of the drawing; 0 as the picture"}
    )
    betas: Literal["linear", "scaled_linear", "own"] = field(
        default="linear",
        metadata={"help": "ScribbleDiffusion: noise as in its training, or the base model's own"},
    )
    uncond_text: Literal["zeros", "empty"] = field(
        default="zeros", metadata={"help": "ScribbleDiffusion: text of the row uncond"}
    )
    guidance_rescale: float = field(
        default=0.0,
        metadata={"help": "ScribbleDiffusion: pull the guided picture's contrast back (0 to 1)"},
    )
    uncond_sketch: Literal["encoded", "zeros"] = field(
        default="encoded",
        metadata={"help": "ScribbleDiffusion: sketch of the row uncond, encoded from black or 0"},
    )


OF_CONTROL = ("controlnet", "conditioning_scale", "guess_mode", "control_start", "control_end")
"""Options of models with a ControlNet."""
OF_TOKENS = (
    *("base", "lines", "sketch_size", "betas", "uncond_text", "uncond_sketch"),
    "guidance_rescale",
)
"""Options of ScribbleDiffusion; pipelines with a ControlNet have none of them."""
OF_REQUEST = (
    *("sketch", "ground", "fit", "edges", "conditioning_scale", "guess_mode"),
    *("control_start", "control_end", "lines", "sketch_size", "uncond_text", "uncond_sketch"),
)
"""Options of drawings and of how they act, which may differ between the requests of a session."""


def effective_options(options: ScribbleOptions, request: Request) -> ScribbleOptions:
    """Return the options with what one request has for itself."""
    per_request = {name: request.options[name] for name in OF_REQUEST if name in request.options}
    return replace(options, **per_request)
