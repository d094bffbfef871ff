"""Whether every sampler that `--scheduler` takes draws the right scene, with every trained demo.

    python -m benchmarks.demo.samplers [sdxl published …] [--captions 4] [--steps 20]

The captions are held-out ones that the model's own sampler draws without a fault. For each sampler
and schedule their pictures are judged, and a cell says which share of what the captions say is
right: background, number, colours, shapes, relation. `-` was refused. What is under 0.8 does not
draw the scene, and the command then ends with 1. `sdxl` and `scribble-tokens` begin with pure noise
(zero-terminal SNR); `published` is `sdxl` with the noise of the published model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from diffusers import DiffusionPipeline, EulerDiscreteScheduler

from attn import demo
from attn.backends import find, load
from attn.backends.diffusers.samplers import NAMES, SCHEDULES
from attn.backends.types import Placement, Session
from attn.demo import judge, scenes
from attn.errors import RequestError
from attn.schema import Request

PUBLISHED = "published"
MODELS = {
    "sdxl": ("sdxl", "demo"),
    PUBLISHED: ("sdxl", PUBLISHED),
    "scribble": ("scribble", "demo"),
    "scribble-tokens": ("scribble", "demo:tokens"),
    "sd35": ("sd35", "demo"),
    "sd35-medium": ("sd35", "demo:medium"),
    "gated": ("gated", "demo"),
}
CLASSES = ("euler", "heun", "lms", "ddim", "ddpm", "DPM++ 2M")
SAMPLERS = tuple(
    dict.fromkeys([*CLASSES, *(name for name in NAMES if name[0].isupper() and name != "DPM")])
)
SPREAD = tuple(name for name in SCHEDULES if name not in ("simple", "uniform"))
"""Of schedules that do the same, one."""
ENOUGH = 0.8
TRIED = 64


def main() -> None:
    """Read the command line, draw and judge, and print a table for each model."""
    arguments = _parse()
    worst = 1.0
    for name in arguments.names or MODELS:
        worst = min(worst, print_table(name, arguments.captions, arguments.steps))
    if worst < ENOUGH:
        sys.exit(f"a sampler that is not refused draws {worst:.2f} of the scenes right")


def print_table(name: str, captions: int, steps: int) -> float:
    """Judge all samplers with one model; returns the worst share."""
    session = open_model(*MODELS[name])
    scenes_of = list(_easy(session, captions, steps))
    print(f"\n### {name}\n\n| sampler | plain | {' | '.join(SPREAD)} |", flush=True)
    print("|---" * (2 + len(SPREAD)) + "|")
    worst = 1.0
    for sampler in SAMPLERS:
        names = [sampler, *(f"{sampler} {schedule}" for schedule in SPREAD)]
        shares = [share(session, scenes_of, name, steps) for name in names]
        cells = ["-" if item is None else f"{item:.2f}" for item in shares]
        print(f"| {sampler} | {' | '.join(cells)} |", flush=True)
        worst = min([worst, *(item for item in shares if item is not None)])
    return worst


def open_model(backend: str, source: str) -> Session:
    """Open a trained demo model; `published` is a pipeline with another sampler."""
    family = load(find(backend))
    model: Any = source
    if source == PUBLISHED:
        model = DiffusionPipeline.from_pretrained(demo.checkpoint(backend))
        model.set_progress_bar_config(disable=True)
        changes: dict[str, Any] = {"rescale_betas_zero_snr": False, "timestep_spacing": "leading"}
        own = model.scheduler.config
        model.scheduler = EulerDiscreteScheduler.from_config(own, **changes, steps_offset=1)
    session = family.open(model, family.Options(), Placement("cpu"))
    session.default_guidance = demo.guidance(backend) or session.default_guidance  # type: ignore[attr-defined]
    return session


def share(
    session: Session,
    wanted: Sequence[tuple[int, scenes.Content]],
    sampler: str | None,
    steps: int,
) -> float | None:
    """Return the share of what captions say that one sampler's pictures show; None if refused."""
    try:
        requested = [
            session.complete(
                Request(scenes.caption(content), seed=seed, steps=steps, scheduler=sampler)
            )
            for seed, content in wanted
        ]
    except RequestError:
        return None
    outputs = session.generate(requested, None)
    return float(
        np.mean(
            [
                _facts(content, output.images[0])
                for (_, content), output in zip(wanted, outputs, strict=True)
            ]
        )
    )


def _easy(session: Session, number: int, steps: int) -> Iterator[tuple[int, scenes.Content]]:
    """Return seeds and captions that the model's own sampler draws without a fault."""
    result = 0
    for seed, content in enumerate(scenes.held_out()[:TRIED]):
        if share(session, [(seed, content)], None, steps) == 1:
            result += 1
            yield seed, content
        if result == number:
            return


def _facts(content: scenes.Content, picture: Any) -> float:
    """Return the share of a caption that a picture shows."""
    seen = judge.agreement(content, judge.find(np.asarray(picture)))
    facts = [seen.background, seen.number, *seen.colors, *seen.shapes, seen.relation]
    return float(np.mean([fact for fact in facts if fact is not None]))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(MODELS))
    parser.add_argument("--captions", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
