"""What the scores say, in sentences; each claims no more than its interval shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from attn.verbs.report_page import Sentence
from attn.wording import count_noun

if TYPE_CHECKING:
    from pandas import DataFrame

SCORES, SEGMENTATION = "scores.csv", "segmentation.csv"
TOGETHER = "text"
POINTING = "pointing"

Row = Mapping[str, Any]


def headline_segment(scores: DataFrame) -> str:
    """Return the segment that the answer is about: all of them together, else the only one."""
    names = [name for name in dict.fromkeys(scores["segment"]) if name]
    return TOGETHER if TOGETHER in names else names[0]


def tell_scores(scores: DataFrame, segmentation: DataFrame) -> list[Sentence]:
    """Return the first paragraph: whether maps find what words name, and where they do so best."""
    from attn.analysis.scores.summary import CLASSES

    segment = headline_segment(scores)
    rows: list[Row] = scores[
        (scores["segment"] == segment) & (scores["measure"] == POINTING)
    ].to_dict("records")
    mean = next(row for row in rows if _is(row, "mean", CLASSES))
    classes = [row for row in rows if row["pooling"] == "mean" and row["class"] != CLASSES]
    layers = [row for row in rows if _is(row, "layer", CLASSES)]
    told = [_tell_pointing(mean), *_tell_classes(classes), *_tell_layers(layers, mean)]
    sentences = [Sentence(text, SCORES) for text in told]
    return [*sentences, *_tell_segmentation(segmentation, segment)]


def _is(row: Row, pooling: str, role: str) -> bool:
    return bool(row["pooling"] == pooling and row["class"] == role)


def _tell_pointing(row: Row) -> str:
    pictures = count_noun(int(row["n"]), "picture")
    facts = (
        f"the largest value of a word's map lies on what the word names in {_spell(row)} of "
        f"{pictures}, by chance it would in {percent(row['chance'])}, and a blob in the middle of "
        f"the picture does in {percent(row['centre'])}"
    )
    if isnan(row["gain_low"]):
        return f"These are too few pictures to tell whether maps find what words name: {facts}."
    if row["gain_low"] > 0 and row["low"] > row["chance"]:
        return f"The maps of words find what the words name: {facts}."
    if row["gain_high"] < 0 or row["high"] < row["chance"]:
        return f"The maps of words do not find what the words name: {facts}."
    return f"The maps of words are not shown to find what the words name: {facts}."


def _tell_classes(rows: Sequence[Row]) -> Iterator[str]:
    """Say which class of words points best, and which worst."""
    if len(rows) > 1:
        ranked = sorted(rows, key=lambda row: -row["mean"])
        best, worst = ranked[0], ranked[-1]
        yield (
            f"Best are words of the class {best['class']} ({percent(best['mean'])}, chance "
            f"{percent(best['chance'])}), worst {worst['class']} ({percent(worst['mean'])}, chance "
            f"{percent(worst['chance'])})."
        )


def _tell_layers(rows: Sequence[Row], mean: Row) -> Iterator[str]:
    """Say which layer points best, if it does better than the mean over layers."""
    best = max(rows, key=lambda row: row["mean"], default=None)
    if best is not None and len(rows) > 1 and best["low"] > mean["high"]:
        yield (
            f"The layer {best['layer_name']} alone points better than the mean over layers, in "
            f"{_spell(best)}; as the best of {len(rows)} on these very pictures, it is a little "
            "flattered."
        )


def _tell_segmentation(table: DataFrame, segment: str) -> Iterator[Sentence]:
    rows = table[(table["segment"] == segment) & (table["pooling"] == "mean")]
    cells = {row["measure"]: row for row in rows.to_dict("records")}
    if cells:
        told = ", ".join(
            f"{name} {percent(cells[key]['mean'])} (a flat map {percent(cells[key]['chance'])})"
            for key, name in (("accuracy", "pixel accuracy"), ("miou", "mIoU"), ("map", "mAP"))
        )
        yield Sentence(f"By the protocol of ImageNet-Segmentation: {told}.", SEGMENTATION)


def _spell(row: Row) -> str:
    """Return a mean with its interval."""
    if isnan(row["low"]):
        return percent(row["mean"])
    return f"{percent(row['mean'])} (95 % {100 * row['low']:.0f} to {100 * row['high']:.0f})"


def percent(part: float) -> str:
    """Return a part of 1 in whole percent."""
    return f"{100 * part:.0f} %"
