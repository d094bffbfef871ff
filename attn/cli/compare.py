"""`attn compare`: what differs between runs, word by word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attn.cli._options import (
    Batch,
    Blocks,
    Branch,
    Device,
    DryRun,
    Dtype,
    Entropy,
    Guidance,
    Images,
    Json,
    Keep,
    Keys,
    Layers,
    Mass,
    Model,
    Negative,
    Offload,
    Pictures,
    Prompt,
    Prompts,
    Scheduler,
    Seed,
    Size,
    Steps,
    Words,
)
from attn.cli._plan import describe
from attn.cli._terminal import say
from attn.cli._text import aligned, counted, listed_files, split
from attn.words import fold

if TYPE_CHECKING:
    from attn.verbs.compare.compare import Compared

SHOWN = 5
"""So many words are shown, those that changed most; the tables have all."""


def compare(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Traces or collections; the first is the baseline."),
    ] = None,
    *,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora",
            help="Instead of runs: generate without and with FILE, FILE:SCALE, by part "
            "FILE:unet=0.8,te=0.4, a stack A+B, or a sweep FILE:0,0.5,1; demo or "
            "demo:VARIANT, a demo's own; each --lora is a variant.",
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
    model: Model = None,
    prompt: Prompt = None,
    prompts: Prompts = None,
    negative: Negative = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = "0-15",
    size: Size = None,
    images: Images = 1,
    batch: Batch = 1,
    scheduler: Scheduler = None,
    keep: Keep = "means",
    keys: Keys = "content",
    mass: Mass = "text",
    blocks: Blocks = None,
    layers: Layers = None,
    branch: Branch = "cond",
    entropy: Entropy = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "none",
    budget: Annotated[
        str, typer.Option("--budget", help="Refuse to write more than this a variant.")
    ] = "8GB",
    dry_run: DryRun = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the comparison in --out.")
    ] = False,
    words: Words = None,
    phrases: Annotated[
        str | None, typer.Option("--phrases", help="Also words in a row: 'red cat|old barn'.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only", help="Only these: words, layers, heads, steps, sinks, maps, sketch."
        ),
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
    from attn.verbs.compare.compare import compare as run
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
        "seed": parse_seeds(seed),
        "size": parse_size(size) if size else None,
        "images": images,
        "batch": batch,
        "scheduler": scheduler,
        "keep": keep,
        "keys": keys,
        "mass": mass,
        "blocks": blocks,
        "layers": layers,
        "branch": branch,
        "entropy": entropy,
        "device": device,
        "dtype": dtype,
        "offload": offload,
        "budget": budget,
        "dry_run": dry_run,
        "resume": resume,
    }
    report = ShownReport(context)
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
            **{name: value for name, value in capture.items() if _is_set(context, name)},
        )
    finally:
        report.close()
    say(_json(done) if as_json else "\n".join(_text(done)))


def _is_set(context: typer.Context, name: str) -> bool:
    """Whether an option was typed: the verb has the same defaults, and runs take none of them."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _json(done: Compared) -> str:
    answer: dict[str, Any] = {
        "command": "compare",
        "status": "planned" if done.plans else "complete",
        "path": str(done.path),
        "warnings": list(done.warnings),
        "base": done.base,
        "variants": [{"name": name, "pairs": pairs} for name, pairs in done.variants.items()],
        "files": list(done.files),
    }
    if done.plans:
        answer["predicted_bytes"] = done.predicted_bytes
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _text(done: Compared) -> Iterator[str]:
    """Yield what changed most, and where the results are; of a dry run, what would be made."""
    if done.plans:
        yield describe(done.plans[0])
        runs = counted(len(done.plans), "run")
        yield f"{runs} ({', '.join([done.base, *done.variants])}): {_bytes(done)}"
        return
    for name, pairs in done.variants.items():
        yield f"{name} against {done.base}, {counted(pairs, 'pair')} of pictures"
        if "mass.csv" in done.tables:
            yield from (f"  {line}" for line in aligned(_changes(done, name)))
    yield str(done.path)
    yield from (f"  {line}" for line in listed_files(done.files))


def _changes(done: Compared, name: str) -> list[tuple[str, ...]]:
    """Return the words of one variant whose mass changed most, as lines of a table."""
    columns = done.tables["mass.csv"]
    rows = list(range(len(columns)))
    if "variant_name" in columns:
        rows = [row for row in rows if columns["variant_name"][row] == name]
    lines: list[tuple[str, ...]] = [("WORD", "SEGMENT", "BASE", "CHANGE", "", "95 % INTERVAL")]
    repeated = {fold(str(columns["word"][row])) for row in rows if columns["occurrence"][row] > 1}
    for row in rows[:SHOWN]:
        change, low, high = (float(columns[key][row]) for key in ("change", "low", "high"))
        word, number = columns["word"][row], columns["occurrence"][row]
        lines.append(
            (
                f"{word} ({number})" if fold(word) in repeated else word,
                str(columns["segment"][row]),
                f"{columns['base'][row]:.4g}",
                f"{change:+.3g}",
                f"{columns['relative_change'][row]:+.1%}",
                f"{low:+.3g} to {high:+.3g}" if isfinite(low) else "-",
            )
        )
    return lines


def _bytes(done: Compared) -> str:
    from rich import filesize

    return filesize.decimal(done.predicted_bytes)
