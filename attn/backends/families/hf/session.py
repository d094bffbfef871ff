"""A session of a language model that writes token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from attn.backends.chat.prompts import (
    EMPTY_PROMPT,
    GENERATED,
    Template,
    Vocabulary,
    read_prompt,
)
from attn.backends.families.hf.layers import attention_layers
from attn.backends.families.hf.options import HFOptions
from attn.backends.families.hf.pictures import Picture, lay_out, read_with_picture
from attn.backends.families.hf.writing import WrittenText, make_recipe
from attn.backends.types import ModelInfo, OnCall, Output, Session, image_seed
from attn.engine.refuse import refuse_weightless
from attn.errors import RequestError
from attn.schema import UNKNOWN, Call, Layer, Request, Segment, Token
from attn.schema import Sequence as TokenSequence

CACHED = 16
"""So many prompts are tokenized only once; each is asked for several times."""
UNREAD_NEGATIVE = "the negative prompt is not read: there is no guidance"
SAME_TEXTS = "temperature is 0, so all texts of a prompt are the same; --set temperature=1 draws"


@dataclass(frozen=True)
class Reader:
    """How a model reads prompts.

    Attributes:
        vocabulary: of its tokenizer.
        template: of its chat, or None.
        ends: ids of the tokens that end a text.
        picture: that is read beside every prompt, or None.
    """

    vocabulary: Vocabulary
    template: Template
    ends: frozenset[int]
    picture: Picture | None = None

    def read(self, prompt: str) -> tuple[Token, ...]:
        """Tokenize a prompt, with its picture if there is one."""
        if self.picture is None:
            return read_prompt(self.vocabulary, prompt, self.template)
        return read_with_picture(self.vocabulary, prompt, self.template, self.picture)


class HFSession(Session):
    """A loaded model. Its sequence is the prompt, then what it writes, token by token."""

    def __init__(self, model: Any, reader: Reader, options: HFOptions, info: ModelInfo) -> None:
        self.model = model
        self.reader = reader
        self.options = options
        self.info = info
        self._read = lru_cache(CACHED)(reader.read)

    def towers(self) -> Mapping[str, nn.Module]:
        """Return the language model, the one tower."""
        return {"denoiser": self.model}

    def complete(self, request: Request) -> Request:
        """Say how many steps there are, and check that the prompt fits; see `Session.complete`."""
        if (request.width, request.height, request.scheduler) != (None, None, None):
            raise RequestError("this model writes text: it has no size and no scheduler")
        if request.guidance not in (None, 1.0):
            raise RequestError(
                f"this model has no guidance; got {request.guidance:g}, leave --guidance out"
            )
        if request.images < 1:
            raise RequestError(
                f"images (texts of one prompt) must be at least 1; got {request.images}"
            )
        steps = self.options.generate + 1
        if request.steps not in (None, steps):
            raise RequestError(
                "this model reads the prompt in one step, and each token that it writes in another "
                f"({steps}); say with --generate how many it writes; got steps {request.steps}"
            )
        self._require_room(request)
        return replace(request, negative="", steps=steps, guidance=1.0)

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell of negative and empty prompts, and of equal texts; see `Session.remarks`."""
        is_repeated = request.images > 1 and not self.options.temperature
        return (
            *([UNREAD_NEGATIVE] if request.negative else []),
            *([] if request.prompt.strip() else [EMPTY_PROMPT]),
            *([SAME_TEXTS] if is_repeated else []),
        )

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`, the only one."""
        return ("cond",)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the self-attention of every block."""
        return attention_layers(self.model, self.sequence(request, "cond").segments)

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return the prompt, and the positions that are written at most."""
        prompt = self._read(request.prompt)
        start, stop = len(prompt), len(prompt) + self.options.generate
        picture = self.reader.picture
        segments = (
            *lay_out(prompt, None if picture is None else picture.grid),
            Segment(GENERATED, "text", start, stop, is_generated=True),
        )
        unwritten = tuple(
            Token(position, GENERATED, -1, UNKNOWN, True, False, 0, 0, None)
            for position in range(start, stop)
        )
        return TokenSequence(segments, (*prompt, *unwritten))

    def spans(self, request: Request) -> tuple[tuple[int, int], ...]:
        """Return the prompt, then one position at a time."""
        start = len(self._read(request.prompt))
        stop = start + self.options.generate
        return ((0, start), *((position, position + 1) for position in range(start, stop)))

    def check(self) -> None:
        """Refuse a session without weights; see `Session.check`."""
        refuse_weightless(self.model)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Write the texts of a batch, each by itself: none has padding; see `Session.generate`."""
        recipe = make_recipe(self.options, self.reader.ends)
        texts = [
            WrittenText(
                [token.id for token in self._read(request.prompt)],
                torch.Generator().manual_seed(image_seed(request.seed, image)),
                recipe,
                self.reader.picture,
            )
            for request in requests
            for image in range(request.images)
        ]
        for step in range(self.options.generate + 1):
            for sample, writing in enumerate(texts):
                if writing.is_over:
                    continue
                if on_call is not None:
                    self._preview(texts)
                    on_call(_announce(step, sample, writing))
                writing.advance(self.model)
        images = requests[0].images
        return [
            self._output(texts[index * images : (index + 1) * images])
            for index in range(len(requests))
        ]

    def _preview(self, texts: Sequence[WrittenText]) -> None:
        """Show what is written so far to who looks on."""
        if self.watch is not None:
            decode = self.reader.vocabulary.tokenizer.decode
            self.watch(tuple(decode(writing.written) for writing in texts))

    def _output(self, texts: Sequence[WrittenText]) -> Output:
        vocabulary = self.reader.vocabulary
        return Output(
            texts=tuple(
                vocabulary.tokenizer.decode(
                    [number for number in writing.written if number not in vocabulary.specials]
                )
                for writing in texts
            ),
            histories=tuple(self._describe(writing) for writing in texts),
            tokens=tuple(
                self.reader.vocabulary.written(writing.written, len(writing.prompt))
                for writing in texts
            ),
            steps=1 + max(len(writing.written) for writing in texts),
        )

    def _describe(self, writing: WrittenText) -> dict[str, Any]:
        """Return the history of a text, as `outputs/history.json` holds it."""
        start = len(writing.prompt)
        return {
            "prompt_length": start,
            "generated": len(writing.written),
            "texts": {
                str(number): self.reader.vocabulary.text(number)
                for number in sorted(set(writing.written))
            },
            "steps": [
                {"step": step, "position": start + step, "token": number, "confidence": chance}
                for step, (number, chance) in enumerate(
                    zip(writing.written, writing.probabilities, strict=True)
                )
            ],
        }

    def _require_room(self, request: Request) -> None:
        prompt, room = len(self._read(request.prompt)), self._room
        if not prompt:
            raise RequestError("the prompt is empty; give a text with --prompt")
        if room is not None and prompt + self.options.generate > room:
            raise RequestError(
                f"the prompt has {prompt} tokens, and {self.options.generate} are to be written: "
                f"more than the {room} positions of the model; shorten the prompt, or lower "
                "--generate"
            )

    @property
    def _room(self) -> int | None:
        room = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return room if isinstance(room, int) and room > 0 else None


def _announce(step: int, sample: int, writing: WrittenText) -> Call:
    """Return the announcement of one forward, of one text."""
    return Call(
        tower="denoiser",
        step=step,
        timestep=None,
        noise=None,
        rows=(("cond", sample),),
        span=writing.span,
    )
