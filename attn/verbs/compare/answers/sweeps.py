"""From where on a sweep works, is seen, and breaks images, in sentences made from `sweep.csv`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from attn.analysis.compare.images import VISIBLE
from attn.analysis.compare.sweep import STEEPER
from attn.analysis.grouping import table_rows
from attn.verbs.compare.rows import Row, tell_amount
from attn.verbs.report_page import Sentence
from attn.wording import digits

if TYPE_CHECKING:
    from attn.analysis.compare.sweep import Sweep

SWEEP = "tables/sweep.csv"


def tell_sweep(sweep: Sweep) -> Iterator[Sentence]:
    """Yield from where on a sweep works, and from where on images break, or that it is nowhere.

    What is told of its point `told` in other sentences is not told here.
    """
    name = "The LoRA" if sweep.files else sweep.name
    first, last = (sweep.call(sweep.points[at].scale) for at in (0, -1))
    span = f"from {first} to {last.removeprefix(f'{sweep.unit} ')}"
    if not sweep.has_intervals:
        yield Sentence(
            f"{name} was swept {span} in too few images to tell from where on it works or breaks "
            "the image: from four on there are intervals.",
            SWEEP,
        )
        return
    rows = list(table_rows(sweep.table))
    yield from _tell_works(sweep, rows, name, span)
    breaks = next((row for row in rows if row["breaks"]), None)
    if breaks is None:
        yield Sentence(
            f"It breaks the image nowhere {span}: no step of it is shown to change the image "
            f"twice as fast as the step before, and visibly (over {VISIBLE:g} of 255 levels).",
            SWEEP,
        )
        return
    yield Sentence(
        f"It breaks the image from {sweep.call(breaks[sweep.column])}, where a step changes it "
        f"{digits(_steepness(sweep, rows, breaks), STEEPER)} times as fast as the step "
        f"before, to {digits(breaks['level'])} of 255 levels.",
        SWEEP,
    )
    if sweep.told is not sweep.last:
        last = "last" if sweep.files else "largest"
        yield Sentence(
            f"All that follows is of {_call(sweep, sweep.told.scale)}, the {last} that does not "
            "break it; the tables have all.",
            SWEEP,
        )


def _tell_works(sweep: Sweep, rows: Sequence[Row], name: str, span: str) -> Iterator[Sentence]:
    """Yield from where on the leading word is shown to change, and whether that can be seen."""
    works = next((row for row in rows if row["works"]), None)
    if works is None:
        word = "" if sweep.word is None else f" “{sweep.word.term.label}”"
        text = (
            f"{name} is not shown to work {span}: no interval of the leading word{word} leaves 0 "
            "out."
        )
        yield Sentence(text, SWEEP)
        return
    value = works[sweep.column]
    first = ", the first that was tried, or before" if sweep.is_first(value) else ""
    start = f"{name} works from {_call(sweep, value)}{first}"
    if _is_told(sweep, works):
        yield Sentence(f"{start}.", SWEEP)
        return
    there = f"there “{works['word']}” gets {tell_amount(works)}{_tell_seen(sweep, works)}"
    yield Sentence(f"{start}: {there}.", SWEEP)
    whole = {point.scale for point in sweep.whole}
    kept = [row for row in rows if row[sweep.column] in whole] or rows
    most = max(kept, key=lambda row: float(abs(row["change"])))
    if sweep.files and most is not works and not _is_told(sweep, most):
        file = _call(sweep, most[sweep.column])
        yield Sentence(f"It changes the word most with {file}: {tell_amount(most)}.", SWEEP)


def _tell_seen(sweep: Sweep, row: Row) -> str:
    """Say whether images are shown to change visibly where it works, and else from where on."""
    level = f"{digits(row['level'], VISIBLE)} of 255 levels"
    if row["level_low"] > VISIBLE:
        return f", and the image changes visibly, by {level}"
    if not row["level"] >= 0:
        return ""
    seen = ""
    if sweep.visible is not None:
        seen = f", which it does from {sweep.call(sweep.visible)} on"
    shown = "" if row["level_high"] < VISIBLE else " is not shown to"
    told = f"{shown} change visibly there" if shown else " does not change visibly there"
    return f", but the image{told}, by {level} ({VISIBLE:g} can be seen){seen}"


def _is_told(sweep: Sweep, row: Row) -> bool:
    """Whether a row is of the point that the other sentences are of."""
    return bool(row[sweep.column] == sweep.told.scale)


def _steepness(sweep: Sweep, rows: Sequence[Row], row: Row) -> float:
    """Return how many times the step before a step is."""

    def away(of: Row) -> float:
        return float(of[sweep.column] - sweep.base)

    nearer = [of for of in rows if away(of) * away(row) > 0 and abs(away(of)) < abs(away(row))]
    return float(row["step"] / max(nearer, key=lambda of: abs(away(of)))["step"])


def _call(sweep: Sweep, value: float) -> str:
    """Return how a number of the sweep is called; of a file its name too."""
    label = next(point.label for point in sweep.points if point.scale == value)
    return f"{sweep.call(value)} ({label})" if sweep.files else sweep.call(value)
