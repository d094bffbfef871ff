"""What a backend is: a declaration of how one model family loads, is laid out, and generates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from attn.choices import NumberFormat, Offload
from attn.errors import ModelError
from attn.schema import Call, Layer, LayerKey, Lora, Request, Token
from attn.schema import Sequence as TokenSequence

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

OnCall = Callable[[Call], None]
Preview = tuple[Any, ...]
"""What a model expects of an outcome before it is finished: for each sample, a small image of
Pillow, or the text so far."""


@dataclass(frozen=True)
class Placement:
    """Where the weights of a model go, and as what.

    Attributes:
        device: a device of torch, or `auto`: the first GPU, else `cpu`.
        dtype: the weights' number format; `auto` is float32 on a CPU, else bfloat16.
        offload: `model` keeps each part of a pipeline in main memory while it does not run.
        weights: whether weights are read; without, only configurations and tokenizers are, enough
            to plan a capture.
    """

    device: str = "auto"
    dtype: NumberFormat = "auto"
    offload: Offload = "none"
    weights: bool = True


AUTOMATIC = Placement()


class NoLorasError(ModelError):
    """A backend that takes no LoRAs was given some."""


@dataclass(frozen=True)
class BackendSpec:
    """What a plugin hands out: cheap to make; `load` does the heavy import.

    Attributes:
        name: what `--backend` takes; lower case, digits and dashes.
        summary: one line for `attn backends`.
        load: imports the family's module and returns its backend.
        aliases: other names that `--backend` takes.
        takes: what its models take beside a text, of `loras`, `drawings`, `lengths` (how many
            tokens to write) and `frames` (of a video); users of a backend without are told of those
            that have it.
    """

    name: str
    summary: str
    load: Callable[[], Backend]
    aliases: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """What one request generated: a picture per sample, or a text per sample.

    Attributes:
        images: the pictures; of videos, a still of each.
        videos: the frames of each video, in order, all of one size; see `Request.fps`.
        texts: the texts.
        histories: how each picture or text came about, for `outputs/history.json`: what JSON can
            hold.
        tokens: of each text, the tokens of the generated segments, in place of those that
            `Session.sequence` gives for the same positions.
        steps: how many steps ran, if the generation ended before the request's last.
        sketch: the drawing that the model was given, as it was given, for `outputs/sketch.png`: of
            the picture's size, white strokes on black, or black on white, which then
            `sketch.info["ground"] = "light"` says.
        forming: how each picture formed, for `outputs/forming.jpg`: for each, a small picture of
            what the sampler expected at every step, all of one size. A backend that does not know
            it leaves it out.
        noise: SHA-256 of what the denoiser was given first, for each sample: equal ones prove that
            two generations began alike. A backend that does not know it leaves it out.
        unknown: each (branch, segment) of text that no text encoder read, because the model was
            given embeddings: which tokens they are of is unknown, whatever `Session.sequence` says.
        warnings: what the user should know of how it was generated.
    """

    images: tuple[Image, ...] = ()
    texts: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    histories: tuple[Mapping[str, Any], ...] = ()
    tokens: tuple[tuple[Token, ...], ...] = ()
    steps: int | None = None
    sketch: Image | None = None
    forming: tuple[tuple[Image, ...], ...] = ()
    unknown: frozenset[tuple[str, str]] = frozenset()
    warnings: tuple[str, ...] = ()
    videos: tuple[tuple[Image, ...], ...] = ()


@dataclass(frozen=True)
class ModelInfo:
    """What the manifest says of the model.

    Attributes:
        source: what the user asked for.
        identity: `{"sha256": …}` of the local files, with `files` where they are several, or
            `{"revision": …}` of a hub snapshot; a function, because hashing gigabytes is done
            while the model generates.
        dtype: dtype of the denoiser's weights.
        parameters: number of the denoiser's parameters.
    """

    source: str
    identity: Callable[[], dict[str, Any]]
    dtype: str
    parameters: int


def image_seed(seed: int, image: int) -> int:
    """Return the seed of one image of a request; image 0 has the request's own.

    The others are far from seeds that people type: seed + image · 2654435761, modulo 2³² (torch's
    generators take no more bits).
    """
    return (seed + image * 2654435761) % 2**32


class Session(ABC):
    """A loaded model. All methods but `generate` work without weights.

    What the user should know comes with the answer that it is about: of the model in `warnings`, of
    a request from `remarks`, of a prompt in `Sequence.warnings`, of a generation in
    `Output.warnings`.
    """

    info: ModelInfo
    warnings: tuple[str, ...] = ()
    """What the user should know of the loaded model, whatever is generated with it."""
    watch: Callable[[Preview], None] | None = None
    """Told of a `Preview` after each step, where somebody looks on and the model knows it."""
    keeps_forming: bool = True
    """Whether `Output.forming` is kept; where it is not, a session need not make it."""
    weighs_words: bool = False
    """Whether `Request.emphasis` is applied; a request that has it is refused where it is not."""
    shows_pictures: bool = False
    """Whether `Request.picture` is shown; a request that has one is refused where it is not."""
    draws_videos: bool = False
    """Whether `Request.frames` are drawn; a request that has some is refused where they are not."""

    @abstractmethod
    def complete(self, request: Request) -> Request:
        """Return the request with every None replaced by the model's default.

        LoRAs come completed, as `Backend.complete_loras` returns them. Neither this nor remarks,
        branches, layers, sequences and spans may depend on the seed: a run plans traces that differ
        in their seeds once.

        Raises:
            RequestError: the model cannot do what is asked (size, scheduler, …).
            ModelError: a LoRA does not fit the model.
        """

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """Return remarks for the user on how a request will be run.

        Such as what is not read, what takes the place of a default, or which part of a LoRA that
        does not fit is left out.

        Args:
            request: as it came, with None where the default is taken.
            completed: what `complete` made of it.
        """
        return ()

    @abstractmethod
    def branches(self, request: Request) -> tuple[str, ...]:
        """Return the guidance rows that a completed request runs, `cond` first."""

    @abstractmethod
    def towers(self) -> Mapping[str, nn.Module]:
        """Return the modules whose attention can be captured, by tower name, denoiser first."""

    @abstractmethod
    def layers(self, request: Request) -> tuple[Layer, ...]:
        """Return every attention module, in execution order, laid out for the request's size."""

    @abstractmethod
    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """Return segments and tokens that the model reads for one branch of the request."""

    def spans(self, request: Request) -> tuple[tuple[int, int], ...]:
        """Return the positions `[start, stop)` of the sequence that each step reads.

        Of a model whose text grows from step to step, which has read all before `stop` earlier; the
        last step ends where the sequence does. `Call.span` then says the same of every forward. A
        generation may end earlier: it has so many steps fewer, and its trace ends there. Empty
        where every step reads the whole sequence.
        """
        return ()

    def left_out(self, request: Request) -> tuple[LayerKey, ...]:
        """Return (tower, path) of modules whose attention is no layer.

        Only of such as attend among other rows than a call has, for each token alone, say: their
        positions are none of the sequence's. Whatever else attends in a tower is a layer.
        """
        return ()

    def concept_modules(self, request: Request) -> Mapping[LayerKey, str]:
        """Return, of layers that can read `Request.concepts`, what is run again with them.

        That is the layer's own path where it reads the text by cross-attention, or that of the
        block that it is in where the block hands text on to the next. The module takes
        `hidden_states` and `encoder_hidden_states`, and each forward is announced with the states
        of the concepts, `Call.concepts`. Empty where there is no such thing; a request that has
        concepts is then refused.
        """
        return {}

    def concept_lengths(self, request: Request) -> tuple[int, ...]:
        """Return how many positions the states of each of `Request.concepts` have."""
        return (1,) * len(request.concepts)

    @abstractmethod
    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """Run the requests as one batch and return their outputs in order.

        The requests differ in prompt, its emphasis, and seed only; the lengths of their sequences
        may differ too. Their LoRAs are in the model during this call and have left no trace in it
        afterwards. Before every forward of a tower `on_call` is told what runs; sample `s` of its
        rows is image `s % images` of request `s // images`. With `on_call=None` the very same
        generation runs unobserved.
        """

    def check(self) -> None:  # noqa: B027 - most models can be captured
        """Refuse a model whose attention cannot be captured exactly, before time is spent.

        Raises:
            CaptureError: with the call that undoes the obstacle.
        """


