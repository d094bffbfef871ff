"""`attn evaluate`: do the maps of words find what the words name?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import wrap as wrapped
from typing import TYPE_CHECKING

import typer

from attn.cli.commands.view import look
from attn.cli.options import Json, JsonProgress, Typed, with_options
from attn.cli.terminal import say
from attn.cli.text import listed_files
from attn.verbs.evaluate.options import EvaluateOptions
from attn.verbs.options import Look

if TYPE_CHECKING:
    from attn.verbs.evaluate.results import Evaluated

WIDTH = 100
"""Letters of a line of the answer."""


@with_options(EvaluateOptions)
def evaluate(
    context: typer.Context,
    *,
    typed: Typed,
    view: Look = False,
    as_json: Json = False,
    json_progress: JsonProgress = False,
) -> None:
    """Score the maps of words where it is known what they name; no model is loaded."""
    from attn.cli.report import ShownReport
    from attn.verbs.evaluate.evaluate import evaluate as run

    done = run(**typed, report=ShownReport(context, json_progress))
    say(_json(done) if as_json else "\n".join(_text(done)))
    if view:
        look([typed["path"]])


def _json(done: Evaluated) -> str:
    answer = {
        "command": "evaluate",
        "status": "complete",
        "path": str(done.path),
        "warnings": list(done.warnings),
        "answer": done.answer,
        "choices": dict(done.choices),
        "files": list(done.files),
    }
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _text(done: Evaluated) -> Iterator[str]:
    yield from wrapped(done.answer, WIDTH)
    yield ""
    for name, choice in done.choices.items():
        yield from wrapped(f"{name}: {choice}", WIDTH, subsequent_indent="  ")
    yield ""
    yield str(done.path)
    yield from (f"  {line}" for line in listed_files(done.files))
