"""What cutting a word, padding or sinks does to the pictures of a demo model, as a program judges.

    python -m benchmarks.ablate_demo sdxl|sd35|gated [--prompts 48] [--steps N] [--out FOLDER]

Draws each held-out caption of two objects once as it is, once with each cut, and once with as much
cut at random, all from the same noise; padding, beside which there is not as much, is held against
the picture without a cut. Objects are held against those of the picture without a cut:
the nearest object is the same one. Prints, per cut and class, in which part of the pictures that
class is changed, likewise of the random cut, and the difference with its 95 % bootstrap interval
over pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import attn
from attn.analysis.compare.paired import paired_interval
from attn.analysis.tables import make_table, write_table
from attn.backends import find, load
from attn.demo import scenes
from attn.verbs.capture.capture import Shared
from benchmarks.scoring import judge

CLASSES = ("colour", "shape", "gone", "other colour", "other shape", "number", "relation", "ground")
NEAR = 0.15
"""An object that is farther away, in sides of the picture, is another one."""
SINKS = 1


def main() -> None:
    """Draw, judge, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=("sdxl", "sd35", "gated"))
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("ablate-demo"))
    arguments = parser.parse_args()
    family = load(find(arguments.name))
    model = Shared(lambda: family.open("demo", family.Options()))
    contents = [content for content in scenes.held_out() if len(content.kinds) > 1]
    changes: dict[str, list[np.ndarray]] = {}
    for seed, content in enumerate(contents[: arguments.prompts]):
        base = draw(arguments, model, content, seed, None)
        for name, cut in cuts(content).items():
            random = None if cut == "padding" else f"{cut}@random=0"  # there is not as much beside
            row = [
                changed(content, base, draw(arguments, model, content, seed, of))
                for of in (cut, random)
            ]
            changes.setdefault(name, []).append(np.array(row))
        print(f"{seed + 1}/{arguments.prompts}", flush=True)
    rows = [row for name in changes for row in summarise(name, np.stack(changes[name]))]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_table(
        make_table({key: [row[key] for row in rows] for key in rows[0]}),
        arguments.out / "cuts.csv",
    )
    for row in rows:
        print(
            f"{row['cut']:8} {row['class']:14} {row['changed']:5.2f} random {row['random']:5.2f} "
            f"difference {row['difference']:+5.2f} ({row['low']:+.2f} to {row['high']:+.2f}), "
            f"n {row['n']}"
        )


def cuts(content: scenes.Content) -> dict[str, str]:
    """Return what is cut: words of the first object, and what is no word."""
    kind = content.kinds[0]
    return {
        "colour": kind.color,
        "shape": kind.shape,
        "sinks": f"sinks:{SINKS}",
        "padding": "padding",
    }


def draw(
    arguments: argparse.Namespace,
    model: Shared,
    content: scenes.Content,
    seed: int,
    cut: str | None,
) -> judge.Picture:
    """Return what a picture shows."""
    from PIL import Image

    with TemporaryDirectory() as folder:
        captured = attn.capture(
            arguments.name,
            scenes.caption(content),
            model=model,
            out=Path(folder, "trace"),
            steps=arguments.steps,
            seed=seed,
            keep="mass",
            cut=cut,
        )
        with Image.open(captured.trace.image()) as image:
            return judge.find(np.asarray(image.convert("RGB")))


def changed(
    content: scenes.Content, base: judge.Picture, picture: judge.Picture
) -> tuple[float, ...]:
    """Say of each of `CLASSES` whether it is another one; NaN where that cannot be said."""
    kinds = [judge.match(kind, base) for kind in content.kinds]
    if kinds[0] is None or kinds[1] is None:  # already without a cut
        return (np.nan,) * len(CLASSES)
    now = [nearest(kind, picture) for kind in kinds]
    values: dict[str, float] = {
        "gone": now[0] is None,
        "number": len(base.objects) != len(picture.objects),
        "ground": base.background != picture.background,
    }
    for name, before, after in zip(("", "other "), kinds, now, strict=True):
        if after is not None:
            values[f"{name}colour"] = before.color != after.color
            values[f"{name}shape"] = before.shape != after.shape
    if now[0] is not None and now[1] is not None:
        values["relation"] = judge.relation(*kinds) != judge.relation(*now)
    return tuple(float(values.get(name, np.nan)) for name in CLASSES)


def nearest(kind: judge.Found, picture: judge.Picture) -> judge.Found | None:
    """Return the object of a picture that is where another one was."""

    def distance(other: judge.Found) -> float:
        return float(np.hypot(*(a - b for a, b in zip(kind.center, other.center, strict=True))))

    closest = min(picture.objects, key=distance, default=None)
    return closest if closest is not None and distance(closest) < NEAR else None


def summarise(name: str, changes: np.ndarray) -> Iterator[Mapping[str, object]]:
    """Yield a row for each class, of (picture, cut and random, class)."""
    for index, label in enumerate(CLASSES):
        both = changes[:, :, index]
        both = both[~np.isnan(both).any(1)]
        low, high, _ = paired_interval(both[:, :1] - both[:, 1:])
        cut, random = both.mean(0)
        yield {
            "cut": name,
            "class": label,
            "changed": cut,
            "random": random,
            "difference": cut - random,
            "low": float(low[0]),
            "high": float(high[0]),
            "n": len(both),
        }


if __name__ == "__main__":
    main()
