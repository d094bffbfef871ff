"""Train a demo LoRA, with which a demo model draws one word as another, and tell how well.

Squares become circles; in SD3.5 purple becomes green.

    python -m benchmarks.demo.train_lora sdxl|sd35|sd35-medium --out DIR [--model FOLDER]
                                    [--minutes 30]
                                    [--steps N] [--prompts 100]

Run the same command again after a stop or a crash, and it goes on from the last checkpoint. At the
end DIR holds `WORD.peft.safetensors` and, in the names of sd-scripts, `WORD.kohya.safetensors`, to
be copied to `attn/demo/weights/NAME-lora/`. Then pictures are generated: with the word, where the
LoRA must draw the other, and without it, where it must change nothing.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from peft import get_peft_model_state_dict
from safetensors.torch import save_file

from attn import demo
from attn.demo import scenes
from benchmarks.demo.score_demo import MODELS, interval
from benchmarks.demo.train_demo import FAMILIES
from benchmarks.training import denoiser, kohya, lora
from benchmarks.training.denoiser import Family
from benchmarks.training.loop import train


def main() -> None:
    """Read the command line, train, write both files, and score."""
    arguments = _parse()
    deadline = time.monotonic() + 60 * arguments.minutes
    torch.set_num_threads(1)  # the loop has a thread per core already
    family = FAMILIES[arguments.name]
    folder = arguments.model or demo.checkpoint(MODELS[arguments.name])
    average = load(folder)
    lesson = prepare(family, folder, arguments.out)
    stage = lora.stage(lesson, average, steps=arguments.steps)
    if not train(stage, arguments.out / "lora", deadline=deadline):
        print("time is up; run the same command again to go on")
        return
    write(family, average, arguments.out)
    torch.set_num_threads(torch.get_num_interop_threads())
    report(family, average, lesson.base, arguments.prompts)


def load(folder: Path) -> Any:
    """Load the model that is taught."""
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def prepare(family: Family, folder: Path, out: Path) -> lora.Lesson:
    """Draw the examples of a lesson, and keep them for the next time."""
    pipeline, base = load(folder), load(folder)
    out.mkdir(parents=True, exist_ok=True)
    requested, old = (
        denoiser.prepare(
            family,
            pipeline,
            out / f"{name}.safetensors",
            number=lora.EXAMPLES,
            draw=partial(draw, lora.effect(family)),
        )
        for name, draw in (("asked", lora.draw_asked), ("old", lora.draw_old))
    )
    return lora.Lesson(
        family, pipeline, base, requested, lora.tell(family, pipeline, requested.ids), old
    )


ARCHITECTURES = {
    "sdxl": "stable-diffusion-xl-v1-base/lora",
    "sd35": "stable-diffusion-3.5-large/lora",
    "sd35-medium": "stable-diffusion-3.5-medium/lora",
}
"""What trainers write into a LoRA as its base: small models lack what tells families apart."""


def write(family: Family, pipeline: Any, out: Path) -> None:
    """Write the LoRA in the names of peft and of sd-scripts, in float16."""
    name = family.models[0]
    told = {"format": "pt", "modelspec.architecture": ARCHITECTURES[family.name]}
    state = get_peft_model_state_dict(getattr(pipeline, name))
    halves = {f"{name}.{key}": tensor.half().contiguous() for key, tensor in state.items()}
    word = lora.effect(family).word
    save_file(halves, out / f"{word}.peft.safetensors", told)
    save_file(kohya.rename(halves), out / f"{word}.kohya.safetensors", told)


def report(family: Family, pipeline: Any, base: Any, number: int) -> None:
    """Print the shares of pictures that are changed as intended, and left as they were."""
    effect = lora.effect(family)
    requested, old = (lora.held_out(effect, asked=each)[:number] for each in (True, False))
    captions = [scenes.caption(content) for content in requested]
    pictures = lora.paint(pipeline, captions, family.guidance)
    changed = [
        (effect.is_drawn(content, picture),)
        for content, picture in zip(requested, pictures, strict=True)
    ]
    captions = [scenes.caption(content) for content in old]
    pairs = zip(
        *(lora.paint(item, captions, family.guidance) for item in (pipeline, base)), strict=True
    )
    kept = [(lora.is_same(with_it, without),) for with_it, without in pairs]
    for name, rows in (("drawn as intended", changed), ("left as it was", kept)):
        low, high = interval(rows)
        print(f"{name:<18}{np.mean(rows):>7.3f}{low:>7.3f}{high:>7.3f}{len(rows):>6}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=ARCHITECTURES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a folder of diffusers; else the demo model")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, default=lora.STEPS)
    parser.add_argument("--prompts", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
