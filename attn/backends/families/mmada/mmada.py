"""MMaDA and LLaDA: language models that write by unmasking, every position reading every other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from attn import demo
from attn.backends.diffusers.encoders import prompts_checked
from attn.backends.diffusers.finite import require_finite
from attn.backends.families.mmada import history, llama, text_to_image
from attn.backends.families.mmada.chat import (
    Template,
    Vocabulary,
    read_prompt,
    read_template,
    read_vocabulary,
)
from attn.backends.families.mmada.llama import Config
from attn.backends.families.mmada.text_to_image import Codes
from attn.backends.families.mmada.unmask import Remasking, UnmaskSettings, Writing
from attn.backends.loading import source as sources
from attn.backends.loading.devices import (
    align,
    choose_device,
    choose_dtype,
    count_parameters,
    dtype_name,
)
from attn.backends.loading.quiet import quiet
from attn.backends.types import Backend, ModelInfo, OnCall, Output, Session, image_seed
from attn.errors import CaptureError, ModelError, RequestError
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

FILES = ("*.json", "*.jinja")
"""What is downloaded of a hub repository to plan a run: no code, nothing pickled."""
WEIGHTS = "*.safetensors"
UNREAD_NEGATIVE = "the negative prompt is not read: the uncond row reads a masked prompt"
EMPTY_PROMPT = "the prompt is empty: the model is asked nothing"
"""What is downloaded besides to generate."""


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


class MMaDASession(Session):
    """A loaded model. Its sequence is the prompt, then what is written."""

    def __init__(
        self,
        model: LlamaForCausalLM,
        vocabulary: Vocabulary,
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
        if any(parameter.is_meta for parameter in self.model.parameters()):
            raise CaptureError("this session was opened without weights; it can plan, not generate")

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Write the texts of a batch; see `Session.generate`."""
        first, images = requests[0], range(requests[0].images)
        prompts = [[token.id for token in self._prompt(request)] for request in requests]
        writing = Writing(
            [prompt for prompt in prompts for _ in images],
            _generators(requests),
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
            **_padding(writing, rows),
        ).logits
        return _guided(logits, request, guided)

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


