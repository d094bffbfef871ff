"""What an image and its words have of the drawing, in sentences made from `sketch`'s tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.grouping import Row, group_means, largest_first, matching, table_rows
from attn.analysis.sketch.edges import NEAR
from attn.analysis.sketch.overlap import REGIONS
from attn.analysis.sketch.shapes import LEAST_LIFT, MOST_CHANCE, find_swapped
from attn.analysis.tables import Columns
from attn.trace.words.occurrences import find_occurrences
from attn.verbs.report_page import Sentence
from attn.wording import digits, percent
from attn.words import NAMING, find_words, fold, is_content

if TYPE_CHECKING:
    from attn.schema import Manifest

NAMED = 3
"""So many words are told of, those of largest lift."""
SHAPES, DEVIATION, OVERLAP = "sketch/shapes.csv", "sketch/deviation.csv", "sketch/words.csv"
SKETCHED = (SHAPES, DEVIATION, OVERLAP)

Tables = Mapping[str, Columns]


def tell_sketch(manifest: Manifest, tables: Tables) -> Iterator[Sentence]:
    """Yield what edges and words have of the drawing; nothing without one.

    Args:
        manifest: of the trace.
        tables: by path.
    """
    if DEVIATION in tables:
        yield from _tell_deviation(tables[DEVIATION])
    if OVERLAP in tables:
        yield from _tell_overlap(tables[OVERLAP])
    if SHAPES in tables:
        yield from _tell_shapes(tables[SHAPES])
        yield from _tell_swapped(manifest, tables[SHAPES])


def _tell_deviation(table: Columns) -> Iterator[Sentence]:
    """Yield which part of the strokes has an edge of the image near, mean over images."""
    rows = [row for row in table_rows(table) if not np.isnan(row["followed"])]
    if not rows:
        yield Sentence("The image has no edges, so none follows the drawing.", DEVIATION)
        return
    followed, anywhere = (np.mean([row[name] for row in rows]) for name in ("followed", "anywhere"))
    yield Sentence(
        f"Of the drawing's strokes {percent(followed)} have an edge of the image within "
        f"{percent(NEAR)} of its side, as have {percent(anywhere)} of all places.",
        DEVIATION,
    )


def _tell_overlap(table: Columns) -> Iterator[Sentence]:
    """Yield which word lies most on the drawing, if it does more than an even map."""
    means = word_means(table, ["inside", "inside_ratio", "on", "on_ratio"])
    every = [row for row in means if is_content(row["word"])]
    ratios = [f"{of}_ratio" for of in REGIONS]
    ratio = next((of for of in ratios if not all(np.isnan(row[of]) for row in every)), None)
    if ratio is None:
        return
    measure, most = ratio.removesuffix("_ratio"), largest_first(every, ratio)[0]
    if most[ratio] < LEAST_LIFT:
        text = f"No content word ({NAMING}) has {LEAST_LIFT:g} times an even map's attention"
        yield Sentence(f"{text} {REGIONS[measure]}.", OVERLAP)
        return
    yield Sentence(
        f"“{name_word(most, means)}” has {percent(most[measure])} of its attention "
        f"{REGIONS[measure]}, {digits(most[ratio])}× an even map and the most of the content "
        "words.",
        OVERLAP,
    )


def _tell_shapes(table: Columns) -> Iterator[Sentence]:
    """Yield which closed shapes of the drawing words read, as far as that is no accident."""
    means = word_means(table, ["lift", "chance"], "shape", "where")
    words: dict[tuple[object, ...], list[Row]] = {}
    for row in means:
        if not np.isnan([row["lift"], row["chance"]]).any():
            words.setdefault((row["word"], row["occurrence"]), []).append(row)
    most = {word: max(rows, key=lambda row: row["lift"]) for word, rows in words.items()}
    least = {word: min(rows, key=lambda row: row["lift"]) for word, rows in words.items()}
    shown = {
        word: row["lift"]
        for word, row in most.items()
        if is_content(row["word"]) and row["lift"] >= LEAST_LIFT and row["chance"] <= MOST_CHANCE
    }
    for word in sorted(shown, key=lambda word: -shown[word])[:NAMED]:
        row, other = most[word], least[word]
        rest = "" if other["shape"] == row["shape"] else f", {_lift(other)}"
        name = name_word(row, [*most.values()])
        yield Sentence(f"“{name}” reads shape {_lift(row)} as much as an even map{rest}.", SHAPES)
    if not shown:
        yield Sentence("No word is shown to read a closed shape of the drawing.", SHAPES)


def _tell_swapped(manifest: Manifest, table: Columns) -> Iterator[Sentence]:
    """Yield which words look swapped, and in which of several images."""
    prompt = manifest.request.prompt
    for sample in dict.fromkeys(np.asarray(table["sample"]).tolist()):
        rows = list(table_rows(matching(table, sample=sample)))
        shapes = dict.fromkeys((row["shape"], row["where"]) for row in rows)
        by_word: dict[tuple[str, int], list[Row]] = {}
        for row in rows:
            by_word.setdefault((fold(row["word"]), row["occurrence"]), []).append(row)
        words = [
            word
            for word in find_occurrences(find_words(prompt))
            if (fold(word.text), word.number) in by_word
        ]
        of_words = [by_word[fold(word.text), word.number] for word in words]
        lifts, chances = (
            np.array([[row[name] for row in of] for of in of_words]) for name in ("lift", "chance")
        )
        names = [f"{number} ({where})" for number, where in shapes]
        where = f" in image {sample + 1}" if manifest.samples > 1 else ""
        for text in find_swapped(prompt, words, lifts, chances, names):
            yield Sentence(f"Look at it{where}: {text}.", SHAPES)


def _lift(row: Row) -> str:
    return f"{row['shape']} ({row['where']}) {digits(row['lift'])}×"


def word_means(table: Columns, values: Sequence[str], *further: str) -> list[Row]:
    """Return means over images, of each word and of what else is named."""
    return group_means(table, ["word", "occurrence", *further], values)


def name_word(row: Row, rows: Sequence[Row]) -> str:
    """Return a word, with its number where it is repeated."""
    is_repeated = sum(other["word"] == row["word"] for other in rows) > 1
    return f"{row['word']} ({row['occurrence']})" if is_repeated else str(row["word"])
