"""How well a demo model paints what held-out captions ask for, and how well words find it.

    python -m benchmarks.demo.score_demo sdxl|sd35|sd35-medium|gated [--model FOLDER]
                                    [--prompts 200]
                                    [--steps N] [--guidance G] [--out demo-scores]

Generates a picture for each caption through `attn.capture`, each from noise of its own. Prints the
share that is right per class, and how well the heatmaps of words point to what they name, with
bootstrap intervals over pictures (95 %). OUT then holds all of it for every layer and head
(`scores.csv`), a figure of it (`heads.png`), and the first pictures (`pictures.png`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pandas import DataFrame

import attn
from attn import demo
from attn.analysis.scores.scored import MapScore, score_trace
from attn.analysis.scores.summary import summarise
from attn.analysis.tables import make_frame, write_table
from attn.demo import judge, scenes
from attn.verbs.capture.capture import Shared
from attn.verbs.evaluate.truths import find_regions
from benchmarks.figures import draw_heads
from benchmarks.training.report import draw_sheet

MODELS = {name.replace(":", "-"): name for name in ("sdxl", "sd35", "sd35:medium", "gated")}
SHEET = 64
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Painted:
    """A picture, what is right in it, and how well its words point.

    Attributes:
        picture: RGB, uint8.
        verdict: against its caption.
        rows: one per word and pooling.
    """

    picture: np.ndarray
    verdict: judge.Verdict
    rows: list[MapScore]


def main() -> None:
    """Read the command line, generate, judge, score, and print the tables."""
    arguments = _parse()
    contents = scenes.held_out()[: arguments.prompts]
    painted = list(_count(paint_all(contents, arguments), len(contents)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    captions = [scenes.caption(content) for content in contents[:SHEET]]
    draw_sheet([item.picture for item in painted[:SHEET]], captions, arguments.out / "pictures.png")
    print_agreement([item.verdict for item in painted])
    table = make_frame(summarise([item.rows for item in painted]))
    write_table(table, arguments.out / "scores.csv")
    draw_heads(table, arguments.out / "heads.png")
    print_scores(table)


def paint_all(
    contents: Sequence[scenes.Content], arguments: argparse.Namespace
) -> Iterator[Painted]:
    """Generate one picture per caption; picture i starts from the noise of seed i."""
    from attn.backends import find, load

    name = MODELS[arguments.name]
    backend = name.partition(":")[0]
    family = load(find(backend))
    source, parts = arguments.model or name.replace(backend, "demo"), {}
    if arguments.model and (arguments.model / demo.SPLIT_MODEL).exists():
        source = arguments.model / demo.SPLIT_MODEL
        parts = {part: str(arguments.model / file) for part, file in demo.SPLIT_FILES.items()}
    model = Shared(lambda: family.open(source, family.Options(**parts)))
    for seed, content in enumerate(contents):
        with TemporaryDirectory() as folder:
            captured = attn.capture(
                backend,
                scenes.caption(content),
                model=model,
                out=Path(folder, "trace"),
                steps=arguments.steps,
                guidance=arguments.guidance,
                seed=seed,
                keep="heads",
            )
            yield score(content, captured.trace)


def score(content: scenes.Content, trace: attn.Trace) -> Painted:
    """Judge the picture of a trace, and score the heatmaps of the words that it shows."""
    from PIL import Image

    with Image.open(trace.image()) as image:
        picture = np.asarray(image.convert("RGB"))
    result = judge.find(picture)
    rows = score_trace(trace, {0: find_regions(content, result)})[0]
    return Painted(picture, judge.agreement(content, result), rows)


def judge_all(
    contents: Sequence[scenes.Content], pictures: Sequence[np.ndarray]
) -> list[judge.Verdict]:
    """Judge every picture against its caption."""
    return [
        judge.agreement(content, judge.find(picture))
        for content, picture in zip(contents, pictures, strict=True)
    ]


def tally(verdicts: Sequence[judge.Verdict]) -> dict[str, list[tuple[bool, ...]]]:
    """For each class, what is right and wrong per picture; a picture may have several or none."""
    rows: dict[str, list[tuple[bool, ...]]] = {
        "background": [(verdict.background,) for verdict in verdicts],
        "number": [(verdict.number,) for verdict in verdicts],
        "color": [verdict.colors for verdict in verdicts],
        "shape": [verdict.shapes for verdict in verdicts],
        "relation": [(v.relation,) for v in verdicts if v.relation is not None],
        "everything": [(verdict.is_complete,) for verdict in verdicts],
    }
    return {name: row for name, row in rows.items() if row}


def interval(rows: Sequence[tuple[bool, ...]]) -> tuple[float, float]:
    """Bootstrap over pictures: where 95 % of the resampled rates lie."""
    right = np.array([sum(row) for row in rows])
    requested = np.array([len(row) for row in rows])
    selected = np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))
    low, high = np.quantile(right[selected].sum(1) / requested[selected].sum(1), [0.025, 0.975])
    return float(low), float(high)


def print_agreement(verdicts: Sequence[judge.Verdict]) -> None:
    """Print the share that is right per class."""
    print(f"{'class':<12}{'right':>7}{'low':>7}{'high':>7}{'n':>6}")
    for name, rows in tally(verdicts).items():
        low, high = interval(rows)
        rate = np.sum([sum(row) for row in rows]) / sum(map(len, rows))
        print(f"{name:<12}{rate:>7.3f}{low:>7.3f}{high:>7.3f}{sum(map(len, rows)):>6}")


def print_scores(table: DataFrame) -> None:
    """Print the table without single layers, heads and steps."""
    print(f"\n{'segment':<8}{'class':<18}{'pooling':<15}{'measure':<11}", end="")
    print("   mean    low   high chance     n")
    for index in np.flatnonzero(np.isnan(table["layer"]) & np.isnan(table["step"])):
        names = [str(table[name][index]) for name in ("segment", "class")]
        print(
            f"{names[0]:<8}{names[1]:<18}{table['pooling'][index]:<15}{table['measure'][index]:<11}",
            end="",
        )
        numbers = [table[name][index] for name in ("mean", "low", "high", "chance")]
        print("".join(f"{number:>7.3f}" for number in numbers) + f"{table['n'][index]:>6}")


def _count(painted: Iterator[Painted], total: int) -> Iterator[Painted]:
    """Tell on stderr how far it is."""
    for number, item in enumerate(painted, 1):
        if number % 20 == 0 or number == total:
            print(f"{number} of {total} pictures", file=sys.stderr, flush=True)
        yield item


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--model", type=Path, help="a folder of diffusers; else the demo model")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--steps", type=int, help="of the sampler; else the backend's default")
    parser.add_argument("--guidance", type=float, help="else the backend's default")
    parser.add_argument("--out", type=Path, default=Path("demo-scores"))
    arguments = parser.parse_args()
    if arguments.prompts < 1:
        parser.error(f"--prompts must be at least 1; got {arguments.prompts}")
    if arguments.model is None and not demo.is_trained(MODELS[arguments.name]):
        parser.error(
            f"no trained weights of {arguments.name} ship: give the folder that "
            "benchmarks.demo.train_demo wrote, --model DIR/model"
        )
    return arguments


if __name__ == "__main__":
    main()
