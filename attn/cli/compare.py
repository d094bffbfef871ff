"""`attn compare`: what differs between runs, word by word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attn.cli._options import (
    Guidance,
    Json,
    Negative,
    Pictures,
    Prompt,
    Prompts,
    Scheduler,
    Size,
    Steps,
    Words,
)
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
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora",
            help="Instead of runs: generate without and with FILE, FILE:SCALE, a stack A+B, or a "
            "sweep FILE:0,0.5,1; each --lora is a variant.",
        ),
    ] = None,
    sketch: Annotated[
        list[str] | None,
        typer.Option(
            "--sketch",
            help="Instead of runs: generate with each drawing: FILE, none, or a sweep over the "
            "conditioning scale FILE:0,0.5,1; the first is the baseline.",
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option("--backend", "-b", help="Model family. [default: that of the LoRAs]"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="As in `attn capture`. [default: demo]"),
    ] = None,
    prompt: Prompt = None,
    prompts: Prompts = None,
    negative: Negative = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Annotated[
        str | None, typer.Option("--seed", help="0, 0-7 or 1,5,9. [default: 0-15]")
    ] = None,
    size: Size = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="Pictures of each seed. [default: 1]")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Traces made at once. [default: 1]")
    ] = None,
    scheduler: Scheduler = None,
    keep: Annotated[
        str | None,
        typer.Option("--keep", help="mass, means, maps, heads or factors. [default: means]"),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N. [default: auto]")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="auto, float32, bfloat16 or float16. [default: auto]"),
    ] = None,
    offload: Annotated[
        str | None, typer.Option("--offload", help="none, or model. [default: none]")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Refuse to write more a variant. [default: 8GB]")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the comparison in --out.")
    ] = False,
    words: Words = None,
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
        list[str] | None,
        typer.Option("--set", help="compare.KEY=VALUE, or KEY=VALUE of the backend; repeat."),
    ] = None,
    pictures: Pictures = True,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of results. [default: attn-runs/DATE-compare-PROMPT]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare runs, or a model without and with LoRAs: what changed for each word."""
    from attn.cli._report import ShownReport
    from attn.errors import UsageError
    from attn.options import split_pairs
    from attn.verbs.compare import compare as run
    from attn.verbs.inputs import parse_seeds, parse_size, read_prompts

    if not (runs or lora or sketch):
        raise UsageError("name what to compare: attn compare A B, or attn compare --lora FILE")
    if prompt and prompts:
        raise UsageError("give --prompt or --prompts, not both")
    capture = {
        "backend": backend,
        "model": model,
        "negative": negative,
        "steps": steps,
        "guidance": guidance,
        "seed": parse_seeds(seed) if seed else None,
        "size": parse_size(size) if size else None,
        "images": images,
        "batch": batch,
        "scheduler": scheduler,
        "keep": keep,
        "device": device,
        "dtype": dtype,
        "offload": offload,
        "budget": budget,
        "resume": resume or None,
    }
    report = ShownReport()
    try:
        done = run(
            *(runs or []),
            lora=lora,
            sketch=sketch,
            prompt=read_prompts(prompts) if prompts else prompt,
            words=split(words),
            phrases=split(phrases, "|"),
            only=split(only),
            pooling=pooling,
            settings=split_pairs(set_ or []),
            pictures=pictures,
            out=out,
            report=report,
            **{name: value for name, value in capture.items() if value is not None},
        )
    finally:
        report.close()
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
