"""What the tables of one trace say, in sentences: which word is where, and what takes the rest.

Every number is read from a table of the results, by which the sentence says it. Of several images
numbers are means over them. What is told is where attention is, not why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.grouping import (
    Row,
    group_means,
    group_sums,
    largest_first,
    matching,
    table_rows,
)
from attn.analysis.tables import Columns
from attn.analysis.words.maps.areas import FOLDER
from attn.analysis.words.maps.dominance import LEAST
from attn.verbs.analyze.relations_answer import tell_relations
from attn.verbs.analyze.sketch_answer import SKETCHED, name_word, tell_sketch, word_means
from attn.verbs.report_page import Sentence
from attn.wording import digits, percent
from attn.words import NAMING, is_content

if TYPE_CHECKING:
    from attn.schema import Manifest

Tables = Mapping[str, Columns]
"""By path, as they were written."""

NAMED = 3
"""So many words are told of, those of largest lift."""
CELLS = 4
"""Cells in a row and in a column of the table by which a word's place is named."""
SINK = 0.5
"""From this part of the image's attention on, what takes it is called a sink."""
ROLES, ALIGNED = "sinks/roles.csv", "words/aligned.csv"
CONCEPTS = "concepts/concepts.csv"
FLOW, RECEIVED = "flow/flow.csv", "influence/tokens.csv"
SINKS, SINK_COUNTS = "influence/sinks.csv", "influence/sink_moves.csv"
READ_TABLES = (FLOW, RECEIVED, SINKS, SINK_COUNTS, *SKETCHED)
"""What is told of a text, and of a drawing, is read from these."""
SPECIAL = {
    "bos": "the start token",
    "eos": "the end token",
    "template": "the template around the prompt",
    "padding": "padding",
}
SEGMENTS = {
    "prompt": "the prompt",
    "generated": "generated text (themselves included)",
    "sink": "a learned sink",
}
"""What generated tokens read, by the names of segments."""


def tell(manifest: Manifest, tables: Tables) -> list[Sentence]:
    """Return the first paragraph of the report of a trace.

    Args:
        manifest: of the trace.
        tables: of its results.
    """
    path = next((name for name in tables if name.endswith("/tables/dominant.csv")), None)
    told: list[Sentence] = []
    if path is not None:
        segment = path.split("/", maxsplit=1)[0]
        many = sum(name.endswith("/tables/dominant.csv") for name in tables) > 1
        told += _tell_places(segment, tables, path, many=many)
    told += _tell_concepts(tables)
    told += tell_relations(tables)
    told += tell_sketch(manifest, tables)
    told += _tell_cut(manifest, tables)
    told += _tell_sinks(tables)
    told += _tell_generated(tables)
    told += _tell_most_read(tables)
    return told or [Sentence("What was read is in the tables and figures below.")]


def _tell_places(
    segment: str, tables: Tables, path: str, *, many: bool = False
) -> Iterator[Sentence]:
    """Yield where the words of largest lift are, how concentrated they are, and where none leads.

    Args:
        segment: of the words.
        tables: by path.
        path: of the table of dominant words.
        many: whether there are other segments, so that this one is named.
    """
    cells_path = f"{segment}/{FOLDER}/grid_analysis_{CELLS}x{CELLS}.csv"
    every = largest_first(word_means(tables[path], ["dominant", "lift_max"]), "lift_max")
    rows = [row for row in every if is_content(row["word"])] or every
    cells = (
        word_means(tables[cells_path], ["part"], "row", "column") if cells_path in tables else []
    )
    telling = [row for row in rows if row["lift_max"] >= LEAST][:NAMED]
    for number, row in enumerate(telling if cells else ()):
        even = f" (an even map has {percent(1 / CELLS**2)})" if number == 0 else ""
        of = f"Of the text of {segment}, " if number == 0 and many else ""
        yield Sentence(f"{of}{_place(row, cells, rows)}{even}.", cells_path)
    if not telling:
        yield Sentence(
            f"No word is concentrated anywhere: none gets {LEAST:g} times its mean at any place.",
            path,
        )
        return
    first, last = rows[0], rows[-1]
    told = f"At its peak “{name_word(first, rows)}” gets {_times(first)}"
    others = (
        f", the most of the content words ({NAMING}); "
        f"“{name_word(last, rows)}” gets {_times(last)}, the least"
    )
    yield Sentence(f"{told}{others if len(rows) > 1 else ''}.", path)
    leader = largest_first(every, "dominant")[0]
    none = 1 - np.nansum([row["dominant"] for row in every])
    yield Sentence(
        f"“{name_word(leader, every)}” leads in {percent(leader['dominant'])} of the image, the "
        f"most; no word leads in {percent(none)}.",
        path,
    )


def _tell_concepts(tables: Tables) -> Iterator[Sentence]:
    """Yield in which part of the image each concept leads, those that lead most first."""
    if CONCEPTS not in tables:
        return
    table = matching(tables[CONCEPTS], measure=str(tables[CONCEPTS]["measure"][-1]))
    rows = largest_first(group_means(table, ["concept"], ["leads"]), "leads")
    listed = [f"“{row['concept']}” in {percent(row['leads'])}" for row in rows[:NAMED]]
    yield Sentence(
        f"Of {len(rows)} concepts the image is closest to {', '.join(listed)} of its places; that "
        "says which of them, not whether it is any.",
        CONCEPTS,
    )


