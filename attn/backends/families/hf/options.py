"""Options of language models of transformers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class HFOptions:
    """Options of language models of transformers."""

    generate: int = field(default=64, metadata={"help": "tokens to write at most"})
    temperature: float = field(
        default=0.0, metadata={"help": "of the drawing; 0 takes the likeliest token"}
    )
    top_k: int | None = field(
        default=None, metadata={"help": "draw from so many of the likeliest tokens"}
    )
    top_p: float | None = field(
        default=None, metadata={"help": "draw from the likeliest that add up to this probability"}
    )
    stop_at_end: bool = field(
        default=True, metadata={"help": "end where the model writes its end-of-text token"}
    )
    chat_template: str | None = field(
        default="model",
        metadata={
            "help": "model is the tokenizer's own where it has one, none the bare prompt; or a "
            "Jinja file"
        },
    )
    tokenizer: str | None = field(
        default=None, metadata={"help": "folder of the tokenizer, if not the model's"}
    )
    image: str | None = field(
        default=None, metadata={"help": "file of the picture that a model reads beside the prompt"}
    )
    attention: Literal["sdpa", "eager"] = field(
        default="sdpa",
        metadata={"help": "how the model computes its attention; eager where it has no sdpa"},
    )

    def __post_init__(self) -> None:
        if self.generate < 1:
            raise ValueError(f"generate must be 1 or more; got {self.generate}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 or more; got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be 1 or more; got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0, and 1 at most; got {self.top_p}")
        if not self.temperature and (self.top_k, self.top_p) != (None, None):
            raise ValueError(
                "top_k and top_p choose what is drawn from, but temperature 0 draws nothing; set "
                "temperature=1 too"
            )
