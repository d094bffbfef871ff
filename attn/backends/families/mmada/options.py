"""Options of MMaDA and LLaDA."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from attn.backends.families.mmada.unmask import Remasking


@dataclass(frozen=True)
class MMaDAOptions:
    """Options of MMaDA and LLaDA."""

    gen_length: int = field(default=128, metadata={"help": "tokens to write"})
    block_length: int = field(
        default=32, metadata={"help": "tokens of a block; blocks are written one after the other"}
    )
    temperature: float = field(
        default=1.0, metadata={"help": "of the Gumbel noise; 0 takes the likeliest token"}
    )
    cfg_scale: float | None = field(
        default=None, metadata={"help": "guidance as LLaDA counts it: --guidance minus 1; 0 is off"}
    )
    remasking: Remasking = field(
        default="low_confidence",
        metadata={"help": "which masks are replaced first: the most confident, or any"},
    )
    cot: bool = field(default=False, metadata={"help": "tell the model to think first"})
    stop_at_end: bool = field(
        default=False, metadata={"help": "end when a block ends with the end-of-text token"}
    )
    chat_template: str | None = field(
        default="model",
        metadata={"help": "model is the tokenizer's own, none the bare prompt; or a Jinja file"},
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "folder of the tokenizer, if not the model's"}
    )
    t2i: bool = field(default=False, metadata={"help": "MMaDA: write the tokens of a picture"})
    image_rows: int = field(default=32, metadata={"help": "rows of image tokens"})
    image_columns: int = field(default=32, metadata={"help": "columns of image tokens"})
    t2i_token: str = field(
        default="<|t2i|>", metadata={"help": "token (name or id) that asks for a picture"}
    )
    soi_token: str = field(
        default="<|soi|>", metadata={"help": "token (name or id) before a picture"}
    )
    eoi_token: str = field(
        default="<|eoi|>", metadata={"help": "token (name or id) behind a picture"}
    )

    def __post_init__(self) -> None:
        if self.image_rows < 1 or self.image_columns < 1:
            raise ValueError(
                f"image_rows and image_columns must be at least 1; got {self.image_rows} and "
                f"{self.image_columns}"
            )
        if self.block_length < 1 or self.gen_length < 1 or self.gen_length % self.block_length:
            raise ValueError(
                f"gen_length must be divisible by block_length; got {self.gen_length} and "
                f"{self.block_length}"
            )
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 or more; got {self.temperature}")
        if self.cfg_scale is not None and not (
            math.isfinite(self.cfg_scale) and self.cfg_scale >= 0
        ):
            raise ValueError(f"cfg_scale must be 0 or more; got {self.cfg_scale}")
