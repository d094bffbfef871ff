"""Whether a comparison finds what a demo LoRA is known to do, and nothing else.

    python -m benchmarks.demo.score_lora sdxl|sd35|sd35-medium --files DIR [--model FOLDER]
                                    [--prompts 3] [--seeds 16] [--steps N] [--out lora-scores]

DIR holds the LoRA as `benchmarks.demo.train_lora` leaves it, in the spellings of peft and of kohya.
With it a word is drawn as another, such as a square as a circle; for captions without the word it
was trained to predict what the model predicts without it. So there are two kinds of prompts, each
drawn with and without the LoRA from the same 16 noises through `attn.compare`:

- with the word: held-out captions of which one object has it, and none the other. All other words
  of such a caption are untouched ones. The first captions have one object and two, so that there
  are words of the same object and words of another one. Expected: the word leads the table of
  masses, its interval leaves 0 out, and its change is at least 3 times that of every other word. It
  cannot be the only one: the masses of all tokens add up to 1.
- without it: the same captions with a third word in its place. Expected: no word changes by more
  than a third of the smallest change of the word.

For the first caption both files are compared in one run, as two variants: all tables must agree to
1e-5. Prints every table of masses and each expectation with its number; exit code 1 if one fails.
OUT holds the comparisons, with pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pandas import DataFrame

import attn
from attn.demo import scenes
from attn.verbs.compare.compare import Compared
from benchmarks.demo.score_demo import MODELS
from benchmarks.demo.train_demo import FAMILIES
from benchmarks.demo.train_lora import ARCHITECTURES
from benchmarks.training import lora
from benchmarks.training.lora import Effect

OTHERS = {"shape": "triangle", "color": "orange"}
"""What stands in the place of the changed word in captions without it."""
FACTOR = 3.0
"""So many times the change of every untouched word is asked of the changed one."""
CLOSE = 1e-5
"""Largest difference between the tables of two spellings of one LoRA."""

Verdict = tuple[bool, str]
Changes = dict[str, tuple[float, float, float]]
"""By word and occurrence: change of mass with the ends of its interval, the largest first."""


def main() -> None:
    """Read the command line, compare, and print what was found and what was expected."""
    arguments = _parse()
    effect = lora.effect(FAMILIES[arguments.name])
    peft, kohya = (f"{effect.word}.{spelling}.safetensors" for spelling in ("peft", "kohya"))
    verdicts: list[Verdict] = []
    led = []
    for index, content in enumerate(choose(effect, arguments.prompts)):
        files = (peft, kohya) if index == 0 else (peft,)
        done = compare(content, files, arguments.out / f"{index}-with", arguments)
        result = changes(done.tables["mass.csv"], peft)
        show(scenes.caption(content), result)
        verdicts += judge_changed(effect.word, result)
        led.append(abs(result[f"{effect.word} 1"][0]))
        if len(files) > 1:
            verdicts.append(judge_spellings(done.tables))
        other = effect.instead(content, OTHERS[effect.attribute])
        done = compare(other, (peft,), arguments.out / f"{index}-without", arguments)
        result = changes(done.tables["mass.csv"], peft)
        show(scenes.caption(other), result)
        verdicts.append(judge_rest(effect.word, result, min(led)))
    for holds, text in verdicts:
        print(f"{'holds' if holds else 'FAILS'}  {text}")
    raise SystemExit(not all(holds for holds, _ in verdicts))


def choose(effect: Effect, count: int) -> list[scenes.Content]:
    """Return held-out contents with the word: of one object, two, two, one, and so on."""
    listed = [
        content
        for content in lora.held_out(effect, asked=True)
        if OTHERS[effect.attribute] not in effect.said(content)
    ]
    by_number = [[item for item in listed if len(item.kinds) == number] for number in (1, 2)]
    order = [0, 1, 1, 0]
    queues = [iter(group) for group in by_number]
    return [next(queues[order[index % len(order)]]) for index in range(count)]


def compare(
    content: scenes.Content, files: Sequence[str], out: Path, arguments: argparse.Namespace
) -> Compared:
    """Compare the model with and without LoRAs on one caption."""
    name = MODELS[arguments.name]
    backend, _, variant = name.partition(":")
    return attn.compare(
        lora=[arguments.files / file for file in files],
        backend=backend,
        model=arguments.model or (f"demo:{variant}" if variant else "demo"),
        prompt=scenes.caption(content),
        seed=range(arguments.seeds),
        steps=arguments.steps,
        out=out,
    )


def changes(table: DataFrame, file: str) -> Changes:
    """Return what changed with one file, of the first text segment."""
    rows = table[table["segment"] == table["segment"][0]]
    if "variant_name" in table:
        rows = rows[rows["variant_name"] == file.removesuffix(".safetensors")]
    names = rows["word"] + " " + rows["occurrence"].astype(str)
    numbers = rows[["change", "low", "high"]].astype(float).itertuples(index=False, name=None)
    return dict(zip(names, numbers, strict=True))


def show(caption: str, found: Changes) -> None:
    """Print what changed in one caption."""
    print(caption)
    for word, (change, low, high) in found.items():
        print(f"  {word:<14}{change:>+11.5f}   {low:>+9.5f} to {high:>+9.5f}")
    print()


def judge_changed(changed: str, found: Changes) -> Iterator[Verdict]:
    """Say whether the changed word leads, and by how much."""
    word = f"{changed} 1"
    first, *_ = found
    change, low, high = found[word]
    most = max(abs(item) for name, (item, _, _) in found.items() if name != word)
    yield first == word, f"'{word}' leads; first is '{first}'"
    yield low > 0 or high < 0, f"its interval leaves 0 out: {low:+.5f} to {high:+.5f}"
    factor = abs(change) / most if most else np.inf
    yield factor >= FACTOR, f"its change is {factor:.2f} times the largest other; {FACTOR:g} asked"


def judge_rest(changed: str, found: Changes, led: float) -> Verdict:
    """Say whether a caption without the word stays as it was."""
    word, most = max(
        ((word, abs(item)) for word, (item, _, _) in found.items()), key=lambda it: it[1]
    )
    factor = led / most if most else np.inf
    text = f"without the word '{word}' changes most, by {most:.5f}"
    return factor >= FACTOR, f"{text}: '{changed}' {factor:.2f} times that"


def judge_spellings(tables: Mapping[str, DataFrame]) -> Verdict:
    """Say whether two spellings of one LoRA give the same tables."""
    largest = max(_difference(table) for table in tables.values())
    return largest <= CLOSE, f"tables of the two spellings differ by {largest:.1e} at most"


def _difference(table: DataFrame) -> float:
    """Return the largest difference of any number between the two variants of a table."""
    columns = {name: column.to_numpy() for name, column in table.items()}
    names = list(dict.fromkeys(columns["variant_name"]))
    halves = [columns["variant_name"] == name for name in names]
    numbers = [column for column in columns.values() if column.dtype.kind == "f"]
    order = [_order(columns, half) for half in halves]
    return max((_gap(column[order[0]], column[order[1]]) for column in numbers), default=0.0)


def _gap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest difference; infinite where only one is a number."""
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    gaps = np.abs(first[~same] - second[~same])
    return float(np.where(np.isnan(gaps), np.inf, gaps).max(initial=0))


def _order(columns: Mapping[str, np.ndarray], half: np.ndarray) -> np.ndarray:
    """Return the rows of one variant by their labels: tables are sorted by size."""
    labels = [column for column in columns.values() if column.dtype.kind not in "f"]
    rows = np.flatnonzero(half)
    return np.array(sorted(rows, key=lambda row: [str(column[row]) for column in labels]))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=ARCHITECTURES)
    parser.add_argument("--files", type=Path, required=True, help="folder of both LoRA files")
    parser.add_argument("--model", type=Path, help="a folder of diffusers; else the demo model")
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--steps", type=int, help="of the sampler; else the backend's default")
    parser.add_argument("--out", type=Path, default=Path("lora-scores"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
