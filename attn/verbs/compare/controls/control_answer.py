"""What controls say of a LoRA's effect, in sentences made from their tables.

As in `answer`, a sentence claims no more than the interval of its number shows: an effect is "2×
that of random weights" only if the interval of the ratio leaves 1 out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from attn.analysis.compare.images import VISIBLE
from attn.verbs.report_page import Sentence
from attn.wording import digits, percent

if TYPE_CHECKING:
    from pandas import DataFrame

NULL, PARTS, LEAK = "tables/null.csv", "tables/parts.csv", "tables/leak.csv"
FAR = 100.0
"""Ratios beyond this are told as this: the divisor is next to nothing."""
MOST = 0.5
"""From this part on it is most of an effect."""
LITTLE = 0.1
"""Below this part a LoRA hardly acts."""
BOUNDS = (LITTLE, MOST, 1.0)
"""What ratios are held against."""
NAMED = 4
"""So many LoRAs of a stack are named."""
UNSIGNED = ("level", "moved")
"""Measures that are never below 0."""
MOVES = "moves attention to the other words"
RANDOM = "random weights of the same size"

Row = Mapping[str, Any]


def tell_controls(tables: Mapping[str, DataFrame], labels: Collection[str]) -> list[Sentence]:
    """Return what the controls of some variants say; nothing without controls.

    Args:
        tables: by name, such as `null.csv`.
        labels: of the variants that are told of.
    """

    def rows(name: str, of: str) -> list[Row]:
        listed = tables[name].to_dict("records") if name in tables else []
        return [row for row in listed if row[of] in labels]

    return [
        *_tell_nulls(rows("null.csv", "variant_name")),
        *_tell_parts(rows("parts.csv", "whole_name")),
        *_tell_leaks(rows("leak.csv", "variant_name")),
    ]


def _groups(rows: Sequence[Row], *keys: str) -> Iterator[list[Row]]:
    """Yield the rows of equal values of some columns, in the order of the table."""
    for values in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        yield [row for row in rows if tuple(row[key] for key in keys) == values]


def _tell_nulls(rows: Sequence[Row]) -> Iterator[Sentence]:
    for group in _groups(rows, "variant_name", "null_name"):
        by_measure = {row["measure"]: row for row in group}
        if "strongest" in by_measure and by_measure["strongest"]["effect"] != 0:
            yield Sentence(_tell_strongest(by_measure["strongest"]), NULL)
            yield from _tell_same_word(by_measure)
        if "level" in by_measure and by_measure["level"]["effect"] > 0:
            yield Sentence(_tell_level(by_measure["level"]), NULL)


def summarise_null(rows: Sequence[Row]) -> str:
    """Return how a LoRA's effect compares to that of random weights.

    Args:
        rows: of `null.csv`, those of one variant and one control.
    """
    told = [sentence.text for sentence in _tell_nulls(rows)]
    return " ".join(told).rstrip(".") or "The images and all words are the same"


def tell_ratio(row: Row) -> str:
    """Return a ratio with its interval, as it stands beside bars."""
    if math.isnan(row["ratio"]):
        return ""
    return f"{_times(row['ratio'])}" + ("" if math.isnan(row["low"]) else f" ({_interval(row)})")


def _tell_strongest(row: Row) -> str:
    """Hold the word that a LoRA changes most against the one that random weights change most."""
    name, times = row["variant_name"], _times(row["ratio"])
    words = (
        f"“{row['word']}” against “{row['null_word']}”, the words that each changes most in mass"
    )
    if row["word"] == row["null_word"]:
        words = f"on “{row['word']}”, which both change most in mass"
    if math.isnan(row["least"]):
        return (
            f"The effect of {name} is {times} that of {RANDOM} ({words}), in too few images to "
            "tell from chance."
        )
    if math.isnan(row["low"]):
        return _tell_unbounded(row)
    low, high = _ends(row)
    interval = f"({_interval(row)}; {words})"
    if low > 1:
        return f"The effect of {name} is {times} that of {RANDOM} {interval}."
    told = "smaller than" if high < 1 else "not shown to differ from"
    return f"The effect of {name} is {told} that of {RANDOM}: {times} {interval}."


def _tell_unbounded(row: Row) -> str:
    """Say what can be said of a ratio whose divisor may be 0."""
    if row["least"] == 0:
        return f"Neither {row['variant_name']} nor {RANDOM} are shown to change any word."
    return (
        f"{RANDOM.capitalize()} are not shown to change any word; the effect of "
        f"{row['variant_name']} is at least {_times(row['least'])} theirs."
    )


def _tell_same_word(by_measure: Mapping[str, Row]) -> Iterator[Sentence]:
    """Say what random weights do to the LoRA's word, if they change another one most."""
    row, strongest = by_measure.get("word"), by_measure["strongest"]
    if row is None or row["null_word"] == strongest["null_word"] or not row["least"] > 0:
        return
    if math.isnan(row["low"]):
        text = f"These are not shown to change “{row['word']}” itself."
    else:
        way = ", which goes the other way" if row["ratio"] < 0 else ""
        text = (
            f"On “{row['word']}” itself it is {_times(row['ratio'])} theirs{way} "
            f"({_interval(row)})."
        )
    yield Sentence(text, NULL)


