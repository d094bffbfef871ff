"""The options of `attn ablate`: what is cut, and how the pictures are generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Annotated

from attn.verbs import checks, inputs
from attn.verbs.ablate.scan import Scan
from attn.verbs.capture.options import CaptureOptions, Cuts, GenerationOptions, Level, Prompt, Seed
from attn.verbs.options import About, Pictures, Told, Words


@dataclass(frozen=True)
class AblateOptions(GenerationOptions):
    """What `attn ablate` takes."""

    backend: Annotated[
        str,
        About("Model family; see `attn backends`.", ("--backend", "-b"), check=checks.text),
    ]
    prompt: Prompt = None
    _: KW_ONLY
    cut: Annotated[
        Cuts,
        About(
            "A word, padding, sketch, sinks:3, 'head 4.2', 'layer up.*', each with "
            "@layers=…,steps=0-9,noise=0.3-1; each --cut is a variant.",
            python="What is cut: texts as on the command line, or schema.Intervention; each is a "
            "variant.",
            check=checks.unchecked,
        ),
    ] = None
    scan: Annotated[
        Scan | None,
        About(
            "A variant for each of the heads, layers, blocks or steps: that is cut, or in it what "
            "--cut says."
        ),
    ] = None
    random: Annotated[
        int | None,
        About(
            "Controls of each: so many times, as much cut at random. [default: 1; 0 with --scan]",
            least=0,
        ),
    ] = None
    words: Words = None
    settings: Annotated[
        Mapping[str, str] | None,
        About(
            "KEY=VALUE option of the backend; repeat.",
            ("--set",),
            python="Options of the backend as {KEY: VALUE}, both texts.",
            read=inputs.split_settings,
            check=checks.settings,
        ),
    ] = None
    seed: Seed = range(16)
    keep: Level = "means"
    pictures: Pictures = True
    out: Annotated[
        str | Path | None,
        About(
            "Folder of results. [default: attn-runs/DATE-BACKEND-ablate-PROMPT]",
            ("--out", "-o"),
            check=checks.folder,
        ),
    ] = None
    budget: Annotated[
        int | str, About("Refuse to write more than this a variant.", check=checks.byte_limit)
    ] = "8GB"
    resume: Annotated[bool, About("Go on with the ablation in --out.")] = False
    report: Told = None

    def generation(self, backend: str, settings: Mapping[str, str]) -> CaptureOptions:
        """Return what all variants have in common, as `attn capture` takes it."""
        shared = {field.name: getattr(self, field.name) for field in fields(GenerationOptions)}
        return CaptureOptions(backend, self.prompt, settings=settings, **shared)
