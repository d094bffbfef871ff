"""`attn capture`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attn.cli._errors import ANSWERED
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
    Prompt,
    Prompts,
    Scheduler,
    Seed,
    Size,
    Steps,
)
from attn.cli._plan import describe
from attn.cli._terminal import say
from attn.cli._text import counted

if TYPE_CHECKING:
    from attn.errors import AttnError
    from attn.verbs.capture.capture import Captured
    from attn.verbs.report import Report

LISTED = 10
"""So many traces that failed are named; the index has them all."""
SHOWN = 80
"""Longest piece of a prompt in a message."""


def capture(
    context: typer.Context,
    *,
    backend: Annotated[
        str, typer.Option("--backend", "-b", help="Model family; see `attn backends`.")
    ],
    model: Model = None,
    prompt: Prompt = None,
    prompts: Prompts = None,
    negative: Negative = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Empty or new folder. [default: attn-runs/DATE-BACKEND-PROMPT]"
        ),
    ] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = "0",
    size: Size = None,
    images: Images = 1,
    batch: Batch = 1,
    scheduler: Scheduler = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora",
            help="FILE, FILE:SCALE or by part FILE:unet=0.8,te=0.4; FILE may be a folder of peft "
            "or diffusers; demo is the demo's own; repeat to add several up.",
        ),
    ] = None,
    sketch: Annotated[
        str | None,
        typer.Option(
            "--sketch",
            help="Drawing for backends that read one: FILE, or none; compare takes several.",
        ),
    ] = None,
    keep: Keep = "maps",
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
        str, typer.Option("--budget", help="Refuse to write more than this.")
    ] = "8GB",
    dry_run: DryRun = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")
    ] = False,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run `attn analyze` on the result.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE option of the backend; repeat.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Generate, and record what the model attends to."""
    from attn.cli._report import ShownReport
    from attn.errors import UsageError
    from attn.options import split_pairs
    from attn.verbs.capture.capture import capture as run
    from attn.verbs.inputs import parse_seeds, parse_size, read_prompts

    if prompt and prompts:
        raise UsageError("give --prompt or --prompts, not both")
    report = ShownReport(context)
    try:
        captured = run(
            backend,
            read_prompts(prompts) if prompts else prompt,
            model=model,
            negative=negative,
            out=out,
            steps=steps,
            guidance=guidance,
            seed=parse_seeds(seed),
            size=parse_size(size) if size else None,
            images=images,
            batch=batch,
            scheduler=scheduler,
            lora=lora,
            keep=keep,
            keys=keys,
            mass=mass,
            blocks=blocks,
            layers=layers,
            branch=branch,
            entropy=entropy,
            device=device,
            dtype=dtype,
            offload=offload,
            budget=budget,
            settings=split_pairs(
                [*(set_ or []), *([] if sketch is None else [f"sketch={sketch}"])]
            ),
            dry_run=dry_run,
            resume=resume,
            report=report,
        )
    finally:
        report.close()
    figures, failure = _analyze(captured, report) if analyze and not dry_run else ([], None)
    if as_json:
        failed = failure is not None or bool(captured.failures)
        status = "planned" if dry_run else "failed" if failed else "complete"
        answer = _summary(captured, status, report.warnings, figures)
        say(json.dumps(answer | ({"error": str(failure)} if failure else {})))
        context.meta[ANSWERED] = True
    else:
        _tell(captured, dry_run, figures)
    _tell_failures(captured, dry_run)
    if failure is not None:
        raise failure
    if captured.failures:
        raise typer.Exit(1)


def _analyze(captured: Captured, report: Report) -> tuple[list[str], AttnError | None]:
    """Analyse what was captured; a failure must not hide that the capture is there."""
    from attn.cli.analyze import explain
    from attn.errors import AnalysisError, AttnError
    from attn.verbs.analyze.analyze import analyze

    try:
        done = analyze(captured.path, report=report)
    except AttnError as error:
        return [], error
    is_told = len(done.failures) == len(captured.failures)  # these were not captured
    failure = None if is_told else AnalysisError(explain(done))
    return [str(file) for file in done.pictures], failure


def _summary(
    captured: Captured, status: str, warnings: list[str], figures: list[str]
) -> dict[str, Any]:
    return {
        "command": "capture",
        "status": status,
        "path": str(captured.path),
        "warnings": warnings,
        "predicted_bytes": captured.predicted_bytes,
        "traces": [
            {
                "folder": entry.folder,
                "status": entry.status,
                "seed": entry.seed,
                "error": entry.error,
            }
            for entry in captured.entries
        ],
        "pictures": figures,
    }


def _tell(captured: Captured, dry_run: bool, figures: list[str]) -> None:
    if dry_run:
        say(describe(captured))
        return
    say(f"{counted(len(captured.entries), 'trace')} in {captured.path}")
    is_single = len(captured.entries) == 1
    shown = [path for path in figures if is_single or Path(path).parents[1] == captured.path]
    for figure in shown:
        say(f"picture {figure}")
    if len(shown) < len(figures):
        say(f"and {len(figures) - len(shown)} pictures in the folders of the traces")


def _tell_failures(captured: Captured, dry_run: bool) -> None:
    """Name the first traces that failed, and say what became of the others."""
    failures, total = captured.failures, len(captured.entries)
    for entry in failures[:LISTED]:
        prompt = entry.prompt if len(entry.prompt) <= SHOWN else f"{entry.prompt[:SHOWN]}…"
        say(f"failed: {entry.folder} ({prompt!r}, seed {entry.seed}): {entry.error}", err=True)
    if not failures:
        return
    if dry_run:
        say(f"{len(failures)} of {counted(total, 'trace')} cannot be made", err=True)
        return
    others = "; the others are complete" if len(failures) < total else ""
    say(
        f"{len(failures)} of {counted(total, 'trace')} failed{others}. The reasons are in "
        f"{captured.path / 'index.json'}; --resume tries these again",
        err=True,
    )
