"""What cutting a word, padding or sinks does to the pictures of a demo model, as a program judges.

    python -m benchmarks.ablate_demo sdxl|sd35|gated [--prompts 48] [--first 0] [--noises 1]
                                     [--steps N] [--cut NAME=CUT …] [--out FOLDER]
                                     [--weaken [--points 5]]

Draws each held-out caption of two objects once as it is, once with each cut, and once with as much
cut at random, all from the same noise; where there is not as much beside, as beside padding, a cut
is held against the picture without one. In a CUT, COLOUR and SHAPE stand for the words of the first
object, RECOLOURED and RESHAPED for the caption with another colour or shape of it, which the other
object has not either, for `swap=`. With more than one of `--noises`, each caption is drawn from as
many, and its values are the means over them.

Prints, per cut and class of `attn.demo.changes`, in which part of the pictures it is changed,
likewise of the random cut, and the difference with its 95 % interval over captions. A cut whose
name begins with `colour` or `shape` is meant to change that class. Of the other seven classes the
question is whether anything changes besides: p is that of a test that turns signs at random, after
Holm's correction for the seven. `aim`, by which one of several cuts is chosen, is the difference of
the class that is meant, less the largest of the seven. Choose on some captions; then draw others.

Every caption is a line of `pictures.jsonl` in FOLDER: what is there is not drawn again.

With `--weaken` the heads are put in the order of what skipping each does to the captions, and then
more and more of them are weakened in that order, and in the reverse one, on as many captions that
follow. It goes on likewise where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import attn
from attn.analysis.compare.paired import paired_interval
from attn.analysis.tables import make_table, write_table
from attn.backends import find, load
from attn.demo import judge, scenes
from attn.demo.changes import CHANGES, list_changes
from attn.errors import RequestError
from attn.verbs.capture.capture import Shared

CUTS = ("colour=COLOUR", "shape=SHAPE", "sinks=sinks:1", "padding=padding")
LINES = "pictures.jsonl"
NEXT_NOISE = 1000
"""Seeds of a caption are its number, and this much more each."""

MEANT = ("colour", "shape")
"""Classes that a cut can be meant to change, if its name begins so."""
RESAMPLES = 9999
"""Draws of signs; with few captions, all there are."""

Changes = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Of one caption: by the name of a cut, then `cut` and `random`, which part of its pictures changed
in each of `CHANGES`."""


def main() -> None:
    """Draw, judge, and print the tables."""
    arguments = _parse()
    if arguments.weaken:
        return weaken(arguments)
    family = load(find(arguments.name))
    model = Shared(lambda: family.open("demo", family.Options()))
    cuts = dict(text.split("=", 1) for text in arguments.cut or CUTS)
    contents = [content for content in scenes.held_out() if len(content.kinds) > 1]
    last = arguments.first + arguments.prompts
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = arguments.out / LINES
    done = _read(lines)
    for seed, content in list(enumerate(contents))[arguments.first : last]:
        if set(cuts) - set(done.get(seed, {})):
            done[seed] = change_all(arguments, model, content, seed, cuts)
            with lines.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"seed": seed, "changes": done[seed]}) + "\n")
            print(f"{seed + 1 - arguments.first}/{arguments.prompts}", flush=True)
    pictures = [done[seed] for seed in range(arguments.first, last) if seed in done]
    rows = [row for name in cuts for row in summarise(name, [of[name] for of in pictures])]
    write_table(
        make_table({key: [row[key] for row in rows] for key in rows[0]}),
        arguments.out / "cuts.csv",
    )
    for row in rows:
        print(
            f"{row['cut']:12} {row['change']:14} {row['changed']:5.2f} random {row['random']:5.2f} "
            f"difference {row['difference']:+5.2f} ({row['low']:+.2f} to {row['high']:+.2f}), "
            f"p {row['p']:.3f}, n {row['n']}, aim {row['aim']:+.2f}"
        )


def weaken(arguments: argparse.Namespace) -> None:
    """Print what weakening heads does, in the order of a scan and in the reverse one."""
    texts = [scenes.caption(of) for of in scenes.held_out() if len(of.kinds) > 1]
    first, count = arguments.first, arguments.prompts
    scan, weakened = arguments.out / "scan", arguments.out / "weakened"
    options = {"seed": 0, "steps": arguments.steps, "batch": count, "pictures": False}
    attn.ablate(
        *(arguments.name, texts[first : first + count]),
        scan="heads",
        out=scan,
        resume=scan.exists(),
        **options,
    )
    done = attn.ablate(
        *(arguments.name, texts[first + count : first + 2 * count]),
        weaken=scan,
        out=weakened,
        resume=weakened.exists(),
        points=arguments.points,
        **options,
    )
    print(done.answer)
    print(done.tables["weakening.csv"].to_string(index=False))


