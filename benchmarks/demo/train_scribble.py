"""Train the demo model that reads a drawing as tokens, in the layout of ScribbleDiffusion.

    python -m benchmarks.demo.train_scribble --out DIR [--minutes 30] [--steps N] [--model FOLDER]

Run the same command again after a stop or a crash, and it goes on from the last checkpoint. DIR
then holds the checkpoint, the losses and their curve, and sheets of pictures: above for text and
drawing, below for the drawing alone. At the end `weights/`, to be copied to
`attn/demo/weights/scribble-tokens/`.
"""

from __future__ import annotations

import time

import torch

from benchmarks.demo.train_control import open_model, parse
from benchmarks.demo.train_demo import export
from benchmarks.training import control, scribble
from benchmarks.training.loop import train


def main() -> None:
    """Read the command line, train, and write the weights."""
    arguments = parse(__doc__, scribble.STEPS)
    deadline = time.monotonic() + 60 * arguments.minutes
    torch.set_num_threads(1)  # the loop has a thread per core already
    base = open_model(arguments.model)
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


if __name__ == "__main__":
    main()