class PictureSession(MMaDASession):
    """A loaded model that writes image tokens. Its sequence is the prompt, then the picture."""

    def __init__(self, codes: Codes, *rest: Any) -> None:
        super().__init__(*rest)
        self.codes = codes

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return the prompt, empty in `uncond`, and where the picture will be."""
        return text_to_image.lay_out(self.vocabulary, self.codes, request.prompt, branch)

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return the attention of every block: text and picture in one sequence."""
        return tuple(replace(layer, kind="joint") for layer in super().layers(request))

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Write the image tokens of a batch; see `Session.generate`."""
        first, images = requests[0], range(requests[0].images)
        painting = text_to_image.Painting(
            [[token.id for token in self._prompt(request)] for request in requests for _ in images],
            _generators(requests),
            self._recipe(first),
            self.model.device,
            self.codes,
        )
        with self._checked(requests, painting):
            painting.paint(partial(self._predict_codes, first, on_call))
        histories = [
            text_to_image.describe(painting, sample, self.vocabulary)
            for sample in range(len(painting.padding))
        ]
        count = len(images)
        return [
            Output(histories=tuple(histories[index * count : (index + 1) * count]))
            for index in range(len(requests))
        ]

    def _predict_codes(
        self, request: Request, on_call: OnCall | None, painting: text_to_image.Painting, step: int
    ) -> Tensor:
        """Run the model once; logits as in `_predict`, of the codes alone."""
        branches = self.branches(request)
        if on_call is not None:
            on_call(history.announce(painting, step, branches, text_to_image.outcome))
        rows, hiding = text_to_image.rows_of(painting, guided=len(branches) > 1)
        columns = torch.arange(rows.shape[1], device=rows.device)[painting.columns]
        logits: Tensor = self.model(
            input_ids=rows, logits_to_keep=columns, use_cache=False, **hiding
        ).logits[..., self.codes.first : self.codes.first + self.codes.count]
        return _guided(logits, request, len(branches) > 1)

    def _prompt(self, request: Request) -> tuple[Token, ...]:
        tokens = self.sequence(request, "cond").tokens
        return tuple(token for token in tokens if token.segment == "prompt")

    def _recipe(self, request: Request) -> UnmaskSettings:
        length = self.codes.length
        steps = request.steps or text_to_image.STEPS
        mask, temperature = self.vocabulary.mask, self.options.temperature
        return UnmaskSettings(length, length, steps, temperature, "low_confidence", mask)

    def _steps(self, requested: int | None) -> int:
        steps = text_to_image.STEPS if requested is None else requested
        if steps < 1:
            raise RequestError(f"steps must be at least 1; got {steps}")
        return steps

    def _written_length(self) -> int:
        return self.codes.length + 1


class MMaDABackend(Backend):
    """Opens folders and hub ids of MMaDA and LLaDA, and the demo model."""

    Options = MMaDAOptions
    example_prompt = demo.example_prompt("mmada")
    demo_note = demo.note("mmada")

    def open(
        self,
        source: str | Path | object,
        options: MMaDAOptions,
        *,
        device: str = "auto",
        dtype: str = "auto",
        offload: str = "none",
        weights: bool = True,
    ) -> MMaDASession:
        """Open a model; see `Backend.open`."""
        if offload != "none":
            raise ModelError("this model is one network, so there is no part to offload")
        if not isinstance(source, str | Path):
            raise ModelError(f"expected a folder or a hub id, not a {type(source).__name__}")
        origin = sources.resolve(
            source,
            "mmada",
            expected="a folder with config.json",
            download=partial(_download, weights=weights),
        )
        if not origin.path.is_dir():
            raise ModelError(
                f"{origin.path} is a file; give the folder with config.json, {origin.requested}"
            )
        target = choose_device(device)
        kind = choose_dtype(dtype, target)
        config = llama.read_config(origin.path)
        tokenizer = options.tokenizer and sources.existing(options.tokenizer, "tokenizer")
        with quiet():
            vocabulary = read_vocabulary(tokenizer or origin.path, config)
            template_name = None if options.t2i else options.chat_template
            template = read_template(vocabulary.tokenizer, template_name)
            model = _model(config, origin.path, kind, target, weights=weights)
        files = {} if origin.revision else {"": origin.path}
        if tokenizer:
            files = {"model": origin.path, "tokenizer": tokenizer}
        identity = sources.fingerprint(files, origin.revision) if weights else dict
        info = ModelInfo(origin.requested, identity, dtype_name(kind), count_parameters(model))
        if not options.t2i:
            return MMaDASession(model, vocabulary, template, options, info)
        names = (options.t2i_token, options.soi_token, options.eoi_token)
        grid = (options.image_rows, options.image_columns)
        size = config.codebook_size
        codes = text_to_image.find_codes(vocabulary, config.embeddings, size, grid, names)
        return PictureSession(codes, model, vocabulary, template, options, info)


def _model(
    config: Config, folder: Path, dtype: torch.dtype, device: str, *, weights: bool
) -> LlamaForCausalLM:
    model: Any = llama.empty_model(config, folder)  # transformers' `to` has no types
    if weights:
        llama.load_weights(model, folder, dtype)
        model.to(device)
        if device == "cpu":
            align(model)
    typed: LlamaForCausalLM = model
    return typed


def _guided(logits: Tensor, request: Request, guided: bool) -> Tensor:
    """Return uncond + guidance · (cond - uncond) of rows [cond; uncond].

    Raises:
        ModelError: a logit is NaN or infinite, of which no token could be drawn.
    """
    require_finite(logits, "logits of the next tokens", "language model", "output")
    if not guided:
        return logits
    cond, uncond = logits.chunk(2)
    return uncond + (request.guidance or 1.0) * (cond - uncond)


def _generators(requests: Sequence[Request]) -> list[torch.Generator]:
    """Return a generator for every sample of a batch."""
    return [
        torch.Generator().manual_seed(image_seed(request.seed, image))
        for request in requests
        for image in range(request.images)
    ]


def _download(name: str, *, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [*FILES, WEIGHTS] if weights else [*FILES]
    return Path(snapshot_download(name, allow_patterns=wanted))


def _padding(writing: Writing, rows: Tensor) -> dict[str, Tensor]:
    """Return arguments that hide the padding from attention; empty without padding."""
    if not any(writing.padding):
        return {}
    padding = torch.tensor(writing.padding, device=rows.device)
    padding = padding.repeat(len(rows) // len(padding))[:, None]
    positions = torch.arange(rows.shape[1], device=rows.device) - padding
    return {"attention_mask": positions >= 0, "position_ids": positions.clamp(min=0)}
