"""A sweep: runs that differ in one number, such as a LoRA's scale, or in the file of a training.

Files of one training, whose names are equal but for numbers, are swept in the order of these. The
number of a file is that in its name; where names have none, or several that differ, it is its place
in this order, from 1. The baseline, without a LoRA, is 0.

Definitions, for the leading word (see `changes.headline`, at any scale that does not break images)
and the scales on one side of the baseline, in the order of their distance from it:

- works from   the first scale at which the interval of the word's change of mass leaves 0 out.
- step         (level of the images at a scale - level at the scale before) / (distance of the two
               scales), mean over pairs; before the first scale is the baseline, of level 0.
- visible from the first scale at which images are shown to differ visibly: the interval of their
               level lies above `VISIBLE`.
- breaks from  the first scale whose step is at least twice the step before, if the interval of the
               difference of the two steps, pair by pair, leaves 0 out, and images there are
               shown to differ visibly.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from attn.analysis.compare.changes import TermChange, changes, headline, is_clear, mass, overall
from attn.analysis.compare.differences import LORA, Difference, Setting
from attn.analysis.compare.images import VISIBLE, image_interval
from attn.analysis.compare.paired import paired_interval
from attn.analysis.compare.pairs import Pair
from attn.analysis.tables import Table, make_table
from attn.schema.requests import shortest

FEWEST = 2
"""Scales of a sweep, the baseline not among them."""
STEEPER = 2.0
"""So many times the step before is a break."""

SCALE, FILE = "scale", "file"
"""What tables call the number of a sweep."""
END = "end"
"""Stands for a file of a training whose name has no number: it is the last one."""
COUNTED = {
    "step": re.compile(r"step|checkpoint", re.I),
    "epoch": re.compile(r"epoch|[-_]\d{6}$", re.I),
}
"""What the number in a file's name counts, by how kohya's scripts, diffusers and peft write it."""

Image = tuple[str, int, int]
"""Prompt, seed and sample."""


@dataclass(frozen=True)
class SweepPoint:
    """One scale of a sweep.

    Attributes:
        label: what the variant is called.
        scale: the number that varies.
        changes: of mass, of every word.
        levels: of each image, how much it differs from the baseline's, 0 to 255.
    """

    label: str
    scale: float
    changes: Sequence[TermChange]
    levels: dict[Image, float]


@dataclass(frozen=True)
class Sweep:
    """Runs that differ in one number.

    Attributes:
        name: of what varies, such as `LoRA style`.
        base: its value in the baseline.
        points: in the order of their scales; none has the baseline's.
        whole: those of them that do not break images, nor lie behind one that does.
        word: the leading one of these, or None without words.
        works: the scale from which it works; None if no interval leaves 0 out.
        visible: the scale from which images differ visibly; None if none is shown to.
        breaks: the scale from which images break; None if none does.
        table: `sweep.csv`.
        column: what the number is called in tables: `scale`, or `file`.
        files: of a training, what tells them apart, in order; empty where a number is swept.
        unit: what the number counts, such as `scale` or `epoch`; empty if `name` says it.
    """

    name: str
    base: float
    points: tuple[SweepPoint, ...]
    whole: tuple[SweepPoint, ...]
    word: TermChange | None
    works: float | None
    visible: float | None
    breaks: float | None
    table: Table
    column: str = SCALE
    files: tuple[str, ...] = ()
    unit: str = ""

    @property
    def has_intervals(self) -> bool:
        """Whether there are enough pairs to tell from where on it works or breaks."""
        return any(bool(np.isfinite(self.table[end]).any()) for end in ("low", "level_low"))

    @property
    def last(self) -> SweepPoint:
        """The point farthest from the baseline: above it, if any is there."""
        return max(self.points, key=self._reach)

    @property
    def told(self) -> SweepPoint:
        """The point that sentences are of: the last one that does not break images."""
        return max(self.whole, key=self._reach)

    def _reach(self, point: SweepPoint) -> tuple[bool, float]:
        return point.scale > self.base, abs(point.scale - self.base)

    def is_first(self, value: float) -> bool:
        """Whether no number between the baseline's and this one was tried."""
        low, high = sorted((self.base, value))
        return not any(low < point.scale < high for point in self.points)

    def spell(self, value: float) -> str:
        """Return how a number of the sweep is written: of a file what tells it from others."""
        if not self.files:
            return shortest(value)
        by_number = dict(zip((point.scale for point in self.points), self.files, strict=True))
        return by_number.get(value, "none")

    def call(self, value: float) -> str:
        """Return how a number of the sweep is called, with its unit: `scale 0.5`, `epoch 2`."""
        text = self.spell(value)
        return "the last file" if text == END else f"{self.unit} {text}".strip()


