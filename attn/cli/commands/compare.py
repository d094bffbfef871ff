"""`attn compare`: what differs between runs, word by word."""

from __future__ import annotations

from typing import Annotated

import typer

from attn.cli.commands.view import look
from attn.cli.compared import as_json as spell_json
from attn.cli.compared import as_text
from attn.cli.options import Json, JsonProgress, Typed, with_options
from attn.cli.terminal import say
from attn.verbs.compare.options import CompareOptions
from attn.verbs.options import Look


@with_options(CompareOptions)
def compare(
    context: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Traces or collections; the first is the baseline."),
    ] = None,
    *,
    typed: Typed,
    view: Look = False,
    as_json: Json = False,
    json_progress: JsonProgress = False,
) -> None:
    """Compare runs, or a model without and with LoRAs: what changed for each word."""
    from attn.cli.report import ShownReport
    from attn.errors import UsageError
    from attn.verbs.compare.compare import compare as run

    if not (runs or typed.get("lora") or typed.get("sketch")):
        raise UsageError("name what to compare: attn compare A B, or attn compare --lora FILE")
    report = ShownReport(context, json_progress)
    try:
        done = run(*(runs or []), **typed, report=report)
    finally:
        report.close()
    say(spell_json("compare", done) if as_json else "\n".join(as_text(done)))
    if view and not done.plans:
        look([str(done.path), *(runs or [str(done.path.parent)])], at_first=True)
