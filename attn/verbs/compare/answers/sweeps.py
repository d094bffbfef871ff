"""From where on a sweep works, is seen, and breaks images, in sentences made from `sweep.csv`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attn.analysis.compare.images import VISIBLE
from attn.analysis.grouping import table_rows
from attn.verbs.compare.rows import Row, tell_amount
from attn.verbs.report_page import Sentence
from attn.wording import digits

if TYPE_CHECKING:
    from attn.analysis.compare.sweep import Sweep

SWEEP = "tables/sweep.csv"


def tell_sweep(sweep: Sweep) -> Iterator[Sentence]:
    """Yield from where on a sweep works, and from where on images break, or that it is nowhere."""
    name = "The LoRA" if sweep.files else sweep.name
    first, last = (sweep.call(sweep.points[at].scale) for at in (0, -1))
    span = f"from {first} to {last.removeprefix(f'{sweep.unit} ')}"
    if not sweep.has_intervals:
        yield Sentence(
            f"{name} was swept {span} in too few images to tell from where on it works or breaks "
            "the picture: from four on there are intervals.",
            SWEEP,
        )
        return
    yield from _tell_works(sweep, name, span)
    breaks = next((row for row in table_rows(sweep.table) if row["breaks"]), None)
    if breaks is None:
        yield Sentence(
            f"It breaks the picture nowhere {span}: no step of it is shown to change the picture "
            f"twice as fast as the step before, and visibly (over {VISIBLE:g} of 255 levels).",
            SWEEP,
        )
        return
    yield Sentence(
        f"It breaks the picture from {sweep.call(breaks[sweep.column])}, where a step changes it "
        f"at least twice as fast as the step before, to {digits(breaks['level'])} of 255 levels.",
        SWEEP,
    )


def _tell_works(sweep: Sweep, name: str, span: str) -> Iterator[Sentence]:
    """Yield from where on the leading word is shown to change, and whether that can be seen."""
    rows = list(table_rows(sweep.table))
    works = next((row for row in rows if row["works"]), None)
    if works is None:
        word = "" if sweep.word is None else f" “{sweep.word.term.label}”"
        text = (
            f"{name} is not shown to work {span}: no interval of the leading word{word} leaves 0 "
            "out."
        )
        yield Sentence(text, SWEEP)
        return
    start = f"{name} works from {_call(sweep, works)}: there “{works['word']}” gets"
    yield Sentence(f"{start} {tell_amount(works)}{_tell_seen(sweep, works)}.", SWEEP)
    most = max(rows, key=lambda row: float(abs(row["change"])))
    if sweep.files and most is not works:
        yield Sentence(
            f"It changes the word most with {_call(sweep, most)}: {tell_amount(most)}.", SWEEP
        )


def _tell_seen(sweep: Sweep, row: Row) -> str:
    """Say whether images are shown to change visibly where it works, and else from where on."""
    level = f"{digits(row['level'])} of 255 levels"
    if row["level_low"] > VISIBLE:
        return f", and the picture changes visibly, by {level}"
    if not row["level"] >= 0:
        return ""
    seen = ""
    if sweep.visible is not None:
        seen = f", which it does from {sweep.call(sweep.visible)} on"
    shown = "" if row["level_high"] < VISIBLE else " is not shown to"
    told = f"{shown} change visibly there" if shown else " does not change visibly there"
    return f", but the picture{told}, by {level} ({VISIBLE:g} can be seen){seen}"


def _call(sweep: Sweep, row: Row) -> str:
    """Return how a row's number is called; of a file its name too."""
    text = sweep.call(row[sweep.column])
    return f"{text} ({row['variant_name']})" if sweep.files else text
