"""`attn capture`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attn.cli._errors import ANSWERED
from attn.cli._options import Guidance, Json, Negative, Prompt, Prompts, Scheduler, Size, Steps

if TYPE_CHECKING:
    from attn.engine.plan import Plan
    from attn.errors import AttnError
    from attn.verbs.capture import Captured
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
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Diffusers folder, .safetensors file, hub id, demo or demo:VARIANT. "
            "[default: demo]",
        ),
    ] = None,
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
    seed: Annotated[
        str, typer.Option("--seed", help="0, 0-7 or 1,5,9; each seed is a trace.")
    ] = "0",
    size: Size = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Pictures of each trace.")] = 1,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Traces that are generated at once.")
    ] = 1,
    scheduler: Scheduler = None,
    lora: Annotated[
        list[str] | None,
        typer.Option("--lora", help="FILE or FILE:SCALE; repeat to add several up."),
    ] = None,
    sketch: Annotated[
        str | None,
        typer.Option("--sketch", help="Drawing for backends that read one: FILE, or none."),
    ] = None,
    keep: Annotated[
        str, typer.Option("--keep", help="Detail: mass, means, maps, heads or factors.")
    ] = "maps",
    keys: Annotated[
        str, typer.Option("--keys", help="Columns of maps: content tokens and a rest, or all.")
    ] = "content",
    mass: Annotated[
        str, typer.Option("--mass", help="Masses: text keys, or full (image keys, text rows).")
    ] = "text",
    blocks: Annotated[
        list[str] | None,
        typer.Option("--blocks", help="QUERIES.KEYS, such as image.text,image.image."),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layers", help="Indices (0-11,20) or a glob of paths; repeat."),
    ] = None,
    branch: Annotated[
        str, typer.Option("--branch", help="Guidance rows: cond, uncond or both.")
    ] = "cond",
    entropy: Annotated[
        bool, typer.Option("--entropy", help="Entropy of rows also where it costs extra.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")
    ] = "auto",
    offload: Annotated[
        str, typer.Option("--offload", help="none, or model: parts wait in main memory.")
    ] = "none",
    budget: Annotated[
        str, typer.Option("--budget", help="Refuse to write more than this.")
    ] = "8GB",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its bytes; load no weights.")
    ] = False,
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
    from attn.verbs.capture import capture as run
    from attn.verbs.inputs import parse_seeds, parse_size, read_prompts

    if prompt and prompts:
        raise UsageError("give --prompt or --prompts, not both")
    report = ShownReport()
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
            settings=split_pairs(set_ or []) | ({} if sketch is None else {"sketch": sketch}),
            dry_run=dry_run,
            resume=resume,
            report=report,
        )
    finally:
        report.close()
    pictures, failure = _analyze(captured, report) if analyze and not dry_run else ([], None)
    if as_json:
        failed = failure is not None or bool(captured.failures)
        status = "planned" if dry_run else "failed" if failed else "complete"
        answer = _summary(captured, status, report.warnings, pictures)
        typer.echo(json.dumps(answer | ({"error": str(failure)} if failure else {})))
        context.meta[ANSWERED] = True
    else:
        _tell(captured, dry_run, pictures)
    _tell_failures(captured, dry_run)
    if failure is not None:
        raise failure
    if captured.failures:
        raise typer.Exit(1)


def _analyze(captured: Captured, report: Report) -> tuple[list[str], AttnError | None]:
    """Analyse what was captured; a failure must not hide that the capture is there."""
    from attn.errors import AttnError
    from attn.verbs.analyze import analyze

    try:
        return [str(file) for file in analyze(captured.path, report=report).pictures], None
    except AttnError as error:
        return [], error


def _summary(
    captured: Captured, status: str, warnings: list[str], pictures: list[str]
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
        "pictures": pictures,
    }


def _tell(captured: Captured, dry_run: bool, pictures: list[str]) -> None:
    if dry_run:
        typer.echo(_describe(captured))
        return
    typer.echo(f"{_count(len(captured.entries), 'trace')} in {captured.path}")
    for picture in pictures:
        typer.echo(f"picture {picture}")


def _tell_failures(captured: Captured, dry_run: bool) -> None:
    """Name the first traces that failed, and say what became of the others."""
    failures, total = captured.failures, len(captured.entries)
    for entry in failures[:LISTED]:
        prompt = entry.prompt if len(entry.prompt) <= SHOWN else f"{entry.prompt[:SHOWN]}…"
        typer.echo(
            f"failed: {entry.folder} ({prompt!r}, seed {entry.seed}): {entry.error}", err=True
        )
    if not failures:
        return
    if dry_run:
        typer.echo(f"{len(failures)} of {_count(total, 'trace')} cannot be made", err=True)
        return
    others = "; the others are complete" if len(failures) < total else ""
    typer.echo(
        f"{len(failures)} of {_count(total, 'trace')} failed{others}. The reasons are in "
        f"{captured.path / 'index.json'}; --resume tries these again",
        err=True,
    )


def _describe(captured: Captured) -> str:
    """Say what would be kept, and its bytes; the plans of one capture differ in words only."""
    from attn.verbs.inputs import format_bytes

    plan = captured.plans[0]
    lines = [
        f"{_count(len(captured.entries), 'trace')} of {_count(plan.steps, 'step')}, "
        f"{_count(plan.samples, 'sample')}, branch {' and '.join(plan.branches)}",
        f"keep {plan.kept.level}, keys {plan.kept.keys}, blocks {', '.join(plan.kept.blocks)}",
        *_layer_lines(plan),
        f"one trace: {format_bytes(plan.bytes)}; in all {format_bytes(captured.predicted_bytes)}",
    ]
    if plan.kept.level == "factors":
        lines.append(
            f"all probabilities of these layers as float16: {format_bytes(plan.full_bytes)} a "
            "trace; factors pay where there are more than two keys per channel of a head"
        )
    return "\n".join(lines)


def _layer_lines(plan: Plan) -> list[str]:
    lines = [f"{_count(len(plan.layers), 'layer')}:"]
    for entry in plan.layers:
        layer = entry.layer
        grid = f"{layer.grid[0]}x{layer.grid[1]}" if layer.grid else "-"
        lines.append(
            f"  {layer.index:>4}  {layer.path}  {layer.kind}, {layer.num_heads} heads, "
            f"grid {grid}, {layer.num_keys} keys"
        )
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