def change_all(
    arguments: argparse.Namespace,
    model: Shared,
    content: scenes.Content,
    number: int,
    cuts: Mapping[str, str],
) -> Changes:
    """Draw a caption in all ways, and say what changed."""
    drawn = partial(draw, arguments, model, content, number)
    base = drawn(None)
    changes: dict[str, dict[str, Mapping[str, float]]] = {}
    for name, text in cuts.items():
        cut = _fill_in(text, content, number)
        random = f"{cut}{',' if '@' in cut else '@'}random=0"
        changes[name] = {"cut": _mean_changes(content, base, drawn(cut))}
        try:
            control = drawn(random)
        except RequestError:  # there is not as much beside
            control = base
        changes[name]["random"] = _mean_changes(content, base, control)
    return changes


def _fill_in(text: str, content: scenes.Content, number: int) -> str:
    """Return a cut with the words and captions that it names; those of others go round."""
    kind, *rest = content.kinds
    colors = [of for of in scenes.COLORS if of not in {each.color for each in content.kinds}]
    shapes = [of for of in scenes.SHAPES if of not in {each.shape for each in content.kinds}]
    others = {
        "RECOLOURED": replace(kind, color=colors[number % len(colors)]),
        "RESHAPED": replace(kind, shape=shapes[number % len(shapes)]),
    }
    for name, other in others.items():
        text = text.replace(name, scenes.caption(replace(content, kinds=(other, *rest))))
    return text.replace("COLOUR", kind.color).replace("SHAPE", kind.shape)


def _mean_changes(
    content: scenes.Content, before: Sequence[judge.Painted], after: Sequence[judge.Painted]
) -> Mapping[str, float]:
    """Return, of each of `CHANGES` that can be told of a picture, in which part it happened."""
    told = [list_changes(content, *both) for both in zip(before, after, strict=True)]
    values = {name: [of[name] for of in told if name in of] for name in CHANGES}
    return {name: float(np.mean(of)) for name, of in values.items() if of}


def draw(
    arguments: argparse.Namespace,
    model: Shared,
    content: scenes.Content,
    number: int,
    cut: str | None,
) -> list[judge.Painted]:
    """Return what the pictures of a caption show, one of each noise."""
    from PIL import Image

    with TemporaryDirectory() as folder:
        captured = attn.capture(
            arguments.name,
            scenes.caption(content),
            model=model,
            out=Path(folder, "trace"),
            steps=arguments.steps,
            seed=[number + NEXT_NOISE * noise for noise in range(arguments.noises)],
            batch=arguments.noises,
            keep="mass",
            cut=cut,
        )
        painted = []
        for entry in captured.entries:
            with Image.open(attn.open(captured.path / entry.folder).image()) as image:
                painted.append(judge.find(np.asarray(image.convert("RGB"))))
        return painted


def summarise(
    name: str, pictures: Sequence[Mapping[str, Mapping[str, float]]]
) -> Iterator[Mapping[str, object]]:
    """Yield a row for each of `CHANGES` of one cut."""
    both = {
        label: np.array(
            [
                [of[kind][label] for kind in ("cut", "random")]
                for of in pictures
                if all(label in of[kind] for kind in ("cut", "random"))
            ]
        ).reshape(-1, 2)
        for label in CHANGES
    }
    meant = next((label for label in MEANT if name.startswith(label)), None)
    others = [label for label in CHANGES if label != meant]
    differences = {label: of[:, 0] - of[:, 1] for label, of in both.items()}
    alone = {label: _sign_test(of) for label, of in differences.items()}
    corrected = dict(zip(others, _holm([alone[label] for label in others]), strict=True))
    means = {label: float(of.mean()) if len(of) else np.nan for label, of in differences.items()}
    aim = means[meant] - max(means[label] for label in others) if meant else np.nan
    for label in CHANGES:
        low, high, _ = paired_interval(differences[label][:, np.newaxis])
        cut, random = both[label].mean(0) if len(both[label]) else (np.nan, np.nan)
        yield {
            "cut": name,
            "change": label,
            "changed": cut,
            "random": random,
            "difference": means[label],
            "low": float(low[0]),
            "high": float(high[0]),
            "p": corrected.get(label, alone[label]),
            "n": len(both[label]),
            "aim": aim,
        }


def _sign_test(differences: np.ndarray) -> float:
    """Return the two-sided p of a mean difference, if each could as well have the other sign."""
    from scipy.stats import permutation_test

    if len(differences) < 2 or not np.any(differences):
        return 1.0
    result = permutation_test(
        (differences,),
        lambda of, axis: of.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def _holm(values: Sequence[float]) -> list[float]:
    """Return p after Holm's correction: the smallest times their number, the next times one less.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(values)
    stepped = np.asarray(values)[order] * np.arange(len(values), 0, -1)
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected.tolist()


def _read(lines: Path) -> dict[int, Changes]:
    """Return what was drawn before, by the number of its caption."""
    if not lines.exists():
        return {}
    read = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    return {line["seed"]: line["changes"] for line in read}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=("sdxl", "sd35", "gated"))
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--first", type=int, default=0, help="caption to begin with")
    parser.add_argument("--noises", type=int, default=1, help="of each caption")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--cut", action="append", help="NAME=CUT; repeat")
    parser.add_argument("--weaken", action="store_true", help="heads, in the order of a scan")
    parser.add_argument("--points", type=int, default=5, help="numbers of heads, with --weaken")
    parser.add_argument("--out", type=Path, default=Path("ablate-demo"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
