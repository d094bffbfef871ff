"""Does cutting something do what its map says? In sentences made from `cuts.csv`.

As in `compare.answer`, a sentence claims no more than the intervals of its numbers show: a cut
does what its map says only if the picture changes more inside of the map than outside, and that
more than after cutting as much at random, both with intervals above 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attn.verbs.compare.controls.cut_effects import AIMED, FEW, INSIDE, LEVEL, OUTSIDE
from attn.verbs.report_page import Sentence
from attn.wording import digits

if TYPE_CHECKING:
    from pandas import DataFrame

CUTS = "tables/cuts.csv"

Row = Mapping[str, Any]


def tell_cuts(table: DataFrame | None) -> list[Sentence]:
    """Return what the cuts of `cuts.csv` did; nothing without one."""
    return tell_each([] if table is None else table.to_dict("records"), _tell, _tell_many)


def tell_each(
    rows: Sequence[Row],
    tell: Callable[[Mapping[str, Row]], Iterable[str]],
    tell_many: Callable[[Sequence[Row]], Iterable[str]],
) -> list[Sentence]:
    """Return what is told of `cuts.csv`.

    Args:
        rows: of the table.
        tell: says what one cut did, of its rows by measure.
        tell_many: says what is told of cuts that are too many to tell of each.
    """
    cuts = dict.fromkeys(row["cut"] for row in rows)
    if len(cuts) > FEW:
        return [Sentence(text, CUTS) for text in tell_many(rows)]
    return [
        Sentence(text, CUTS)
        for cut in cuts
        for text in tell({row["measure"]: row for row in rows if row["cut"] == cut})
    ]


def _tell_many(rows: Sequence[Row]) -> Iterator[str]:
    """Say which of many cuts change the image most, and which least."""
    levels = [row for row in rows if row["measure"] == LEVEL]
    most, second, *_, least = levels
    half = digits(levels[len(levels) // 2]["change"])
    yield (
        f"Of {len(levels)} cuts {name_cut(most)} changes the image most, by {_size(most)}; then "
        f"comes {name_cut(second)} ({_size(second)}). Half of them change it by less than {half}, "
        f"{name_cut(least)} by {_size(least)}, the least."
    )
    aimed = [row for row in rows if row["measure"] == AIMED and row["low"] > 0]
    if aimed:
        best = max(aimed, key=lambda row: float(row["change"]))
        yield (
            f"Most to the point is {name_cut(best)}: inside of the map of “{best['word']}” the "
            f"image changes by {_spell(best, '')} more than outside."
        )


def _size(row: Row) -> str:
    """Return how many levels an image changes by, with the interval."""
    return (
        f"{_spell(row, '')} of 255 levels"
        if not math.isnan(row["low"])
        else (f"{digits(row['change'])} of 255 levels")
    )


def _tell(measures: Mapping[str, Row]) -> Iterator[str]:
    level = measures[LEVEL]
    name = name_cut(level)
    if level["change"] == 0:
        yield f"Cutting {name} does nothing: these are the same pictures."
        return
    if math.isnan(level["low"]):
        yield (
            f"Cutting {name} changes the image by {digits(level['change'])} of 255 levels, in "
            "too few images to tell from chance."
        )
        return
    yield _tell_aim(measures) if AIMED in measures else _tell_size(level)
    yield from _tell_shapes(measures)


def _tell_shapes(measures: Mapping[str, Row]) -> Iterator[str]:
    """Say what became of objects in images of the shapes world."""
    from attn.demo.changes import CHANGES

    rows = [measures[name] for name in CHANGES if name in measures]
    if not rows:
        return
    name = name_cut(rows[0])
    against = "difference_" if rows[0]["controls"] else ""
    more = [row for row in rows if row[f"{against}low"] > 0]
    told = [
        f"{row['measure']} in {100 * row['change']:.0f} % of the images"
        + (f" (at random {100 * row['random_change']:.0f} %)" if row["controls"] else "")
        for row in more
    ]
    held = "more often than as much cut at random" if rows[0]["controls"] else "for certain"
    if told:
        yield f"By the judge of the shapes world, cutting {name} changes {held}: {', '.join(told)}."
    else:
        yield (
            f"By the judge of the shapes world, cutting {name} is not shown to change anything of "
            f"the objects {held}."
        )


def _tell_size(level: Row) -> str:
    """Say how much a cut changes that has no map of a word."""
    start = (
        f"Cutting {name_cut(level)} changes the image by {digits(level['change'])} of 255 levels"
    )
    if not level["controls"]:
        return f"{start}; no cut as large was made at random to hold it against."
    told = (
        f"as much cut at random changes it by {digits(level['random_change'])} "
        f"({_difference(level)})"
    )
    return f"{start}, {against_chance(level)}: {told}."


def _tell_aim(measures: Mapping[str, Row]) -> str:
    """Say whether the image changes where the map of the word is."""
    aimed, inside, outside = (measures[name] for name in (AIMED, INSIDE, OUTSIDE))
    name = name_cut(aimed)
    sides = (
        f"the image changes by {digits(inside['change'])} of 255 levels inside of the map of "
        f"“{aimed['word']}” and by {digits(outside['change'])} outside"
    )
    if not aimed["low"] > 0:
        is_opposite = aimed["high"] < 0
        verdict = "does the opposite of" if is_opposite else "is not shown to do"
        return f"Cutting {name} {verdict} what its map says: {sides} ({_interval(aimed)})."
    if not aimed["controls"]:
        return (
            f"Cutting {name} acts where its map points: {sides} ({_interval(aimed)}); no cut as "
            "large was made at random to hold it against."
        )
    random = (
        f"after cutting as much at random by {digits(measures[INSIDE]['random_change'])} and "
        f"{digits(measures[OUTSIDE]['random_change'])}"
    )
    if aimed["difference_low"] > 0:
        return (
            f"Cutting {name} does what its map says: {sides}, {random}; that is more to the point "
            f"by {_difference(aimed)}."
        )
    than = "less than" if aimed["difference_high"] < 0 else "is not shown to do so more than"
    return (
        f"Cutting {name} acts where its map points, but {than} cutting as much at random: {sides}, "
        f"{random} (difference {_difference(aimed)})."
    )


def against_chance(row: Row) -> str:
    """Say how a change compares with that of cutting as much at random."""
    if row["difference_low"] > 0:
        return "more than chance"
    return (
        "less than chance"
        if row["difference_high"] < 0
        else "which is not shown to differ from chance"
    )


def name_cut(row: Row) -> str:
    """Return what was cut, of a variant that is called so."""
    return str(row["cut"]).removesuffix(" cut")


def _difference(row: Row) -> str:
    return _spell(row, "difference_")


def _interval(row: Row) -> str:
    return f"difference {_spell(row, '')}"


def _spell(row: Row, name: str) -> str:
    ends = f"{digits(row[f'{name}low'])} to {digits(row[f'{name}high'])}"
    return f"{digits(row[f'{name}change'])}, 95 % {ends}"
