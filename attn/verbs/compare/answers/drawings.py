"""What images and words have of a drawing, in sentences made from the tables of `--only sketch`.

As in `answer`, a sentence claims no more than the interval of its number shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attn.analysis.sketch.edges import NEAR
from attn.analysis.sketch.overlap import REGIONS
from attn.analysis.sketch.shapes import LEAST_LIFT
from attn.verbs.compare.rows import WORD, Row, VariantTables, has_interval, is_clear, name_word
from attn.verbs.report_page import Sentence
from attn.wording import digits, percent
from attn.words import NAMING, is_content

OVERLAP, SHAPES, FOLLOWED = (
    "tables/sketch.csv", "tables/sketch_shapes.csv", "tables/sketch_images.csv",
)  # fmt: skip
NAMED = 2
"""So many words are told of."""
CHANCE = "in too few images to tell from chance"


def tell_drawing(variant: VariantTables) -> list[Sentence]:
    """Return what one variant has of the drawing, against the baseline; nothing without one."""
    rows = variant.rows("sketch.csv")
    if not rows:
        return []
    images = {row["measure"]: row for row in variant.rows("sketch_images.csv")}
    return [
        *_tell_followed(images, variant.label),
        *_tell_overlap(rows),
        *_tell_shapes(variant.rows("sketch_shapes.csv")),
        *_tell_swapped(images, variant.label),
    ]


def _tell_followed(images: dict[str, Row], label: str) -> Iterator[Sentence]:
    """Yield which part of the strokes has an edge of the image near."""
    row = images.get("followed")
    if row is None:
        return
    variant, base = _apart(row)
    text = (
        f"Of the drawing's strokes {variant} have an edge of the image within {percent(NEAR)} of "
        f"its side with {label}, and {base} with the baseline"
    )
    yield Sentence(f"{text}{_tell_difference(row)}.", FOLLOWED)


def _tell_difference(row: Row) -> str:
    """Say how sure a difference of two parts is."""
    if row["change"] == 0:
        return ""
    if not has_interval(row):
        return f", {CHANCE}"
    if not is_clear(row):
        return ", which is not shown to differ"
    low, high = (digits(100 * row[end]) for end in ("low", "high"))
    return f" (difference: 95 % interval {low} to {high} percentage points)"


def _tell_overlap(rows: Sequence[Row]) -> Iterator[Sentence]:
    """Yield which words lie more or less on the drawing."""
    measure = next(name for name in REGIONS if any(row["measure"] == name for row in rows))
    of = [row for row in rows if row["measure"] == measure and " " not in row["word"]]
    told = sorted(
        (row for row in of if is_content(row["word"])), key=lambda row: -abs(row["change"])
    )
    if not told or all(row["change"] == 0 for row in told):
        return
    if not any(map(has_interval, told)):
        yield Sentence(f"{_tell_part(told[0], of, measure)}, {CHANCE}.", OVERLAP)
        return
    clear = [row for row in told if is_clear(row)][:NAMED]
    if not clear:
        yield Sentence(
            f"No content word ({NAMING}) is shown to have more or less of its "
            f"attention {REGIONS[measure]}.",
            OVERLAP,
        )
    for row in clear:
        yield Sentence(f"{_tell_part(row, of, measure)}{_tell_difference(row)}.", OVERLAP)


def _tell_part(row: Row, rows: Sequence[Row], measure: str) -> str:
    variant, base = _apart(row)
    return (
        f"{name_word(row, rows)} has {variant} of its attention {REGIONS[measure]}, and {base} "
        "with the baseline"
    )


def _apart(row: Row) -> tuple[str, str]:
    """Return the parts of variant and baseline in %, in digits that tell them apart."""
    return percent(row["variant"], row["base"]), percent(row["base"], row["variant"])


def _tell_shapes(rows: Sequence[Row]) -> Iterator[Sentence]:
    """Yield which single shapes words are shown to read more than with the baseline."""
    words = dict.fromkeys(tuple(row[key] for key in WORD) for row in rows)
    most = [
        max((row for row in rows if tuple(row[key] for key in WORD) == word), key=_lift)
        for word in words
    ]
    read = [
        row
        for row in most
        if is_content(row["word"]) and row["variant"] >= LEAST_LIFT and row["low"] > 0
    ]
    for row in sorted(read, key=_lift, reverse=True)[:NAMED]:
        yield Sentence(
            f"{name_word(row, rows)} reads shape {row['shape']} ({row['where']}) "
            f"{digits(row['variant'], row['base'])}× as much as an even map, and "
            f"{digits(row['base'], row['variant'])}× with the baseline.",
            SHAPES,
        )


def _lift(row: Row) -> float:
    return float(row["variant"])


def _tell_swapped(images: dict[str, Row], label: str) -> Iterator[Sentence]:
    """Yield in how many images two words look swapped, if in any."""
    row = images.get("swapped")
    if row is not None and row["variant"] > 0:
        yield Sentence(
            f"In {round(row['n'] * row['variant'])} of {row['n']} images with {label} two words "
            "look swapped: each reads the shape of the other's neighbour.",
            FOLLOWED,
        )
