"""How well the demo ControlNet's pictures follow outlines, and what outlines do to word maps.

    python -m benchmarks.demo.score_control [--net FILE] [--prompts 100] [--steps 20]

Generates every held-out caption twice from the same noise through `attn.capture`, with the
outline of a scene and without. Prints, with bootstrap intervals over pictures (95 %): how far the
drawn objects are those of the outlines (intersection over union), and how much more of the maps of
shape words lies inside the outlines with them than without.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import attn
from attn.analysis.scores.intervals import estimate, mean_of
from attn.analysis.sketch import sketch
from attn.analysis.sketch.overlap import measure_mean
from attn.analysis.sketch.strokes import lay_out
from attn.analysis.words.selection import choose
from attn.backends import find, load
from attn.demo import rendering, scenes
from attn.verbs.capture.capture import Shared
from benchmarks.training import control


def main() -> None:
    """Read the command line, generate, measure, and print."""
    arguments = _parse()
    family = load(find("scribble"))
    own = {} if arguments.net is None else {"controlnet": str(arguments.net)}
    session = Shared(lambda: family.open("demo", family.Options(**own)))
    rows = []
    for seed, scene in enumerate(control.held_out_scenes(arguments.prompts)):
        with_it, without = (
            measure(session, scene, seed, arguments.steps, given) for given in ("auto", "none")
        )
        rows.append((with_it[0], without[0], with_it[1] - without[1]))
        print(f"{seed + 1}/{arguments.prompts}", end="\r", flush=True)
    names = ("overlap with the outlines", "the same without them", "shape words inside, change")
    result = estimate(mean_of(np.array(rows)), len(rows))
    for name, *ends in zip(names, result.mean, result.low, result.high, strict=True):
        print(f"{name:<28}" + "".join(f"{end:8.3f}" for end in ends) + f"{len(rows):5d}")


def measure(
    session: Shared, scene: scenes.Scene, seed: int, steps: int, given: str
) -> tuple[float, float]:
    """Return how far a picture fills the outlines, and how much of shape words' maps is inside."""
    with TemporaryDirectory() as folder:
        trace = attn.capture(
            "scribble",
            scenes.caption(scene.content),
            model=session,
            out=Path(folder, "trace"),
            seed=seed,
            steps=steps,
            settings={"sketch": given},
        ).trace
        with Image.open(trace.image()) as image:
            picture = np.asarray(image.convert("RGB"))
        words = tuple(kind.shape for kind in scene.content.kinds)
        maps = sketch.word_maps(trace, choose(trace, sketch.SketchOptions(words=words)))
    drawn = lay_out(rendering.outlines(scene, len(picture)), maps.shape[-2:])
    inside = measure_mean(maps, drawn)["inside"]
    return control.overlap(picture, scene), float(np.nanmean(inside))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", type=Path, help="weights of the ControlNet; by default the demo's")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
