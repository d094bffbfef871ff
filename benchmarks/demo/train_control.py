"""Train the demo ControlNet, which lets outlines decide where the demo model draws.

    python -m benchmarks.demo.train_control --out DIR [--minutes 60] [--steps N] [--model FOLDER]

Run the same command again after a stop or a crash, and it goes on from the last checkpoint. DIR
then holds the checkpoint, the losses and their curve, and sheets of pictures with their outlines
inverted; at the end `weights/controlnet.safetensors`, for `attn/demo/weights/scribble/`.
`python -m benchmarks.demo.score_control --net DIR/weights/controlnet.safetensors` tells how good it
is.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from attn import demo
from benchmarks.demo.train_demo import export
from benchmarks.training import control
from benchmarks.training.loop import train


def main() -> None:
    """Read the command line, train, and write the weights."""
    arguments = parse(__doc__, control.STEPS)
    deadline = time.monotonic() + 60 * arguments.minutes
    torch.set_num_threads(1)  # the loop has a thread per core already
    pipeline = open_model(arguments.model)
    net, average = (control.build(pipeline.unet).to(pipeline.device) for _ in range(2))
    arguments.out.mkdir(parents=True, exist_ok=True)
    examples = control.prepare(
        pipeline, arguments.out / "examples.safetensors", number=arguments.examples
    )
    stage = control.stage(pipeline, net, average, examples, steps=arguments.steps)
    if train(stage, arguments.out / "control", deadline=deadline):
        export({"controlnet": average}, arguments.out / "weights")
        print(f"done: {arguments.out / 'weights' / 'controlnet.safetensors'}")
    else:
        print("time is up; run the same command again to go on")


def open_model(folder: Path | None) -> Any:
    """Open a pipeline of SDXL, by default the demo's, on a GPU if there is one."""
    folder = folder or demo.checkpoint("sdxl")
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def parse(description: str | None, steps: int) -> argparse.Namespace:
    """Read the command line of a training on scenes with outlines."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="folder of an SDXL; by default the demo's")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--examples", type=int, default=control.EXAMPLES)
    return parser.parse_args()


if __name__ == "__main__":
    main()
