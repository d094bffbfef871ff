"""Train the demo language model, from nothing to the weights that ship.

    python -m benchmarks.demo.train_text --out DIR [--minutes 60] [--steps N]

Run the same command again after a stop or a crash, and it goes on from the last checkpoint. DIR
then holds the checkpoint, the losses and their curve, and the share of right answers every 500
steps; at the end `weights/model.safetensors`, to be copied to `attn/demo/weights/mmada/`, and
`model/`, a folder for `attn capture -b mmada -m`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from attn.demo import language
from benchmarks.training import language as recipe
from benchmarks.training.loop import train


def main() -> None:
    """Read the command line, train, and write the weights."""
    arguments = _parse()
    torch.set_num_threads(1)  # the loop has a thread per core already
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, average = recipe.build().to(device), recipe.build().to(device)
    stage = recipe.stage(model, average, steps=arguments.steps)
    deadline = time.monotonic() + 60 * arguments.minutes
    if not train(stage, arguments.out / "language", deadline=deadline):
        print("time is up; run the same command again to go on")
        return
    weights = arguments.out / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    save_file(recipe.export(average.cpu()), weights / language.FILE)
    language.save_trained(arguments.out / "model", weights)
    for kind, right in recipe.score(average, language.tokenizer()).items():
        print(f"{kind}: {right:.1%} of the held-out questions")
    print(f"done: {weights}, {arguments.out / 'model'}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--steps", type=int, default=recipe.STEPS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
