"""Train the demo model that reads a drawing as tokens, in the layout of ScribbleDiffusion.

    python -m benchmarks.train_scribble --out DIR [--minutes 30] [--steps N] [--base FOLDER]

Run the same command again after a stop or a crash, and it goes on from the last checkpoint. DIR
then holds the checkpoint, the losses and their curve, and sheets of pictures: above for text and
drawing, below for the drawing alone. At the end `weights/`, to be copied to
`attn/demo/weights/scribble-tokens/`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from attn import demo
from benchmarks.train_demo import export
from benchmarks.training import control, scribble
from benchmarks.training.loop import train


def main() -> None:
    """Read the command line, train, and write the weights."""
    arguments = _parse()
    deadline = time.monotonic() + 60 * arguments.minutes
    torch.set_num_threads(1)  # the loop has a thread per core already
    folder = arguments.base or demo.checkpoint("sdxl")
    base: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    base.to("cuda" if torch.cuda.is_available() else "cpu")
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "examples.safetensors"
    examples = control.prepare(base, path, number=arguments.examples)
    student, average = (scribble.build(base, examples) for _ in range(2))
    stage = scribble.stage(student, average, examples, steps=arguments.steps)
    if train(stage, arguments.out / "scribble", deadline=deadline):
        export(average.models(), arguments.out / "weights")
        print(f"done: {arguments.out / 'weights'}")
    else:
        print("time is up; run the same command again to go on")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", type=Path, help="folder of the SDXL to begin with; the demo's")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, default=scribble.STEPS)
    parser.add_argument("--examples", type=int, default=control.EXAMPLES)
    return parser.parse_args()


if __name__ == "__main__":
    main()
