"""What cutting a word, padding or sinks does to the pictures of a demo model, as a program judges.

    python -m benchmarks.ablate_demo sdxl|sd35|gated [--prompts 48] [--first 0] [--steps N]
                                     [--cut NAME=CUT …] [--out FOLDER] [--weaken [--points 5]]

Draws each held-out caption of two objects once as it is, once with each cut, and once with as much
cut at random, all from the same noise; where there is not as much beside, as beside padding, a cut
is held against the picture without one. In a CUT, COLOUR and SHAPE stand for the words of the first
object. Prints, per cut and class of `attn.demo.changes`, in which part of the pictures it is
changed, likewise of the random cut, and the difference with its 95 % interval over pictures.

Every caption is a line of `pictures.jsonl` in FOLDER: what is there is not drawn again.

With `--weaken` the heads are put in the order of what skipping each does to the captions, and then
more and more of them are weakened in that order, and in the reverse one, on as many captions that
follow. It goes on likewise where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
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

Changes = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Of one caption: by the name of a cut, then `cut` and `random`, which of `CHANGES` happened."""


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
            f"n {row['n']}"
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
    seed: int,
    cuts: Mapping[str, str],
) -> Changes:
    """Draw a caption in all ways, and say what changed."""
    base = draw(arguments, model, content, seed, None)
    changes: dict[str, dict[str, Mapping[str, float]]] = {}
    for name, text in cuts.items():
        kind = content.kinds[0]
        cut = text.replace("COLOUR", kind.color).replace("SHAPE", kind.shape)
        random = f"{cut}{',' if '@' in cut else '@'}random=0"
        changes[name] = {
            "cut": list_changes(content, base, draw(arguments, model, content, seed, cut))
        }
        try:
            control = draw(arguments, model, content, seed, random)
        except RequestError:  # there is not as much beside
            control = base
        changes[name]["random"] = list_changes(content, base, control)
    return changes


def draw(
    arguments: argparse.Namespace,
    model: Shared,
    content: scenes.Content,
    seed: int,
    cut: str | None,
) -> judge.Painted:
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


def summarise(
    name: str, pictures: Sequence[Mapping[str, Mapping[str, float]]]
) -> Iterator[Mapping[str, object]]:
    """Yield a row for each of `CHANGES` of one cut."""
    for label in CHANGES:
        both = np.array(
            [
                [of[kind][label] for kind in ("cut", "random")]
                for of in pictures
                if all(label in of[kind] for kind in ("cut", "random"))
            ]
        ).reshape(-1, 2)
        low, high, _ = paired_interval(both[:, :1] - both[:, 1:])
        cut, random = both.mean(0) if len(both) else (np.nan, np.nan)
        yield {
            "cut": name,
            "change": label,
            "changed": cut,
            "random": random,
            "difference": cut - random,
            "low": float(low[0]),
            "high": float(high[0]),
            "n": len(both),
        }


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
    parser.add_argument("--steps", type=int)
    parser.add_argument("--cut", action="append", help="NAME=CUT; repeat")
    parser.add_argument("--weaken", action="store_true", help="heads, in the order of a scan")
    parser.add_argument("--points", type=int, default=5, help="numbers of heads, with --weaken")
    parser.add_argument("--out", type=Path, default=Path("ablate-demo"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