def _place(row: Row, cells: Sequence[Row], rows: Sequence[Row]) -> str:
    """Say in which cell most of a word's attention is."""
    word = row["word"], row["occurrence"]
    mine = [cell for cell in cells if (cell["word"], cell["occurrence"]) == word]
    best = largest_first(mine, "part")[0]
    where = _name_cell(int(best["row"]), int(best["column"]))
    return (
        f"“{name_word(row, rows)}” has {percent(best['part'])} of its attention in one sixteenth "
        f"of the image, {where}"
    )


def _name_cell(row: int, column: int) -> str:
    """Say where a cell is in the image; no two of the sixteen have one name."""
    last, half = CELLS - 1, CELLS // 2
    down = "upper" if row < half else "lower"
    across = "left" if column < half else "right"
    if row in (0, last) and column in (0, last):
        return f"in the {down} {across} corner"
    if row in (0, last):
        return f"at the {'top' if row == 0 else 'bottom'}, {across} of the centre"
    if column in (0, last):
        return f"at the {across} edge, {'above' if row < half else 'below'} the centre"
    return f"to the {down} {across} of the centre"


def _tell_cut(manifest: Manifest, tables: Tables) -> Iterator[Sentence]:
    """Yield what each segment does not hold of the prompt."""
    cut = manifest.truncated.get(manifest.branches[0], {})
    for segment, text in cut.items():
        words = " ".join(text.split())
        yield Sentence(
            f"The prompt is too long for {segment}, which does not read “{words}”.",
            ALIGNED if ALIGNED in tables else "",
        )


def _tell_sinks(tables: Tables) -> Iterator[Sentence]:
    """Yield what part of the image's attention words and special tokens get."""
    if ROLES not in tables:
        return
    every = tables[ROLES]
    table = matching(every, rows="image", branch=next(iter(every["branch"]), None))
    count = len({*zip(table["sample"], table["layer"], strict=True)})
    if not count:
        return
    sums = group_sums(table, "role", "mass")
    mass = {role: total / count for role, total in sums.items()}
    special = {role: mass[role] for role in SPECIAL if role in mass}
    words = f"the words get {percent(mass.get('word', 0.0))} of the image's attention"
    if not special:
        yield Sentence(f"{words[0].upper()}{words[1:]}.", ROLES)
        return
    role = max(special, key=lambda name: special[name])
    kind = ", a sink" if special[role] >= SINK else ""
    yield Sentence(
        f"{SPECIAL[role][0].upper()}{SPECIAL[role][1:]} gets {percent(special[role])}{kind}; "
        f"{words}.",
        ROLES,
    )


def _tell_generated(tables: Tables) -> Iterator[Sentence]:
    """Yield what generated tokens read, mean over these tokens, layers and heads."""
    if FLOW not in tables:
        return
    sums = group_sums(matching(tables[FLOW], rows="generated", head="mean"), "keys", "sum")
    total = sum(sums.values())
    if not total > 0:
        return
    read = [
        f"{percent(sums[name] / total)} to {SEGMENTS.get(name, name)}"
        for name in sorted(sums, key=lambda name: -sums[name])
    ]
    listed = ", ".join([*read[:-2], " and ".join(read[-2:])])
    yield Sentence(f"Of their attention generated tokens give {listed}.", FLOW)


def _tell_most_read(tables: Tables) -> Iterator[Sentence]:
    """Yield which token of a text receives most, mean over layers and samples."""
    if RECEIVED not in tables:
        return
    table = tables[RECEIVED]
    means = [
        row
        for row in group_means(table, ["position"], ["mass", "column_sum"])
        if not np.isnan(row["mass"])
    ]
    if not means:
        return
    most = max(means, key=lambda row: (row["mass"], -row["position"]))
    position = most["position"]
    rows = [row for row in table_rows(matching(table, position=position)) if row["mass"] >= 0]
    texts = {" ".join(_text(row["token"]).split()) for row in rows}
    text = texts.pop() if len(texts) == 1 else ""
    part = "generated text" if rows[0]["segment"] == "generated" else "prompt"
    named = f"the token “{text}”" if text and text.isprintable() else "the token"
    yield Sentence(
        f"Of the {part} {named} at position {position} gets {percent(most['mass'])} of all "
        f"attention, the most of {len(means)} tokens (an even share is "
        f"{percent(most['mass'] / most['column_sum'])});",
        RECEIVED,
    )
    sinks = tables.get(SINKS)
    if sinks is None:
        yield Sentence("no token is a sink.", SINK_COUNTS)
        return
    among = "layers, heads and steps" if {*sinks["head"]} - {"mean"} else "layers and steps"
    share = np.equal(sinks["position"], position).sum() / np.sum(tables[SINK_COUNTS]["steps"])
    yield Sentence(f"it is a sink in {percent(share)} of {among}.", SINKS)


def _text(cell: object) -> str:
    return cell if isinstance(cell, str) else ""


def _times(row: Row) -> str:
    return f"{digits(row['lift_max'])} times its mean"