def _tell_level(row: Row) -> str:
    start = f"{row['variant_name']} changes the image"
    if math.isnan(row["ratio"]):
        return f"{start}, and {RANDOM} do not."
    if math.isnan(row["low"]):
        return f"{start} {_times(row['ratio'])} as much as they do."
    low, high = _ends(row)
    told = f"{_times(row['ratio'])} ({_interval(row)})"
    if low <= 1 <= high:
        return f"{start}, and is not shown to do so more or less than they: {told}."
    return f"{start} {told} as much as they do."


def _tell_parts(rows: Sequence[Row]) -> Iterator[Sentence]:
    for group in _groups(rows, "whole_name"):
        told = [row for row in group if math.isfinite(row["ratio"])]
        if any(row["kind"] == "alone" for row in told):
            yield from (Sentence(_tell_blocks(of), PARTS) for of in _groups(told, "measure"))
        else:
            yield from (Sentence(text, PARTS) for text in _tell_left_out(told))


def _tell_blocks(rows: Sequence[Row]) -> str:
    """Say which block carries an effect: the one without which least of it is left."""
    without, single = ([row for row in rows if row["kind"] == of] for of in ("without", "alone"))
    of = _of(rows[0])
    name = rows[0]["whole_name"]
    most = max(single, key=lambda row: abs(row["ratio"]), default=None)
    if most is not None and not without:
        return f"{_part(most)} alone gives {_percent(most)} of the effect of {name} on {of}."
    least = min(without, key=lambda row: row["ratio"])
    alone = next((row for row in rows if _is_alone(row, least)), None)
    if math.isnan(least["least"]):
        also = f", alone it gives {_percent(alone)}" if alone else ""
        left = f"{_left(least)} of the effect of {name} on {of} is left"
        return f"Without {_part(least)} {left}{also}, in too few images to tell from chance."
    if not _is_below(least, 1.0):
        gives = f"; alone {_part(most)} gives most, {_told_part(most)}" if most else ""
        return (
            f"No block of {name} is shown to be needed for its effect on {of}: without each of "
            f"them the interval of what is left holds all of it{gives}."
        )
    amount = "Most" if _is_below(least, MOST) else "The largest part"
    also = f", alone it gives {_told_part(alone)}" if alone else ""
    return (
        f"{amount} of the effect of {name} on {of} is carried by {_part(least)}: without it "
        f"{_left(least)} is left ({_interval_of_part(least)}){also}."
    )