class Backend(ABC):
    """One model family."""

    Options: ClassVar[type[Any]]
    """Frozen dataclass with the family's own options; every field has a default and
    `metadata={"help": …}`."""

    example_prompt: ClassVar[str]
    """The prompt that is used with the built-in demo model when none is given."""

    request_options: ClassVar[tuple[str, ...]] = ()
    """Names of options that a session reads from `Request.options`, where they may differ from
    request to request; all others belong to the session, which is opened with them."""

    demo_note: ClassVar[str] = "tiny and untrained: real attention, random weights"
    """What the user is told of the built-in demo model."""

    variants: ClassVar[tuple[str, ...]] = ()
    """Names of demo models beside `demo`, each `demo:NAME`."""

    def note_on_demo(self, model: str) -> str:
        """Return a remark for the user on a demo model, `demo` or `demo:VARIANT`.

        A family that has variants overrides this.
        """
        return self.demo_note

    def default_model(self, options: Any) -> str:
        """Return the model opened when none is named: the built-in demo model.

        A family whose options can name the model's files returns what they name.
        """
        return "demo"

    def complete_loras(self, loras: Sequence[Lora]) -> tuple[Lora, ...]:
        """Check LoRA files before a model is loaded, and complete them.

        A family that takes LoRAs overrides this; what it accepts, `Session.generate` applies.

        Returns:
            the LoRAs with their SHA-256, in an order that does not depend on that of the argument.

        Raises:
            ModelError: a file cannot be used with this family's models.
        """
        raise NoLorasError(
            "this backend takes no LoRAs: leave lora out, or choose a backend that does"
        )

    @abstractmethod
    def open(
        self, source: str | Path | object, options: Any, placement: Placement = AUTOMATIC
    ) -> Session:
        """Load a model: a folder, a file, a hub id, `demo`, or an object that the family accepts.

        Raises:
            ModelError: not found, not of this family, or weights missing or unexpected.
        """
