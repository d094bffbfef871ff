"""A session of a language model that writes a text by unmasking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from attn.backends.chat.prompts import EMPTY_PROMPT, Template, read_prompt
from attn.backends.diffusers.finite import require_finite
from attn.backends.diffusers.texts.encoders import prompts_checked
from attn.backends.families.mmada import history
from attn.backends.families.mmada.chat import MaskedVocabulary
from attn.backends.families.mmada.options import MMaDAOptions
from attn.backends.families.mmada.unmask import UnmaskSettings, Writing
from attn.backends.types import ModelInfo, OnCall, Output, Session, image_seed
from attn.engine.refuse import refuse_weightless
from attn.errors import RequestError
from attn.schema import Layer, Request, Segment, Token
from attn.schema import Sequence as TokenSequence

THINK = (
    "You should first think about the reasoning process in the mind and then provide the user with "
    "the answer. The reasoning process is enclosed within <think> </think> tags, i.e. <think> "
    "reasoning process here </think> answer here\n"
)
"""What MMaDA's mixed chain-of-thought models are told to make them reason first."""
CACHED = 16
"""So many prompts are tokenized only once; each is asked for several times."""
UNREAD_NEGATIVE = "the negative prompt is not read: the uncond row reads a masked prompt"


class MMaDASession(Session):
    """A loaded model. Its sequence is the prompt, then what is written."""

    def __init__(
        self,
        model: LlamaForCausalLM,
        vocabulary: MaskedVocabulary,
        template: Template,
        options: MMaDAOptions,
        info: ModelInfo,
    ) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.options = options
        self.info = info
        lead = THINK if options.cot else ""
        self._read = lru_cache(CACHED)(
            partial(read_prompt, vocabulary, template=template, lead=lead)
        )

    def towers(self) -> Mapping[str, nn.Module]:
        """Return the language model, the one tower."""
        return {"denoiser": self.model}

    def complete(self, request: Request) -> Request:
        """Fill in steps and guidance, and check that the prompt fits; see `Session.complete`."""
        if (request.width, request.height, request.scheduler) != (None, None, None):
            raise RequestError("this model writes text: it has no size and no scheduler")
        if request.images < 1:
            raise RequestError(
                f"images (texts of one prompt) must be at least 1; got {request.images}"
            )
        self._require_room(request)
        return replace(
            request,
            negative="",
            steps=self._steps(request.steps),
            guidance=self._guidance(request.guidance),
        )

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Tell of a negative prompt, and of an empty one; see `Session.remarks`."""
        return (
            *([UNREAD_NEGATIVE] if request.negative else []),
            *([] if request.prompt.strip() else [EMPTY_PROMPT]),
        )

    def branches(self, request: Request) -> tuple[str, ...]:
        """Return `cond`, and `uncond` where guidance is above 1."""
        guided = request.guidance is not None and request.guidance > 1
        return ("cond", "uncond") if guided else ("cond",)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the self-attention of every block, all positions to all."""
        config, segments = self.model.config, self.sequence(request, "cond").segments
        heads, key_heads = config.num_attention_heads, config.num_key_value_heads
        return tuple(
            Layer(
                index=index,
                tower="denoiser",
                path=f"model.layers.{index}.self_attn",
                kind="self",
                num_heads=heads,
                queries=segments,
                keys=segments,
                head_dim=config.head_dim,
                num_key_heads=None if key_heads == heads else key_heads,
            )
            for index in range(config.num_hidden_layers)
        )

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return the prompt, masked in `uncond`, and the masks that will be written over."""
        prompt = self._prompt(request)
        start, length = len(prompt), self.options.gen_length
        if branch == "uncond":
            prompt = tuple(
                self._masked(position, "prompt", special=True) for position in range(start)
            )
        written = range(start, start + length)
        generated = tuple(
            self._masked(position, "generated", special=False) for position in written
        )
        segments = (
            Segment("prompt", "text", 0, start),
            Segment("generated", "text", start, start + length, is_generated=True),
        )
        return TokenSequence(segments, (*prompt, *generated))

    def check(self) -> None:
        """Refuse a session without weights; see `Session.check`."""
        refuse_weightless(self.model)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Write the texts of a batch; see `Session.generate`."""
        first, images = requests[0], range(requests[0].images)
        prompts = [[token.id for token in self._prompt(request)] for request in requests]
        writing = Writing(
            [prompt for prompt in prompts for _ in images],
            generators(requests),
            self._recipe(first),
            self.model.device,
        )
        with self._checked(requests, writing):
            writing.run(partial(self._predict, first, on_call))
        return [
            self._output(writing, range(index * len(images), (index + 1) * len(images)))
            for index in range(len(requests))
        ]

    def _predict(
        self,
        request: Request,
        on_call: OnCall | None,
        writing: Writing,
        step: int,
        columns: range,
    ) -> Tensor:
        """Run the model once; logits = uncond + guidance · (cond - uncond), rows [cond; uncond]."""
        branches = self.branches(request)
        guided = len(branches) > 1
        if on_call is not None:
            if self.watch is not None:
                self.watch(tuple(history.texts_so_far(writing, self.vocabulary)))
            on_call(history.announce(writing, step, branches, history.outcome))
        rows = writing.ids
        if guided:
            unread = rows.clone()
            unread[:, : writing.start] = writing.recipe.mask
            rows = torch.cat([rows, unread])
        logits: Tensor = self.model(
            input_ids=rows,
            logits_to_keep=torch.tensor(columns, device=rows.device),
            use_cache=False,
            **padding(writing, rows),
        ).logits
        return guide(logits, request, guided)

    def _output(self, writing: Writing, samples: range) -> Output:
        vocabulary = self.vocabulary
        tokens = tuple(history.written_tokens(writing, sample, vocabulary) for sample in samples)
        written = [[token.id for token in text if not token.special] for text in tokens]
        ran = len(writing.records)
        return Output(
            texts=tuple(vocabulary.tokenizer.decode(ids) for ids in written),
            histories=tuple(history.describe(writing, sample, vocabulary) for sample in samples),
            tokens=tokens,
            steps=ran if ran < writing.recipe.steps else None,
        )

    def _checked(
        self, requests: Sequence[Request], writing: Writing
    ) -> AbstractContextManager[None]:
        """Compare what the model reads first with the tokens that the trace has."""
        branches = self.branches(requests[0])
        rows = [
            self.sequence(request, branch).tokens
            for branch in branches
            for request in requests
            for _ in range(request.images)
        ]
        return prompts_checked(self.model, rows, writing.padding * len(branches))

    def _prompt(self, request: Request) -> tuple[Token, ...]:
        return self._read(request.prompt)

    def _masked(self, position: int, segment: str, *, special: bool) -> Token:
        number = self.vocabulary.mask
        text = self.vocabulary.text(number)
        return Token(position, segment, number, text, special, False, 0, 0, None)

    def _recipe(self, request: Request) -> UnmaskSettings:
        options = self.options
        return UnmaskSettings(
            length=options.gen_length,
            block=options.block_length,
            steps=request.steps or options.gen_length,
            temperature=options.temperature,
            remasking=options.remasking,
            mask=self.vocabulary.mask,
            stop=self.vocabulary.end if options.stop_at_end else None,
        )

    def _steps(self, requested: int | None) -> int:
        steps = self.options.gen_length if requested is None else requested
        blocks = self.options.gen_length // self.options.block_length
        if steps < 1 or steps % blocks:
            raise RequestError(
                f"steps must be divisible by the number of blocks, {blocks} (gen_length / "
                f"block_length); got {steps}"
            )
        return steps

    def _guidance(self, requested: float | None) -> float:
        scale = self.options.cfg_scale
        guidance = 1.0 + (scale or 0.0) if requested is None else requested
        if not math.isfinite(guidance):
            raise RequestError(f"guidance must be a number; got {guidance}")
        if scale is not None and guidance != 1.0 + scale:
            raise RequestError(
                f"guidance {guidance:g} and cfg_scale {scale:g} contradict each other: guidance is "
                "cfg_scale + 1; give one of them"
            )
        return guidance

    def _require_room(self, request: Request) -> None:
        prompt, room = len(self._prompt(request)), self.model.config.max_position_embeddings
        length = self._written_length()
        if not prompt:
            raise RequestError("the prompt is empty; give a text with --prompt")
        if prompt + length > room:
            raise RequestError(
                f"the prompt has {prompt} tokens, and {length} are to be written: more than the "
                f"{room} positions of the model; shorten the prompt, or lower "
                + ("image_rows or image_columns" if self.options.t2i else "gen_length")
            )
        if self.options.stop_at_end and self.vocabulary.end is None:
            raise RequestError("stop_at_end: the tokenizer does not say which token ends a text")

    def _written_length(self) -> int:
        return self.options.gen_length


def guide(logits: Tensor, request: Request, guided: bool) -> Tensor:
    """Return uncond + guidance · (cond - uncond) of rows [cond; uncond].

    Raises:
        ModelError: a logit is NaN or infinite, of which no token could be drawn.
    """
    require_finite(logits, "logits of the next tokens", "language model", "output")
    if not guided:
        return logits
    cond, uncond = logits.chunk(2)
    return uncond + (request.guidance or 1.0) * (cond - uncond)


def generators(requests: Sequence[Request]) -> list[torch.Generator]:
    """Return a generator for every sample of a batch."""
    return [
        torch.Generator().manual_seed(image_seed(request.seed, image))
        for request in requests
        for image in range(request.images)
    ]


def padding(writing: Writing, rows: Tensor) -> dict[str, Tensor]:
    """Return arguments that hide the padding from attention; empty without padding."""
    if not any(writing.padding):
        return {}
    padding = torch.tensor(writing.padding, device=rows.device)
    padding = padding.repeat(len(rows) // len(padding))[:, None]
    positions = torch.arange(rows.shape[1], device=rows.device) - padding
    return {"attention_mask": positions >= 0, "position_ids": positions.clamp(min=0)}
