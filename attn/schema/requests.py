"""What is asked of a model: a generation with its LoRAs, and the forwards that make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attn.schema.interventions import Intervention
from attn.schema.rows import Lengths

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Lora:
    """A LoRA that a generation is made with, and what its change is multiplied by.

    Attributes:
        path: the file, or a folder as peft or diffusers saves it.
        scale: of every part of the model but those in `parts`.
        sha256: of the file; None means that it was not read yet.
        parts: scales by part: `denoiser`, `text_encoder`, `text_encoder_2`, `text_encoder_3`.
        adapter: the one of that name, of a file with several.
        config_sha256: of peft's configuration beside the file; None where there is none.
        modules: patterns of the modules that it changes; none are all. See `attn.lora.selection`.
        null: seed of the random changes that take the place of its own, of the same norm in each
            module; None is the LoRA itself.
    """

    path: str
    scale: float = 1.0
    sha256: str | None = None
    parts: tuple[tuple[str, float], ...] = ()
    adapter: str | None = None
    config_sha256: str | None = None
    modules: tuple[str, ...] = ()
    null: int | None = None

    @property
    def selection(self) -> str:
        """What it is restricted to as people type it: `@up.2,mid`; empty for all of it."""
        return f"@{','.join(self.modules)}" if self.modules else ""

    @property
    def strength(self) -> str:
        """Its scales as people type them: `0.8`, or `unet=0.8,te=0.4`."""
        scales = {LORA_PARTS[part]: scale for part, scale in sorted(self.parts)}
        encoders = [name for name in LORA_PARTS.values() if name != "unet"]
        if scales.keys() >= set(encoders) and len({scales[name] for name in encoders}) == 1:
            (scales["te"],) = {scales.pop(name) for name in encoders}
        others = {"adapter": self.adapter, "null": self.null}
        named = [f"{name}={value}" for name, value in others.items() if value is not None]
        if not (scales or named):
            return shortest(self.scale)
        whole = {} if self.scale == 1 else {"scale": self.scale}
        texts = [f"{name}={shortest(scale)}" for name, scale in (whole | scales).items()]
        return ",".join((*texts, *named))

    @property
    def scales(self) -> tuple[float, ...]:
        """All that its change is multiplied by somewhere."""
        return (self.scale, *(scale for _, scale in self.parts))

    def scale_of(self, part: str) -> float:
        """Return the factor on the weight change of one part of the model."""
        return dict(self.parts).get(part, self.scale)


LORA_PARTS = {
    "denoiser": "unet",
    "text_encoder": "te1",
    "text_encoder_2": "te2",
    "text_encoder_3": "te3",
}
"""The parts of a model that a LoRA changes, with the names for typing."""


Emphasis = tuple[tuple[int, int, float], ...]
"""Weights of parts of a text, none of them 1: (start, stop, weight), in characters."""


def shortest(number: float) -> str:
    """Return a number in the fewest digits that tell it from others."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


@dataclass(frozen=True)
class ExistingPicture:
    """A picture that exists already, and what is done with it.

    Attributes:
        file: where it lies.
        sha256: of the file.
        noise: levels, 0 to 1, at each of which it is shown to the model once; empty if it is drawn
            further.
        strength: which part of the noise it is begun with, 0 to 1, if it is drawn further.
        mask: file of a mask, white where it is drawn anew; empty is everywhere.
        mask_sha256: of that file.
    """

    file: str
    sha256: str
    noise: tuple[float, ...] = ()
    strength: float | None = None
    mask: str = ""
    mask_sha256: str = ""

    @property
    def text(self) -> str:
        """What it is, wherever it lies, as people read it."""
        mask = f", mask {self.mask_sha256[:12]}" if self.mask else ""
        if self.noise:
            levels = ",".join(f"{level:g}" for level in self.noise)
            return f"{self.sha256[:12]} at noise {levels}{mask}"
        return f"{self.sha256[:12]} at strength {self.strength:g}{mask}"


UNCOND = "uncond"
"""The guidance row that reads the negative prompt."""


@dataclass(frozen=True)
class Request:
    """One generation that is asked for; None means the model's default.

    `images` pictures are made from one prompt and seed; `loras` are added up. `options` are the
    family's own: a session reads here those that its backend names in `request_options`, the others
    are for the record. `negative` stays None where the model then reads zeros in place of a text.
    `emphasis` and `negative_emphasis` weight parts of the two texts, which hold no syntax.
    `interventions` change the model's attention while it runs; sessions leave them to the engine.
    `picture` is what a session begins with in place of noise, if its `shows_pictures`; `steps` are
    then those that run: a level each, or the last part of a schedule. `concepts` are words that the
    model does not read, whose maps are kept beside; see `Call.concepts`. `frames` are those of a
    video, shown `fps` a second; None of what is no video.
    """

    prompt: str
    negative: str | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    images: int = 1
    scheduler: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    loras: tuple[Lora, ...] = ()
    emphasis: Emphasis = ()
    negative_emphasis: Emphasis = ()
    interventions: tuple[Intervention, ...] = ()
    picture: ExistingPicture | None = None
    concepts: tuple[str, ...] = ()
    frames: int | None = None
    fps: float | None = None

    def prompt_of(self, branch: str) -> str:
        """Return what a guidance row reads: in `uncond` the negative prompt, empty if None."""
        return self.negative or "" if branch == UNCOND else self.prompt


@dataclass(frozen=True)
class Call:
    """One forward of a tower, announced just before it runs.

    `rows[i]` says which (branch, sample) the i-th row of the batch is. `skipped_layers` are paths
    of modules (or of their parents) that this call leaves out. `padding[i]` is the number of
    positions that the i-th row begins with and that are no part of its sequence: a mask hides them
    as keys; empty is no padding. `outcome` is asked for when the step is over, and returns all
    `STEP_MEASURES`, (row, position) with the padding; None where the model writes no text. `span`
    are the positions that the rows read, where a text grows; see `Step.span`. `lengths[i]` says, by
    name, how many positions segments have in the i-th row, where that is fewer than a layer's: the
    rows of a forward have the segments of a layer one behind the other, and a mask hides what fills
    the shorter rows up, behind the last of these segments; empty is no such segment. `concepts` are
    the states of each of `Request.concepts`, (position, channel), as the first of the layers that
    read the text would be given them; they enter no forward of the model's.
    """

    tower: str
    step: int
    timestep: float | None
    noise: float | None
    rows: tuple[tuple[str, int], ...]
    skipped_layers: tuple[str, ...] = ()
    padding: tuple[int, ...] = ()
    span: tuple[int, int] | None = None
    lengths: tuple[Lengths, ...] = ()
    outcome: Callable[[], Mapping[str, np.ndarray]] | None = field(default=None, compare=False)
    concepts: tuple[Any, ...] = field(default=(), compare=False)
