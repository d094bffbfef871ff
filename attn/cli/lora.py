"""`attn lora`: what a LoRA file changes, and by how much."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attn.cli._options import Json
from attn.cli._terminal import say

if TYPE_CHECKING:
    from attn.verbs.lora import Examined


def lora(
    file: Annotated[
        Path,
        typer.Argument(
            help="A LoRA as .safetensors file, or as a folder of peft or diffusers; demo "
            "or demo:VARIANT, a demo's own."
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Compare with its weights: diffusers folder, single file, hub id on this "
            "machine, demo or demo:VARIANT.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for lora.json, two tables and a chart."),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option("--adapter", help="The one to read, of a file with several.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Examine a LoRA file: what it changes and by how much; no model is loaded."""
    # thousands of small products: threads would wait for each other most of the time
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from attn.cli._lora import lines
    from attn.verbs.lora import examine

    done = examine(file, model=model, adapter=adapter, out=out)
    say(_json(done) if as_json else "\n".join(lines(done)))


def _json(done: Examined) -> str:
    from attn.files.disk import as_utf8
    from attn.verbs.lora import facts

    answer = {
        "command": "lora",
        "status": "complete",
        "path": str(done.lora.path),
        "warnings": list(done.warnings),
        "out": None if done.path is None else str(done.path),
        "files": list(done.files),
        **facts(done),
    }
    return as_utf8(json.dumps(answer, indent=2, ensure_ascii=False, allow_nan=False))
