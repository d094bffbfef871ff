"""`attn ablate`: does cutting something do what its map says?"""

from __future__ import annotations

import typer

from attn.cli.commands.view import look
from attn.cli.compared import as_json as spell_json
from attn.cli.compared import as_text
from attn.cli.options import Json, Typed, with_options
from attn.cli.terminal import say
from attn.verbs.ablate.options import AblateOptions
from attn.verbs.options import Look


@with_options(AblateOptions)
def ablate(
    context: typer.Context,
    *,
    typed: Typed,
    view: Look = False,
    as_json: Json = False,
) -> None:
    """Cut parts of the attention from the same noise: does that do what its map says?"""
    from attn.cli.report import ShownReport
    from attn.verbs.ablate.ablate import ablate as run

    report = ShownReport(context)
    try:
        done = run(**typed, report=report)
    finally:
        report.close()
    say(spell_json("ablate", done) if as_json else "\n".join(as_text(done)))
    if view and not done.plans:
        look([done.path, done.path.parent], at_first=True)