def _tell_left_out(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what is left of the effects of a stack without each of its first LoRAs."""
    for part in islice(_groups(rows, "part"), NAMED):
        first = f"of the effect of {part[0]['whole_name']} on {_of(part[0])}"
        effects = [first, *(f"of that on {_of(row)}" for row in part[1:])]
        told = [_tell_left(row, effect) for row, effect in zip(part, effects, strict=True)]
        yield f"Without {part[0]['part']} {', and '.join(told)}."


def _tell_left(row: Row, effect: str) -> str:
    start = f"{_left(row)} {effect} is left"
    if unknown := _unknown(row):
        return f"{start}, {unknown}"
    return f"{start} ({_interval_of_part(row)}){_held(row)}"


def _held(row: Row) -> str:
    """Say what the interval of a part that is left does not show."""
    if row["low"] > 1:
        return ", which is more than with it"
    less = "less than all of it" if row["high"] >= 1 else ""
    is_signed = row["measure"] not in UNSIGNED
    more = "more than nothing" if is_signed and row["low"] <= 0 < row["ratio"] else ""
    both = " or ".join(filter(None, (less, more)))
    return f", which is not shown to be {both}" if both else ""


def _left(row: Row) -> str:
    """Say how much is left; an effect below 0 is turned round, or there is nothing left of it."""
    if row["ratio"] > 0:
        return _percent(row)
    return f"the reverse of {digits(-100 * row['ratio'])} %" if row["high"] < 0 else "nothing"


def _tell_leaks(rows: Sequence[Row]) -> Iterator[Sentence]:
    """Say how much of what a LoRA does is left without its trigger words."""
    for group in _groups(rows, "variant_name"):
        told = {row["measure"]: row for row in group if not math.isnan(row["ratio"])}
        if told:
            yield Sentence(_tell_leak(told), LEAK)


def summarise_leak(rows: Sequence[Row]) -> str:
    """Return how much of a LoRA's change of the images is left without its trigger words.

    Args:
        rows: of `leak.csv`, those of one variant.
    """
    row = next((row for row in rows if row["measure"] == "level"), None)
    if row is None or math.isnan(row["ratio"]):
        return "The images change neither with nor without the words"
    without = f"Without {_quoted(row['trigger'])} {_percent(row)} of the change of the images"
    unknown = _unknown(row)
    told = f", {unknown}" if unknown else f" ({_interval_of_part(row)}){_held(row)}"
    return f"{without} by {row['variant_name']} is left{told}"


def _unknown(row: Row) -> str:
    """Say why a ratio has no interval; nothing if it has one."""
    if math.isnan(row["least"]):
        return "in too few images to tell from chance"
    return "with an interval that has no end" if math.isnan(row["low"]) else ""


def _quoted(trigger: str) -> str:
    return " and ".join(f"“{word}”" for word in trigger.split(", "))


def _tell_leak(by_measure: Mapping[str, Row]) -> str:
    first = next(iter(by_measure.values()))
    triggers = first["trigger"].split(", ")
    them = "it" if len(triggers) == 1 else "them"
    amounts = [
        f"{does} {_times(row['ratio'])} as much as with {them}" + _bracketed(row)
        for measure, does in (("level", "changes the image"), ("moved", MOVES))
        if (row := by_measure.get(measure)) is not None
    ]
    without = f"Without {_quoted(first['trigger'])} in the prompt"
    start = f"{without} {first['variant_name']} {' and '.join(amounts)}"
    unknown = next(filter(None, map(_unknown, by_measure.values())), "")
    if unknown:
        return f"{start}, {unknown}."
    if (level := by_measure.get("level")) and max(level["with"], level["without"]) < VISIBLE:
        return f"{start}. Neither can be seen, so it is not shown what needs {them}."
    if all(row["high"] < LITTLE for row in by_measure.values()):
        return f"{start}: it hardly acts without."
    if all(row["low"] > MOST for row in by_measure.values()):
        return f"{start}: most of its effect does not need {them}."
    return f"{start}."


def _bracketed(row: Row) -> str:
    if math.isnan(row["low"]):
        return ""
    is_equal = row["low"] <= 1 <= row["high"]
    return f" ({_interval(row)}{'; not shown to differ' if is_equal else ''})"


def _is_alone(row: Row, other: Row) -> bool:
    return bool(row["kind"] == "alone" and row["part"] == other["part"])


def _is_below(row: Row, bound: float) -> bool:
    return bool(row["high"] < bound)


def _of(row: Row) -> str:
    return f"“{row['word']}”" if row["measure"] == "word" else "the image"


def _part(row: Row) -> str:
    """Return a block by its short name, and as block-weight tools call it."""
    names = row["part"].split(",")
    name = "the text encoders" if row["kohya"] == "BASE" else " and ".join(names)
    return f"{name} ({row['kohya']})" if row["kohya"] else name


def _percent(row: Row) -> str:
    return percent(row["ratio"], *BOUNDS)


def _times(ratio: float) -> str:
    """Return a ratio whatever its sign; one that is too far out is told as such."""
    return f"over {FAR:.0f}×" if abs(ratio) > FAR else f"{digits(abs(ratio), *BOUNDS)}×"


def _ends(row: Row) -> tuple[float, float]:
    """Return the ends of an interval of absolute values."""
    ends = sorted((abs(row["low"]), abs(row["high"])))
    return (0.0 if row["low"] < 0 < row["high"] else ends[0]), ends[1]


def _interval(row: Row) -> str:
    """Return the interval of a ratio, and the ratio itself where its size was told without sign."""
    ends = [_end(max(row[key], _least(row))) for key in ("low", "high")]
    interval = f"95 % interval {' to '.join(dict.fromkeys(ends))}{_say_cut(row)}"
    return f"ratio {_end(row['ratio'])}, {interval}" if row["ratio"] < 0 else interval


def _end(ratio: float) -> str:
    if abs(ratio) > FAR:
        return f"{'over ' if ratio > 0 else 'below -'}{FAR:.0f}"
    return digits(ratio, *BOUNDS)


def _told_part(row: Row) -> str:
    return f"{_percent(row)} ({_interval_of_part(row)})"


def _interval_of_part(row: Row) -> str:
    ends = [percent(max(row[key], _least(row)), *BOUNDS) for key in ("low", "high")]
    told = " to ".join(dict.fromkeys(end.removesuffix(" %") for end in ends))
    return f"95 % interval {told} %{_say_cut(row)}"


def _least(row: Row) -> float:
    """Return the least that a ratio can be: what has no sign is never below 0."""
    return 0.0 if row["measure"] in UNSIGNED else -math.inf


def _say_cut(row: Row) -> str:
    return ", cut at 0" if row["low"] < _least(row) else ""
