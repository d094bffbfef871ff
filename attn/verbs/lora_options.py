"""The options of `attn lora`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from attn.verbs import checks
from attn.verbs.options import About, Told, validate


@dataclass(frozen=True)
class LoraOptions:
    """What `attn lora` takes."""

    path: Annotated[
        str | Path,
        About(
            "A LoRA as .safetensors file, or as a folder of peft or diffusers; demo or "
            "demo:VARIANT, a demo's own; FILE@up.2, only modules of this name.",
            ("FILE",),
            check=checks.folder,
        ),
    ]
    _: KW_ONLY
    model: Annotated[
        str | Path | None,
        About(
            "Compare with its weights: diffusers folder, single file, hub id on this machine, demo "
            "or demo:VARIANT.",
            ("--model", "-m"),
            check=checks.source,
        ),
    ] = None
    out: Annotated[
        str | Path | None,
        About(
            "Folder for lora.json, two tables and a chart.", ("--out", "-o"), check=checks.folder
        ),
    ] = None
    adapter: Annotated[
        str | None, About("The one to read, of a file with several.", check=checks.text)
    ] = None
    report: Told = None

    def __post_init__(self) -> None:
        validate(self)
