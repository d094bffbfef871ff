"""`attn compare`: what differs between runs, word by word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attn.cli._text import aligned, listed_files, split

if TYPE_CHECKING:
    from attn.verbs.compare import Compared

SHOWN = 5
"""So many words are shown, those that changed most; the tables have all."""


def compare(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Traces or collections; the first is the baseline."),
    ] = None,
    *,
    words: Annotated[
        str | None, typer.Option("--words", help="Only these words of the prompt: WORD,WORD,…")
    ] = None,
    phrases: Annotated[
        str | None, typer.Option("--phrases", help="Also words in a row: 'red cat|old barn'.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", help="Only these: words, layers, heads, steps, sinks, maps."),
    ] = None,
    pooling: Annotated[
        str | None, typer.Option("--pooling", help="How maps are made: mean, or daam.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="compare.KEY=VALUE; repeat for several.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw, or write tables only.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of results. [default: attn-runs/DATE-compare-PROMPT]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare runs with a baseline: what changed for each word; no model is loaded."""
    from attn.cli._report import ShownReport
    from attn.errors import UsageError
    from attn.options import split_pairs
    from attn.verbs.compare import compare as run

    if not runs:
        raise UsageError("name the baseline and what is compared with it: attn compare A B")
    done = run(
        *runs,
        words=split(words),
        phrases=split(phrases, "|"),
        only=split(only),
        pooling=pooling,
        settings=split_pairs(set_ or []),
        pictures=pictures,
        out=out,
        report=ShownReport(),
    )
    typer.echo(_json(done) if as_json else "\n".join(_text(done)))


def _json(done: Compared) -> str:
    answer = {
        "command": "compare",
        "status": "complete",
        "path": str(done.path),
        "warnings": list(done.warnings),
        "base": done.base,
        "variants": [{"name": name, "pairs": pairs} for name, pairs in done.variants.items()],
        "files": list(done.files),
    }
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _text(done: Compared) -> Iterator[str]:
    """Yield what changed most, and where the results are."""
    for name, pairs in done.variants.items():
        noun = "pair" if pairs == 1 else "pairs"
        yield f"{name} against {done.base}, {pairs} {noun} of pictures"
        if "mass.csv" in done.tables:
            yield from (f"  {line}" for line in aligned(_changes(done, name)))
    yield str(done.path)
    yield from (f"  {line}" for line in listed_files(done.files))


def _changes(done: Compared, name: str) -> list[tuple[str, ...]]:
    """Return the words of one variant whose mass changed most, as lines of a table."""
    columns = done.tables["mass.csv"].columns
    rows = list(range(len(columns["word"])))
    if "variant_name" in columns:
        rows = [row for row in rows if columns["variant_name"][row] == name]
    lines: list[tuple[str, ...]] = [("WORD", "SEGMENT", "BASE", "CHANGE", "", "95 % INTERVAL")]
    repeated = {
        str(columns["word"][row]).casefold() for row in rows if columns["occurrence"][row] > 1
    }
    for row in rows[:SHOWN]:
        change, low, high = (float(columns[key][row]) for key in ("change", "low", "high"))
        word, number = columns["word"][row], columns["occurrence"][row]
        lines.append(
            (
                f"{word} ({number})" if word.casefold() in repeated else word,
                str(columns["segment"][row]),
                f"{columns['base'][row]:.4g}",
                f"{change:+.3g}",
                f"{columns['relative_change'][row]:+.1%}",
                f"{low:+.3g} to {high:+.3g}" if isfinite(low) else "-",
            )
        )
    return lines