def find_scales(
    differences: Sequence[Sequence[Difference]],
) -> tuple[str, float, list[float]] | None:
    """Return what varies over variants, with the value of the baseline and of every variant.

    Args:
        differences: from the baseline, of every variant.

    Returns:
        None unless exactly one setting varies over the variants, and is a number in all.
    """
    names = dict.fromkeys(entry.name for listed in differences for entry in listed)
    by_name = [{entry.name: entry for entry in listed} for listed in differences]
    varying = [name for name in names if len({of.get(name) for of in by_name}) > 1]
    if len(differences) < FEWEST or len(varying) != 1:
        return None
    (name,) = varying
    values = [of.get(name) for of in by_name]
    before = next(entry.base for entry in values if entry is not None)
    numbers = [_number(name, before if of is None else of.variant) for of in values]
    base = _number(name, before)
    scales = [number for number in numbers if number is not None]
    if base is None or len(scales) < len(numbers) or len(set(scales) - {base}) < FEWEST:
        return None
    return name, base, scales


def find_files(differences: Sequence[Sequence[Difference]]) -> tuple[str, ...] | None:
    """Return what tells the files of one training apart, for each variant.

    Args:
        differences: from the baseline, of every variant.

    Returns:
        None unless each variant has one LoRA more than the baseline, all at one strength, and the
        names of these are equal but for numbers, which the last one may lack.
    """
    single = [listed[0] for listed in differences if len(listed) == 1]
    names = [entry.name.removeprefix(LORA) for entry in single if entry.kind == LORA]
    if len(differences) < FEWEST or len(names) < len(differences) or len(set(names)) < len(names):
        return None
    texts = {re.sub(r"\d+", "", name).rstrip("-_. ") for name in names}
    numbers = [tuple(map(int, re.findall(r"\d+", name))) for name in names]
    longest = max(map(len, numbers))
    lacking = [listed for listed in numbers if len(listed) < longest]
    strengths = {(entry.base, entry.variant) for entry in single}
    if len(texts) > 1 or len(strengths) > 1 or single[0].base is not None or len(lacking) > 1:
        return None
    whole = [listed for listed in numbers if len(listed) == longest]
    varying = [at for at in range(longest) if len({listed[at] for listed in whole}) > 1]
    varying = varying or list(range(longest))  # of a single file and the last one
    return tuple(
        "-".join(str(listed[at]) for at in varying) if len(listed) == longest else END
        for listed in numbers
    )


def name_unit(differences: Sequence[Sequence[Difference]], files: Sequence[str]) -> str:
    """Return what the numbers of `files` count, as the names say: `epoch`, `step`, else `file`."""
    names = [listed[0].name.removeprefix(LORA).strip() for listed in differences]
    numbered = [name for name, text in zip(names, files, strict=True) if text != END]
    if any(not text.isdecimal() for text in files if text != END):
        return FILE
    return next((unit for unit, look in COUNTED.items() if all(map(look.search, numbered))), FILE)


def name_training(differences: Sequence[Sequence[Difference]], unit: str = FILE) -> str:
    """Return what varies where `find_files` finds files: `epoch of LoRA style`."""
    names = [listed[0].name.removeprefix(LORA).strip() for listed in differences]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    start = re.sub(r"[\d\W_]+$", "", "".join(letters[0] for letters in alike))
    return f"{unit} of {LORA} {start}" if start else f"{LORA} {unit}"


def place_files(files: Sequence[str]) -> list[float]:
    """Return the number of each file of a training: its own, or its place, from 1, in their order.

    One without a number is as far behind the last as that is behind the one before.
    """

    def key(at: int) -> tuple[bool, list[int]]:
        return files[at] == END, [int(number) for number in re.findall(r"\d+", files[at])]

    ranked = sorted(range(len(files)), key=key)
    places = {at: float(place) for place, at in enumerate(ranked, 1)}
    numbers = [int(text) for text in files if text.isdecimal()]
    if len(numbers) == len({*numbers} - {0}) >= len(files) - (END in files):
        before, last = sorted([0, *numbers])[-2:]
        places = {at: float(text) for at, text in enumerate(files) if text != END}
        places |= {at: 2.0 * last - before for at, text in enumerate(files) if text == END}
    return [places[at] for at in range(len(files))]


def make_sweep(
    name: str,
    base: float,
    runs: Sequence[tuple[str, float, Sequence[Pair]]],
    words: Any = None,
    files: Sequence[str] = (),
    unit: str = "",
) -> Sweep:
    """Look at how words and images follow a number.

    Args:
        name: of what varies.
        base: its value in the baseline.
        runs: label, value and pairs of every variant.
        words: only these; None is all.
        files: of a training, what tells them apart, in order.
        unit: what the numbers of files count.
    """
    points = tuple(
        SweepPoint(label, scale, changes(pairs, overall(mass), words), _levels(pairs))
        for label, scale, pairs in sorted(runs, key=lambda run: run[1])
        if scale != base
    )
    sides = _sides(points, base)
    steps = {at: step for side in sides for at, step in _steps(side, base).items()}
    unbroken = [
        point for side in sides for point in takewhile(lambda of: not steps[of.scale][1], side)
    ]
    whole = tuple(sorted(unbroken, key=lambda point: point.scale))
    word = headline([entry for point in whole for entry in point.changes])
    rows = [row for side in sides for row in _rows(side, steps, word)]
    rows.sort(key=lambda row: row["scale"])
    marks: dict[str, Callable[[Mapping[str, Any]], bool]] = {
        "works": lambda row: bool(row["works"]),
        "visible": lambda row: bool(row["level_low"] > VISIBLE),
        "breaks": lambda row: bool(row["breaks"]),
    }
    first = {
        mark: min(
            (row["scale"] for row in rows if is_marked(row)),
            key=lambda at: abs(at - base),
            default=None,
        )
        for mark, is_marked in marks.items()
    }
    column = FILE if files else SCALE
    counted = unit if files else SCALE if name.startswith(LORA) else ""
    columns = {column if key == SCALE else key: [row[key] for row in rows] for key in rows[0]}
    table = make_table(columns)
    return Sweep(
        name,
        base,
        points,
        whole,
        word,
        **first,
        table=table,
        column=column,
        files=tuple(files),
        unit=counted,
    )


