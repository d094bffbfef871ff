"""In which layers words change, in sentences made from `mass_layers.csv`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from attn.analysis.compare.changes import MATTERS
from attn.verbs.compare.rows import (
    Row,
    VariantTables,
    chance,
    is_clear,
    is_of,
    name_word,
    tell_amount,
)
from attn.verbs.report_page import Sentence
from attn.wording import count_noun, percent
from attn.words import is_content

LAYERS = "tables/mass_layers.csv"
MOST = 0.5
"""A layer has most of a gain from this part on."""
AGAINST = 1 / 3
"""Layers differ if those that change against the mean have this part of the others' change."""
HALF = 0.5
"""Layers differ, too, if one of them changes by this part of the layer that changes most."""
STRONG = 0.25
"""A word that changes by this part in a layer is told, if the mean over layers shows nothing."""
CHANCE = 0.05
"""How often a layer may be told of that did not change."""
NAMED = 3
"""So many words are told of that the mean hides."""


def tell_layers(variant: VariantTables, lead: Row) -> Iterator[Sentence]:
    """Yield where the leading word changes most, and what layers do against each other."""
    opposed = find_opposed(variant, lead)
    yield from _tell_both_ways(variant, opposed) if opposed else _tell_layer(variant, lead)


def _tell_layer(variant: VariantTables, lead: Row) -> Iterator[Sentence]:
    """Yield which layer the leading word changes in most, if its interval leaves 0 out."""
    along, against = _part_layers(variant, lead)
    if len(along) + len(against) < 2 or not along:  # noqa: PLR2004 - of one layer nothing is told
        return
    most = max(along, key=_size)
    if is_clear(most):
        part = _size(most) / sum(map(_size, along))
        told = "most" if part > MOST else percent(part)
        what = "gain" if lead["change"] > 0 else "loss"
        text = f"{told} of this {what} in {_layer(variant, most)}, where it gets"
        yield Sentence(f"{text} {tell_amount(most)};", LAYERS)


def _part_layers(variant: VariantTables, lead: Row) -> tuple[list[Row], list[Row]]:
    """Return the layers in which a word changes as it does in the mean, and those against it."""
    sign = math.copysign(1, lead["change"])
    rows = [row for row in variant.rows("mass_layers.csv") if is_of(row, lead)]
    along, against = ([row for row in rows if way * sign * row["change"] > 0] for way in (1, -1))
    return along, against


def find_opposed(variant: VariantTables, lead: Row) -> list[Row]:
    """Return the layers that change a word most, one in each direction; none if most agree."""
    along, against = _part_layers(variant, lead)
    if not along or not against:
        return []
    most = [max(rows, key=_size) for rows in (along, against)]
    is_opposite = _size(most[1]) >= HALF * _size(most[0])
    differ = is_opposite or sum(map(_size, against)) >= AGAINST * sum(map(_size, along))
    return most if differ else []


def _tell_both_ways(variant: VariantTables, rows: Sequence[Row]) -> Iterator[Sentence]:
    """Yield what the layers do that change a word most, one in each direction."""
    clear = sorted(filter(is_clear, rows), key=_size, reverse=True)
    if clear:
        told = ", ".join(f"{tell_amount(row)} in {_layer(variant, row)}" for row in clear)
        start = "layers differ: " if len(clear) == len(rows) else ""
        yield Sentence(f"{start}it gets {told};", LAYERS)


def _size(row: Row) -> float:
    return float(abs(row["change"]))


def _layer(variant: VariantTables, row: Row) -> str:
    return variant.layers.get(int(row["layer"]), f"layer {row['layer']}")


def stands_out(row: Row | None) -> bool:
    """Whether a word changes in a layer so much that the mean over layers would mislead."""
    return row is not None and bool(abs(row["relative_change"]) >= STRONG)


def tell_hidden(variant: VariantTables, lead: Row) -> Iterator[Sentence]:
    """Yield what single layers do to words, unless it is what the leading word does in the mean.

    Where it is told that layers differ on the leading word, no more is told of them.
    """
    rows = variant.rows("mass_layers.csv")
    strong = [row for row in strongest_layers(rows) if stands_out(row)]
    if not strong or _is_told(variant, lead, strong[0]):
        return
    hidden = [row for row in strong if not _is_told(variant, lead, row)]
    told = [
        f"in {_layer(variant, row)} {name_word(row, rows)} gets {tell_amount(row)}"
        for row in hidden[:NAMED]
    ]
    listed = " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))
    more = len(hidden) - len(told)
    rest = f", and likewise {count_noun(more, 'more word')}" if more else ""
    yield Sentence(f"The mean over layers hides that {listed}{rest}.", LAYERS)


def _is_told(variant: VariantTables, lead: Row, row: Row) -> bool:
    """Whether a layer's change is of the leading word, and told of it."""
    if not is_of(row, lead) or not is_clear(lead):
        return False
    return bool(find_opposed(variant, lead)) or bool(row["change"] * lead["change"] > 0)


def strongest_layers(rows: Sequence[Row]) -> list[Row]:
    """Return the layer of largest relative change of each content word, the largest first.

    A layer matters if the change is no less than a tenth of the largest one, and is shown among all
    of them: Student's t of its pairs has a probability of 5 % or less, times the number of rows
    (Bonferroni). There are none without intervals.
    """
    content = [row for row in rows if " " not in row["word"] and is_content(row["word"])]
    least = MATTERS * max(map(_size, content), default=0.0)
    large = [row for row in content if _size(row) >= least and row["base"] > 0]
    shown = [row for row in large if is_clear(row) and chance(row) * len(rows) <= CHANCE]
    shown.sort(key=lambda row: -abs(row["relative_change"]))
    return [
        row
        for number, row in enumerate(shown)
        if not any(is_of(row, other) for other in shown[:number])
    ]
