"""What cuts did to texts, in sentences made from `cuts.csv`.

As in `controls.cut_answer`, a sentence claims no more than the intervals of its numbers show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attn.analysis.compare.written import CONFIDENCE, ORDER, TEXT, TOKEN
from attn.verbs.compare.controls.cut_answer import against_chance, name_cut, tell_each
from attn.verbs.report_page import Sentence
from attn.wording import count_noun, digits, percent

LITTLE = 0.001
"""Smaller changes of confidence are not told."""

Row = Mapping[str, Any]


def tell_texts(rows: Sequence[Row]) -> list[Sentence]:
    """Return what the cuts of `cuts.csv` did to texts."""
    return tell_each(rows, _tell, _tell_many)


def _tell(measures: Mapping[str, Row]) -> Iterator[str]:
    token = measures[TOKEN]
    name, texts = name_cut(token), count_noun(token["n"], "different text")
    if all(row["change"] == 0 for row in measures.values()):
        yield f"Cutting {name} does nothing: {texts}, each decided as before."
        return
    start = (
        f"Cutting {name} writes another text in {percent(measures[TEXT]['change'])} of {texts}, "
        f"and {percent(token['change'])} of the tokens are others"
    )
    if math.isnan(token["low"]):
        yield f"{start}: too few to tell from chance."
    else:
        yield f"{start}{_against(token)}."
    yield from _tell_rest(measures)


def _against(row: Row) -> str:
    """Hold the part of the tokens against random controls, or against nothing."""
    if not row["controls"]:
        return f" (95 % {_ends(row, '')}); no cut as large was made at random"
    random = f"as much cut at random changes {percent(row['random_change'])}"
    told = f"{random} (difference {percent(row['difference_change'])}, 95 % "
    told += f"{_ends(row, 'difference_')})"
    return f", {against_chance(row)}: {told}"


def _tell_rest(measures: Mapping[str, Row]) -> Iterator[str]:
    """Say how sure the model was of its tokens, and in which order it decided them."""
    confidence, order = measures.get(CONFIDENCE), measures.get(ORDER)
    if confidence is not None and abs(confidence["change"]) >= LITTLE:
        change = confidence["change"]
        random = (
            f" (at random {confidence['random_change']:+.2g})" if confidence["controls"] else ""
        )
        way = "less" if change < 0 else "more"
        yield (
            f"Of what it writes the model is {way} sure by {digits(abs(change))} of 1{random}"
            f"{_shown(confidence)}."
        )
    if order is not None and order["change"]:
        random = f" (at random {percent(order['random_change'])})" if order["controls"] else ""
        yield (
            f"{percent(order['change'])} of the pairs of positions are unmasked in another order"
            f"{random}{_shown(order)}."
        )


def _shown(row: Row) -> str:
    """Say where an interval does not leave 0 out."""
    kind = "difference_" if row["controls"] else ""
    low, high = row[f"{kind}low"], row[f"{kind}high"]
    if math.isnan(low) or low > 0 or high < 0:
        return ""
    return ", which is not shown to differ from chance"


def _tell_many(rows: Sequence[Row]) -> Iterator[str]:
    """Say which of many cuts change the text most, and which makes the model least sure."""
    tokens = [row for row in rows if row["measure"] == TOKEN]
    most, second, *_ = tokens
    still = sum(row["change"] == 0 for row in tokens)
    yield (
        f"Of {len(tokens)} cuts {name_cut(most)} changes the text most, "
        f"{percent(most['change'])} of its tokens; then comes {name_cut(second)} "
        f"({percent(second['change'])}). {still} change no token."
    )
    surest = [row for row in rows if row["measure"] == CONFIDENCE]
    if surest:
        least = min(surest, key=lambda row: float(row["change"]))
        yield (
            f"The model is least sure without {name_cut(least)}: its confidence changes by "
            f"{least['change']:+.2g} of 1."
        )


def _ends(row: Row, name: str) -> str:
    return f"{digits(100 * row[f'{name}low'])} to {digits(100 * row[f'{name}high'])}"
