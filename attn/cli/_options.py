"""Options that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Prompt = Annotated[
    list[str] | None, typer.Option("--prompt", "-p", help="What to draw; repeat for several.")
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
    str | None, typer.Option("--scheduler", help="Sampler, such as euler, heun, pndm, ddim.")
]
Words = Annotated[
    str | None, typer.Option("--words", help="Only these words of the prompt: WORD,WORD,…")
]
Pictures = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Draw, or write tables only.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