def change_of(point: SweepPoint, word: TermChange | None) -> TermChange | None:
    """Return what a point says of a word."""
    if word is None:
        return None
    return next((entry for entry in point.changes if entry.term.key == word.term.key), None)


def mean_level(levels: dict[Image, float]) -> tuple[float, float, float]:
    """Return mean, low and high of how much images differ; NaN where that is not known."""
    if not levels:
        return (float("nan"),) * 3
    values = np.array(list(levels.values()))
    low, high = image_interval(values[:, np.newaxis])
    return float(values.mean()), float(low[0]), float(high[0])


def _number(name: str, value: Setting) -> float | None:
    """Return a value as a number; a LoRA that is not there has the scale 0."""
    if value is None:
        return 0.0 if name.startswith(LORA) else None
    return None if isinstance(value, str) else float(value)


def _levels(pairs: Sequence[Pair]) -> dict[Image, float]:
    return {
        (pair.prompt, pair.seed, sample): float(level)
        for pair in pairs
        if pair.images is not None
        for sample, level in enumerate(pair.images[:, 0])
    }


def _sides(points: Sequence[SweepPoint], base: float) -> list[list[SweepPoint]]:
    """Return the points above and below the baseline, each from it outwards."""
    above = [point for point in points if point.scale > base]
    below = [point for point in reversed(points) if point.scale < base]
    return [side for side in (above, below) if side]


def _steps(points: Sequence[SweepPoint], base: float) -> dict[float, tuple[float, bool]]:
    """Return the step of each scale of one side, from the baseline outwards, and if it breaks."""
    steps: dict[float, tuple[float, bool]] = {}
    before: tuple[float, dict[Image, float]] = base, dict.fromkeys(points[0].levels, 0.0)
    last: dict[Image, float] = {}
    for point in points:
        common = [image for image in point.levels if image in before[1]]
        distance = abs(point.scale - before[0])
        slopes = {at: (point.levels[at] - before[1][at]) / distance for at in common}
        is_visible = mean_level(point.levels)[1] > VISIBLE
        is_first = not any(breaks for _, breaks in steps.values())
        steps[point.scale] = _mean(slopes), is_first and is_visible and _is_steeper(slopes, last)
        before, last = (point.scale, point.levels), slopes
    return steps


def _rows(
    points: Sequence[SweepPoint],
    steps: Mapping[float, tuple[float, bool]],
    word: TermChange | None,
) -> list[dict[str, Any]]:
    """Return the rows of one side of the baseline, from it outwards."""
    rows: list[dict[str, Any]] = []
    for point in points:
        step, breaks = steps[point.scale]
        entry = change_of(point, word)
        works = entry is not None and is_clear(entry) and not any(of["works"] for of in rows)
        marks = {"step": step, "works": int(works), "breaks": int(breaks)}
        rows.append(_row(point, word) | marks)
    return rows


def _row(point: SweepPoint, word: TermChange | None) -> dict[str, Any]:
    entry = change_of(point, word)
    nan = float("nan")
    numbers = (
        {"change": nan, "relative_change": nan, "low": nan, "high": nan}
        if entry is None
        else {
            "change": float(entry.change.change),
            "relative_change": float(entry.change.relative),
            "low": float(entry.change.low),
            "high": float(entry.change.high),
        }
    )
    level = dict(zip(("level", "level_low", "level_high"), mean_level(point.levels), strict=True))
    text = "" if word is None else word.term.label
    return {"scale": point.scale, "variant_name": point.label, "word": text, **numbers, **level}


def _mean(slopes: dict[Image, float]) -> float:
    return float(np.mean(list(slopes.values()))) if slopes else float("nan")


def _is_steeper(slopes: dict[Image, float], before: dict[Image, float]) -> bool:
    """Whether images change at least twice as fast as before, and not by chance."""
    common = [image for image in slopes if image in before]
    if not common:
        return False
    now, then = (np.array([of[image] for image in common]) for of in (slopes, before))
    low, _, _ = paired_interval(now - then)
    return bool(then.mean() > 0 and now.mean() >= STEEPER * then.mean() and low > 0)
