"""What the tables of places and of words that read say, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from attn.analysis.grouping import group_means, largest_first, matching, table_rows
from attn.analysis.relations.looks import PLACE
from attn.analysis.relations.readers import OTHERS, PAIRS, READERS
from attn.analysis.tables import Columns
from attn.verbs.analyze.sketch_answer import name_word
from attn.verbs.report_page import Sentence
from attn.wording import digits, percent


def tell_relations(tables: Mapping[str, Columns]) -> Iterator[Sentence]:
    """Yield where a place looks, and what the words read of the picture and of each other.

    Of several images it is the first one's place, and means of words.
    """
    if PLACE in tables:
        row = table_rows(tables[PLACE])[0]
        yield Sentence(
            f"The place at {row['place']} gives {percent(row['to_images'])} of its attention to "
            f"the image, most to the cell at row {row['row']}, column {row['column']}: "
            f"{percent(row['attention'])}, {digits(row['lift'])} times the mean of the cells.",
            PLACE,
        )
    if READERS in tables:
        yield from _tell_readers(tables[READERS])
    if PAIRS in tables:
        yield from _tell_pairs(tables[PAIRS])


def _tell_readers(table: Columns) -> Iterator[Sentence]:
    """Yield which word of the first segment gives the picture most, and which least."""
    segment = table["segment"][0]
    mine = matching(table, segment=segment)
    rows = largest_first(group_means(mine, ["word", "occurrence"], ["to_image"]), "to_image")
    first, last = rows[0], rows[-1]
    told = f"Of {segment}, “{name_word(first, rows)}” gives {percent(first['to_image'])} of its"
    least = f", the most; “{name_word(last, rows)}” {percent(last['to_image'])}, the least"
    end = least if len(rows) > 1 else ""
    yield Sentence(f"{told} attention to the image{end}.", READERS)


def _tell_pairs(table: Columns) -> Iterator[Sentence]:
    """Yield which word of the first segment reads another one most."""
    segment = table["segment"][0]
    mine = matching(table, segment=segment)
    rows = group_means(mine, ["word", "occurrence", "reads"], ["attention"])
    names = {(row["word"], row["occurrence"]) for row in rows}
    words = [dict(zip(("word", "occurrence"), name, strict=True)) for name in names]
    pairs = [
        row
        for row in rows
        if row["reads"] not in (*OTHERS, row["word"], f"{row['word']} ({row['occurrence']})")
        and not np.isnan(row["attention"])
    ]
    if pairs:
        best = largest_first(pairs, "attention")[0]
        yield Sentence(
            f"“{name_word(best, words)}” gives {percent(best['attention'])} to “{best['reads']}”, "
            f"the most to another word of {segment}.",
            PAIRS,
        )
