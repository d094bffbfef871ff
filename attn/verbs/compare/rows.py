"""Rows of a comparison's tables, and how sentences call their words and amounts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attn.analysis.grouping import table_rows
from attn.analysis.tables import Columns
from attn.wording import DIGITS, digits

NEXT_TO_NONE = 1000.0
"""A word whose attention grows by more times had next to none: the factor would say nothing."""
WORD = ("word", "occurrence", "segment")
"""Columns that name a word."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class VariantTables:
    """The tables of one variant, and what its layers are called.

    Attributes:
        label: of the variant.
        tables: by name, such as `mass.csv`.
        layers: names by index.
    """

    label: str
    tables: Mapping[str, Columns]
    layers: Mapping[int, str]

    def rows(self, name: str) -> list[Row]:
        """Return the rows of a table; none if there is no such table."""
        return list(table_rows(self.tables[name])) if name in self.tables else []


def is_clear(row: Row) -> bool:
    """Whether the interval of a row leaves 0 out."""
    return bool(row["low"] > 0 or row["high"] < 0)


def farthest(row: Row) -> float:
    """Return the end of a row's interval that is farther from 0, as a part of its base."""
    return float(max(abs(row["low"]), abs(row["high"])) / row["base"]) if row["base"] else math.inf


def chance(row: Row) -> float:
    """Return how probable so large a mean of its pairs is if nothing changed; after Student."""
    from scipy.special import stdtr  # scipy.stats takes a second to import

    if math.isnan(row["effect_size"]):  # all pairs change alike
        return 0.0
    count = int(row["n"])
    return float(2 * stdtr(count - 1, -abs(row["effect_size"]) * math.sqrt(count)))


def is_of(row: Row, word: Row) -> bool:
    """Whether a row is of the word that another is of."""
    return all(row[key] == word[key] for key in WORD)


def has_interval(row: Row) -> bool:
    """Whether there were pairs enough for an interval."""
    return math.isfinite(row["low"])


def name_word(row: Row, words: Sequence[Row]) -> str:
    """Return a word in quotes, with its segment and its number where several words have it."""
    equal = [other for other in words if other["word"] == row["word"]]
    number = f" ({row['occurrence']})" if len({of["occurrence"] for of in equal}) > 1 else ""
    segment = f" of {row['segment']}" if len({of["segment"] for of in equal}) > 1 else ""
    return f"“{row['word']}”{number}{segment}"


def tell_amount(row: Row) -> str:
    """Return how much more or less attention a word gets."""
    relative = row["relative_change"]
    if relative > NEXT_TO_NONE:
        before = "next to none" if math.isfinite(relative) else "none"
        return f"{digits(100 * row['change'])} % of all attention, and {before} before"
    if relative >= 1:
        return f"{digits(1 + relative)}× the attention"
    return f"{digits(100 * abs(relative))} % {'more' if relative > 0 else 'less'} attention"


def ceiling(part: float) -> str:
    """Return a part in %, rounded up, so that nothing is beyond it."""
    if not math.isfinite(part) or part <= 0:
        return "0" if part == 0 else "∞"
    unit = 10.0 ** (math.floor(math.log10(100 * part)) - DIGITS + 2)
    return digits(math.ceil(100 * part / unit) * unit)
