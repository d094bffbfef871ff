"""The options of `attn capture`, and those of everything that generates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from attn import choices
from attn.errors import UsageError
from attn.verbs import checks, parsing
from attn.verbs.capture.drawings import Drawing, drawing, drawing_file
from attn.verbs.options import About, Engine, Told, validate
from attn.verbs.prompt_files import read_prompts

if TYPE_CHECKING:
    from attn.engine.plan import Keep
    from attn.schema import Intervention
    from attn.verbs.lora_specs import Spec
else:
    Intervention = object
    Spec = object  # importing it would double the time of --help

Loras: TypeAlias = Spec | Sequence[Spec] | None
Cuts: TypeAlias = str | Intervention | Sequence[str | Intervention] | None
BRANCHES = {"cond": ("cond",), "uncond": ("uncond",), "both": ("cond", "uncond")}

Prompt = Annotated[
    str | Sequence[str] | None,
    About(
        "What to draw, or to ask; repeat for several.",
        ("--prompt", "-p"),
        python="One or several; None takes the example of the built-in demo model.",
        check=checks.texts,
    ),
]
Seed = Annotated[
    int | Sequence[int],
    About(
        "0, 0-7 or 1,5,9; each seed is a trace.",
        python="One or several; every prompt runs with every seed, each a trace.",
        read=parsing.parse_seeds,
        check=checks.seeds,
    ),
]
BackendName = Annotated[
    str,
    About("Model family; see `attn backends`.", ("--backend", "-b"), check=checks.text),
]
Settings = Annotated[
    Mapping[str, str] | None,
    About(
        "KEY=VALUE option of the backend; repeat.",
        ("--set",),
        python="Options of the backend as {KEY: VALUE}, both texts.",
        read=parsing.split_settings,
        check=checks.settings,
    ),
]
Level = Annotated[
    choices.Level,
    About("Detail: mass, means, maps, heads or factors."),
]


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How pictures or texts are generated, and what is kept of their attention."""

    model: Annotated[
        str | Path | object,
        About(
            "Diffusers folder, .safetensors file, hub id (hub:OWNER/NAME to download), demo or "
            "demo:VARIANT. [default: demo]",
            ("--model", "-m"),
            python="Folder, .safetensors file, hub id, demo, demo:VARIANT, a pipeline that is "
            "loaded already, or None: the denoiser that `settings` name, else demo.",
            check=checks.unchecked,
        ),
    ] = None
    prompts: Annotated[
        str | Path | None,
        About("File of prompts: .json list, .jsonl or .txt.", check=checks.folder),
    ] = None
    prompt_syntax: Annotated[
        Literal["plain", "a1111"],
        About("Read (word:1.3) and <lora:NAME:0.8> as text, or as A1111's web UI does."),
    ] = "plain"
    lora_dir: Annotated[
        str | Path | None,
        About("Where <lora:NAME:0.8> is looked for, with subfolders.", check=checks.folder),
    ] = None
    negative: Annotated[
        str | None, About("What guidance pushes away from, or default.", check=checks.negative)
    ] = None
    steps: Annotated[int | None, About("Steps of the sampler.", least=1)] = None
    guidance: Annotated[float | None, About("Guidance scale; 1 turns it off.", least=0)] = None
    seed: Seed = 0
    size: Annotated[
        tuple[int, int] | None,
        About(
            "WIDTHxHEIGHT in pixels.",
            python="(width, height) in pixels.",
            read=parsing.parse_size,
            check=checks.size,
        ),
    ] = None
    frames: Annotated[
        int | None, About("Frames of a video, of backends that draw videos.", least=1)
    ] = None
    fps: Annotated[
        float | None, About("Frames that a video shows a second.", least=1, most=240)
    ] = None
    images: Annotated[int, About("Pictures, or texts, of each trace.", least=1)] = 1
    batch: Annotated[int, About("Traces that are generated at once.", least=1)] = 1
    scheduler: Annotated[
        str | None,
        About("Sampler, such as euler, ddim, dpm++2m-karras.", check=checks.text),
    ] = None
    keep: Level = "maps"
    keys: Annotated[choices.Keys, About("Columns of maps: content tokens and a rest, or all.")] = (
        "content"
    )
    mass: Annotated[
        choices.Masses, About("Masses: text keys, or full (image keys, text rows).")
    ] = "text"
    blocks: Annotated[
        str | Sequence[str] | None,
        About("QUERIES.KEYS, such as image.text,image.image.", check=checks.pieces),
    ] = None
    layers: Annotated[
        str | Sequence[str] | None,
        About("Indices (0-11,20) or a glob of paths; repeat.", check=checks.pieces),
    ] = None
    branch: Annotated[
        Literal["cond", "uncond", "both"], About("Guidance rows: cond, uncond or both.")
    ] = "cond"
    entropy: Annotated[bool, About("Entropy of rows also where it costs extra.")] = False
    forming: Annotated[
        bool,
        About("", python="Keep how each picture formed, a small picture a step.", is_typed=False),
    ] = True
    device: Annotated[
        str,
        About("auto, cpu, cuda or cuda:N; several, cuda:0,cuda:1, are workers.", check=checks.text),
    ] = "auto"
    dtype: Annotated[
        choices.NumberFormat,
        About("auto, float32, bfloat16 or float16."),
    ] = "auto"
    offload: Annotated[choices.Offload, About("none, or model: parts wait in main memory.")] = (
        "none"
    )
    budget: Annotated[
        int | str,
        About(
            "Refuse to write more than this.",
            python="Refuse to write more than this: bytes, or a text such as 8GB.",
            check=checks.byte_limit,
        ),
    ] = "8GB"
    dry_run: Annotated[bool, About("Show the plan and its bytes; load no weights.")] = False
    resume: Annotated[bool, About("Go on with the run in --out, if there is one.")] = False
    shard: Annotated[
        str | None,
        About(
            "Make part I of N only: I/N, or slurm for the task of a job array; all parts have the "
            "same --out.",
            check=checks.text,
        ),
    ] = None
    workers: Annotated[
        int | None,
        About("Processes that make traces at once, each with the model loaded.", least=1),
    ] = None
    engine: Engine = "local"
    gpus_per_worker: Annotated[
        float | None, About("GPUs, or a part of one, of each worker of --engine ray.", least=0)
    ] = None

    def __post_init__(self) -> None:
        validate(self)
        if self.gpus_per_worker is not None and self.engine != "ray":
            raise UsageError(
                "gpus_per_worker: this is of --engine ray; local workers share the devices that "
                "are named, such as --device cuda:0,cuda:1"
            )
        if len(self.devices) > 1 and self.engine == "ray":
            raise UsageError(
                f"device: expected one for --engine ray, whose workers have the GPUs that Ray "
                f"gives them (--gpus-per-worker); got '{self.device}'"
            )

    @property
    def devices(self) -> tuple[str, ...]:
        """All devices: each of several is a worker's."""
        return tuple(filter(None, (name.strip() for name in self.device.split(","))))

    @property
    def goes_on(self) -> bool:
        """Whether the folder may hold traces of the same run: earlier ones, or other shards'."""
        return self.resume or self.shard is not None

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds."""
        return checks.seeds("seed", self.seed)

    @property
    def limit(self) -> int:
        """The bytes of the budget."""
        return checks.byte_limit("budget", self.budget)

    @property
    def wanted(self) -> Keep:
        """What is kept of the attention."""
        from attn.engine.plan import Keep

        return Keep(
            level=self.keep,
            keys=self.keys,
            mass=self.mass,
            blocks=checks.pieces("blocks", self.blocks),
            layers=checks.pieces("layers", self.layers) or (),
            branches=BRANCHES[self.branch],
            entropy=self.entropy,
            forming=self.forming,
        )


@dataclass(frozen=True, kw_only=True)
class VariantOptions(GenerationOptions):
    """How variants of one generation are made, to be compared."""

    seed: Seed = range(16)
    keep: Level = "means"
    budget: Annotated[
        int | str, About("Refuse to write more than this a variant.", check=checks.byte_limit)
    ] = "8GB"


@dataclass(frozen=True)
class CaptureOptions(GenerationOptions):
    """What `attn capture` takes."""

    backend: BackendName
    prompt: Prompt = None
    _: KW_ONLY
    out: Annotated[
        str | Path | None,
        About(
            "Empty or new folder. [default: attn-runs/DATE-BACKEND-PROMPT]",
            ("--out", "-o"),
            check=checks.folder,
        ),
    ] = None
    lora: Annotated[
        Loras,
        About(
            "FILE, FILE:SCALE or by part FILE:unet=0.8,te=0.4; FILE@up.2 only in these modules; "
            "FILE may be a folder of peft or diffusers; demo is the demo's own; repeat to add up.",
            python='One or several that are added up: a path, "FILE:SCALE", or (path, scale), '
            'where scale may be one by part: {"unet": 0.8, "te": 0.4}.',
            check=checks.unchecked,
        ),
    ] = None
    sketch: Annotated[
        Drawing | None,
        About(
            "Drawing for backends that read one: FILE, or none; compare takes several.",
            python="Drawing for backends that read one: a file, an image of Pillow, or none.",
            check=drawing,
        ),
    ] = None
    picture: Annotated[
        str | Path | None,
        About(
            "A picture that exists, FILE: shown to the model at each --noise, or drawn further "
            "with --strength.",
            check=checks.folder,
        ),
    ] = None
    noise: Annotated[
        float | Sequence[float] | None,
        About(
            "Parts of noise with which --picture is shown, NUMBER,NUMBER,…, a step each. "
            "[default: 0.6,0.3]",
            python="Parts of noise with which `picture` is shown, a step each.",
            read=parsing.split,
            check=checks.levels,
        ),
    ] = None
    strength: Annotated[
        float | None,
        About("Draw --picture further, from this part of the noise on: above 0, up to 1."),
    ] = None
    mask_picture: Annotated[
        str | Path | None,
        About("Draw --picture anew where this picture is white.", check=checks.folder),
    ] = None
    concepts: Annotated[
        str | Sequence[str] | None,
        About(
            "Words outside the prompt, WORD,WORD,…: which of them each place of the picture is "
            "closest to; the model does not read them.",
            check=checks.concepts,
        ),
    ] = None
    cut: Annotated[
        Cuts,
        About(
            "Change the model meanwhile: a word, padding, sinks:3, 'head 4.2', 'layer up.*', each "
            "with @layers=…,steps=0-9,noise=0.3-1; repeat to add up.",
            python="Change the model meanwhile: texts as on the command line, or "
            "schema.Intervention; several add up.",
            check=checks.unchecked,
        ),
    ] = None
    generate: Annotated[
        int | None, About("Tokens to write at most, of backends that write a text.", least=1)
    ] = None
    settings: Settings = None
    report: Told = None

    @property
    def backend_settings(self) -> dict[str, str]:
        """Options of the backend, with those that have a name of their own.

        Raises:
            UsageError: one is given twice.
        """
        sketch = None if self.sketch is None else drawing_file(self.sketch)
        named = {"sketch": sketch, "generate": self.generate}
        filled = {key: str(value) for key, value in named.items() if value is not None}
        settings = dict(self.settings or {})
        for key in filled.keys() & settings.keys():
            raise UsageError(
                f"option '{key}' is given twice, as '{settings[key]}' and '{filled[key]}'; give "
                "it once."
            )
        return settings | filled


def read_prompt(options: GenerationOptions, prompt: Prompt) -> tuple[str, ...] | None:
    """Return the prompts that were given, of a file or one by one; None is none.

    Raises:
        UsageError: both are given, or the file cannot be read.
    """
    if options.prompts is None:
        return None if prompt is None else checks.texts("prompt", prompt)
    if prompt:
        raise UsageError("give --prompt or --prompts, not both")
    return read_prompts(Path(options.prompts))
