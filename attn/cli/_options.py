"""Options that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Prompt = Annotated[
    list[str] | None,
    typer.Option("--prompt", "-p", help="What to draw, or to ask; repeat for several."),
]
Prompts = Annotated[
    Path | None, typer.Option("--prompts", help="File of prompts: .json list, .jsonl or .txt.")
]
Negative = Annotated[
    str | None, typer.Option("--negative", help="What guidance pushes away from, or default.")
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the sampler.")]
Guidance = Annotated[
    float | None, typer.Option("--guidance", help="Guidance scale; 1 turns it off.")
]
Size = Annotated[str | None, typer.Option("--size", help="WIDTHxHEIGHT in pixels.")]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", help="Sampler, such as euler, ddim, dpm++2m-karras.")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Diffusers folder, .safetensors file, hub id (hub:OWNER/NAME to download), demo or "
        "demo:VARIANT. [default: demo]",
    ),
]
Seed = Annotated[str, typer.Option("--seed", help="0, 0-7 or 1,5,9; each seed is a trace.")]
Images = Annotated[int, typer.Option("--images", min=1, help="Pictures, or texts, of each trace.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Traces that are generated at once.")]
Keep = Annotated[str, typer.Option("--keep", help="Detail: mass, means, maps, heads or factors.")]
Keys = Annotated[
    str, typer.Option("--keys", help="Columns of maps: content tokens and a rest, or all.")
]
Mass = Annotated[
    str, typer.Option("--mass", help="Masses: text keys, or full (image keys, text rows).")
]
Blocks = Annotated[
    list[str] | None, typer.Option("--blocks", help="QUERIES.KEYS, such as image.text,image.image.")
]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layers", help="Indices (0-11,20) or a glob of paths; repeat."),
]
Branch = Annotated[str, typer.Option("--branch", help="Guidance rows: cond, uncond or both.")]
Entropy = Annotated[
    bool, typer.Option("--entropy", help="Entropy of rows also where it costs extra.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")]
Offload = Annotated[
    str, typer.Option("--offload", help="none, or model: parts wait in main memory.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the plan and its bytes; load no weights.")
]
Words = Annotated[
    str | None, typer.Option("--words", help="Only these words of the prompt: WORD,WORD,…")
]
Pictures = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Draw, or write tables only.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
