"""`attn lora`: what a LoRA file changes, and by how much."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import typer

from attn.cli.options import Json, Typed, with_options
from attn.cli.terminal import say
from attn.verbs.lora_options import LoraOptions

if TYPE_CHECKING:
    from attn.verbs.lora import Examined


@with_options(LoraOptions)
def lora(
    context: typer.Context,
    *,
    typed: Typed,
    as_json: Json = False,
) -> None:
    """Examine a LoRA file: what it changes and by how much; no model is loaded."""
    # thousands of small products: threads would wait for each other most of the time
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from attn.cli.lora import lines
    from attn.cli.report import ShownReport
    from attn.verbs.lora import examine

    done = examine(**typed, report=ShownReport(context))
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
