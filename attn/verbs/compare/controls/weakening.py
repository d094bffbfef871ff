"""Heads weakened in the order of their relevance, and in the reverse order: two curves.

Of each picture and number of heads, what the most relevant ones change is held against what as many
of the least relevant do; `all` is the mean over the numbers that both orders have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.verbs.compare.controls.cut_effects import interval
from attn.verbs.report_page import Sentence
from attn.wording import digits

if TYPE_CHECKING:
    from attn.analysis.compare.controls.controls import Values

WEAKENING = "weakening.csv"
MOST, LEAST, DIFFERENCE = "most", "least", "most - least"
LEVEL, TOKEN = "level", "token"
UNITS = {LEVEL: "of 255 levels", TOKEN: "of the tokens"}
_LABEL = re.compile(rf"(?:.*/)?(\d{{1,6}})[ -]({MOST}|{LEAST})[ -]relevant[ -]heads?[ -]cut")

Effects = Mapping[str, Mapping[str, "Values"]]
"""Measures of each image, by the label of a variant."""
Curves = Mapping[tuple[str, int], "Values"]
"""One measure of each image, by order and number of heads."""


def name_weakened(count: int, order: str) -> str:
    """Return what a variant is called in which so many heads are weakened."""
    return f"{count} {order} relevant head{'s' if count > 1 else ''}"


def weakening_rows(effects: Effects) -> list[dict[str, Any]]:
    """Return the rows of `weakening.csv`; none where no heads were weakened in both orders."""
    matches = {label: _LABEL.fullmatch(label) for label in effects}
    keys = {label: (of[2], int(of[1])) for label, of in matches.items() if of}
    if {order for order, _ in keys.values()} != {MOST, LEAST}:
        return []
    measures = dict.fromkeys(name for label in keys for name in effects[label])
    return [
        row
        for name in measures
        for row in _rows({key: effects[label].get(name, {}) for label, key in keys.items()}, name)
    ]


def _rows(curves: Curves, measure: str) -> Iterator[dict[str, Any]]:
    counts = sorted({count for _, count in curves})
    both = [count for count in counts if all((of, count) in curves for of in (MOST, LEAST))]
    images = (
        [
            image
            for image in curves[MOST, both[0]]
            if all(image in curves[order, count] for order in (MOST, LEAST) for count in both)
        ]
        if both
        else []
    )
    for order, count in sorted(curves, key=lambda key: (key[0] == LEAST, key[1])):
        values = np.array(list(curves[order, count].values()))
        yield _row(measure, order, str(count), values)
    differences = np.array(
        [[curves[MOST, count][of] - curves[LEAST, count][of] for of in images] for count in both]
    )
    for count, values in zip(both, differences, strict=True):
        yield _row(measure, DIFFERENCE, str(count), values)
    if both:
        yield _row(measure, DIFFERENCE, "all", differences.mean(0))


def _row(measure: str, order: str, heads: str, values: Any) -> dict[str, Any]:
    where = {"measure": measure, "order": order, "heads": heads}
    return where | interval("", values) | {"n": len(values)}


def tell_weakening(rows: Sequence[Mapping[str, Any]]) -> list[Sentence]:
    """Say whether the order matters, of what stands first among the measures."""
    first = [row for row in rows if row["measure"] in UNITS]
    if not first:
        return []
    measure = first[0]["measure"]
    means = {
        order: float(np.mean([row["change"] for row in first if row["order"] == order]))
        for order in (MOST, LEAST)
    }
    whole = next(row for row in first if row["heads"] == "all")
    what = "image" if measure == LEVEL else "text"
    factor = 1 if measure == LEVEL else 100
    unit = UNITS[measure] if measure == LEVEL else f"% {UNITS[measure]}"
    told = (
        f"{digits(factor * means[MOST])} {unit} when the most relevant heads are weakened first, "
        f"{digits(factor * means[LEAST])} when the least relevant are"
    )
    ends = f"{digits(factor * whole['low'])} to {digits(factor * whole['high'])}"
    difference = f"difference {digits(factor * whole['change'])}, 95 % {ends}"
    if math.isnan(whole["low"]):
        verdict, difference = "in too few to tell", f"difference {digits(factor * whole['change'])}"
    elif whole["low"] > 0:
        verdict = "the order of relevance holds"
    elif whole["high"] < 0:
        verdict = "the order is the reverse of relevance"
    else:
        verdict = "the order is not shown to matter"
    text = (
        f"Mean over all numbers of heads, the {what} changes by {told}: {verdict} ({difference})."
    )
    return [Sentence(text, f"tables/{WEAKENING}")]
