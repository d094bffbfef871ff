"""What a comparison found, in sentences made from its tables; docs/compare.md defines each.

A sentence claims no more than the interval of its number shows: a word that "gets more" has an
interval above 0, and "no other word moves by more than" is the farthest end of all their intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.compare.differences import LORA
from attn.analysis.compare.images import VISIBLE
from attn.analysis.grouping import matching, table_rows
from attn.analysis.tables import table_parts
from attn.verbs.compare.rows import (
    WORD,
    Row,
    VariantTables,
    ceiling,
    chance,
    farthest,
    has_interval,
    is_clear,
    is_of,
    name_word,
    tell_amount,
)
from attn.verbs.report_page import Sentence, digits
from attn.words import is_content

if TYPE_CHECKING:
    from attn.analysis.compare.sweep import Sweep

MASS, LAYERS, PAIRS = "tables/mass.csv", "tables/mass_layers.csv", "tables/mass_pairs.csv"
IMAGE_PAIRS = "image_pairs.csv"
IMAGES, SWEEP = "tables/images.csv", "tables/sweep.csv"
FEW = 4
"""So many variants have sentences, the first ones; the tables have all."""
HARDLY = 0.05
"""Attention hardly changes if the intervals of all words lie within this part of their bases."""
MOST = 0.5
"""A layer has most of a change from this part on."""
AGAINST = 1 / 3
"""Layers differ if those that change against the mean have this part of the others' change."""
HALF = 0.5
"""Layers differ, too, if one of them changes by this part of the layer that changes most."""
STRONG = 0.25
"""A word that changes by this part in a layer is told, if the mean over layers shows nothing."""
MATTERS = 0.1
"""A layer matters to a word if it changes it by this part of the largest change or more."""
CHANCE = 0.05
"""How often a layer may be told of that did not change."""
NAMED = 2
"""So many further words are named."""
MEASURED = (
    "Attention is measured as mass: the part of its attention that the image gives to a word, mean "
    "over layers, heads and steps"
)


def tell(
    variants: Sequence[VariantTables], sweep: Sweep | None, more: Sequence[Sentence] = ()
) -> list[Sentence]:
    """Return the first paragraph of the report.

    Args:
        variants: at least one.
        sweep: if they are one.
        more: what controls say of them.
    """
    labels = told_labels([variant.label for variant in variants], sweep)
    told = [variant for variant in variants if variant.label in labels]
    hidden = len(variants) - len(told) if sweep is None else 0
    rest = [Sentence(f"{hidden} more variants are in the tables.")] if hidden else []
    sentences = [sentence for variant in told for sentence in tell_variant(variant)]
    first = [] if sweep is None else list(_tell_sweep(sweep))
    return [*first, *sentences, *rest, *more, *_tell_measure(told)]


def told_labels(labels: Sequence[str], sweep: Sweep | None) -> list[str]:
    """Return the labels of the variants that have sentences: of a sweep the last one."""
    return list(labels[:FEW]) if sweep is None else [sweep.points[-1].label]


def tell_variant(variant: VariantTables) -> list[Sentence]:
    """Return what one variant changed of words and images."""
    words = [row for row in variant.rows("mass.csv") if " " not in row["word"]]
    images = {row["measure"]: row for row in variant.rows("images.csv")}
    if words and all(row["change"] == 0 for row in words) and _is_same(images):
        every = _every(words[0]["n"])
        return [
            Sentence(
                f"{variant.label} changes nothing: every word gets the same attention{every},", MASS
            ),
            Sentence("and these are the same pictures.", IMAGES),
        ]
    layer = strongest_layer(variant.rows("mass_layers.csv"))
    if _is_style(words, images) and not _stands_out(layer):
        return _tell_style(variant, words, images)
    return [*_tell_words(variant, words), *_tell_images(variant, images)]


def _tell_measure(told: Sequence[VariantTables]) -> Iterator[Sentence]:
    """Name the measure of words, if they were compared, and of how many images intervals are."""
    rows = [row for variant in told for row in variant.rows("mass.csv")]
    counts = sorted({int(row["n"]) for row in rows})
    if not counts:
        return
    most = f"{counts[0]} to {counts[-1]} pairs" if len(counts) > 1 else f"{counts[0]} pairs"
    if any(map(has_interval, rows)):
        yield Sentence(f"{MEASURED}; intervals are of 95 %, over {most} of images.")
    else:
        most = "1 pair" if counts == [1] else most
        yield Sentence(f"{MEASURED}; of {most} of images, too few for intervals.")


def _tell_words(variant: VariantTables, words: Sequence[Row]) -> Iterator[Sentence]:
    """Yield what changed of words: the leading one, where, and what the others did."""
    if not words:
        return
    start = f"With {variant.label}"
    if all(row["change"] == 0 for row in words):
        yield Sentence(f"{start} every word gets the same attention{_every(words[0]['n'])}.", MASS)
        return
    lead = leading(words)
    if not has_interval(lead):
        yield Sentence(
            f"{start} the word “{lead['word']}” changes most: it gets {tell_amount(lead)}, in too "
            "few images to tell from chance.",
            MASS,
        )
        return
    if not is_clear(lead):
        kind = "content word" if any(map(is_clear, words)) else "word"
        yield Sentence(
            f"{start} no {kind} is shown to get more or less attention: the interval of each holds "
            "0.",
            MASS,
        )
        yield from _tell_hidden(variant, lead)
        return
    yield Sentence(f"{start} the word {name_word(lead, words)} gets {tell_amount(lead)},", MASS)
    yield from _tell_pairs(variant, lead)
    yield from _tell_layer(variant, lead)
    yield _tell_others(lead, words)
    yield from _tell_hidden(variant, lead)


def leading(words: Sequence[Row]) -> Row:
    """Return the row that leads: a content word whose interval leaves 0 out, if there is one.

    Where no content word changed at all, the others compete, as in `changes.headline`.
    """
    changed = [row for row in words if row["change"] != 0]
    content = [row for row in changed if is_content(row["word"])] or changed or list(words)
    return next(filter(is_clear, content), content[0])


def _tell_layer(variant: VariantTables, lead: Row) -> Iterator[Sentence]:
    """Yield which layers the leading word changes in, of those whose interval leaves 0 out."""
    sign = math.copysign(1, lead["change"])
    rows = [row for row in variant.rows("mass_layers.csv") if is_of(row, lead)]
    along, against = ([row for row in rows if way * sign * row["change"] > 0] for way in (1, -1))
    if len(rows) < 2 or not along:  # noqa: PLR2004 - of one layer nothing is told
        return
    most = max(along, key=_size)
    total = sum(map(_size, along))
    opposite = max(map(_size, against), default=0.0) >= HALF * _size(most)
    if opposite or sum(map(_size, against)) >= AGAINST * total:
        yield from _tell_both_ways(variant, [most, max(against, key=_size)])
    elif is_clear(most):
        part = _size(most) / total
        told = "most of it" if part > MOST else f"{100 * part:.0f} % of it"
        name = _layer(variant, most)
        yield Sentence(f"{told} in {name}, where it gets {tell_amount(most)};", LAYERS)


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


def _stands_out(row: Row | None) -> bool:
    """Whether a word changes in a layer so much that the mean over layers would mislead."""
    return row is not None and bool(abs(row["relative_change"]) >= STRONG)


def _tell_hidden(variant: VariantTables, lead: Row) -> Iterator[Sentence]:
    """Yield what one layer does to a word, unless it is what the leading word does in the mean."""
    rows = variant.rows("mass_layers.csv")
    row = strongest_layer(rows)
    if row is None or not _stands_out(row):
        return
    if not (is_clear(lead) and is_of(row, lead) and row["change"] * lead["change"] > 0):
        where = f"in {_layer(variant, row)} {name_word(row, rows)}"
        text = f"The mean over layers hides that {where} gets {tell_amount(row)}."
        yield Sentence(text, LAYERS)


def strongest_layer(rows: Sequence[Row]) -> Row | None:
    """Return the layer and content word of largest relative change, of those that matter.

    It matters if the change is no less than a tenth of the largest one, and is shown among all of
    them: Student's t of its pairs has a probability of 5 % or less, times the number of rows
    (Bonferroni). None too if there are no intervals.
    """
    content = [row for row in rows if " " not in row["word"] and is_content(row["word"])]
    least = MATTERS * max((abs(row["change"]) for row in content), default=0.0)
    large = [row for row in content if abs(row["change"]) >= least and row["base"] > 0]
    shown = [row for row in large if is_clear(row) and chance(row) * len(rows) <= CHANCE]
    return max(shown, key=lambda row: abs(row["relative_change"]), default=None)


def _tell_others(lead: Row, words: Sequence[Row]) -> Sentence:
    """Say how far all other words moved, or which of them moved most."""
    others = [row for row in words if row is not lead]
    if not others:
        return Sentence("it is the only word that was compared.", MASS)
    bound = max(map(farthest, others))
    if bound < abs(lead["relative_change"]) / 2:
        return Sentence(f"no other word moves by more than {ceiling(bound)} %.", MASS)
    clear = [row for row in others if is_clear(row)]
    any_word = not is_content(lead["word"])  # the prompt has no other that changed
    named = [row for row in clear if any_word or is_content(row["word"])][:NAMED]
    if not named:
        more = "no other content word's" if clear else "no other word's"
        return Sentence(f"{more} interval leaves 0 out.", MASS)
    listed = " and ".join(f"{name_word(row, words)} gets {tell_amount(row)}" for row in named)
    return Sentence(f"{listed}.", MASS)


def _is_style(words: Sequence[Row], images: Mapping[str, Row]) -> bool:
    """Whether images changed while all words kept their attention, as far as intervals show."""
    if not words or not images or not all(map(has_interval, words)):
        return False
    hardly = max(map(farthest, words)) <= HARDLY
    return hardly and images["level"]["low"] >= VISIBLE


def _tell_style(
    variant: VariantTables, words: Sequence[Row], images: Mapping[str, Row]
) -> list[Sentence]:
    bound = ceiling(max(map(farthest, words)))
    return [
        Sentence(
            f"With {variant.label} attention hardly changes: no word moves by more than {bound} %;",
            MASS,
        ),
        Sentence(
            f"but the picture changes by {_levels(variant, images)}: a change of style rather "
            "than of attention to words.",
            IMAGES,
        ),
    ]


def _tell_images(variant: VariantTables, images: Mapping[str, Row]) -> Iterator[Sentence]:
    if not images:
        return
    if _is_same(images):
        yield Sentence("The images are the same pictures.", IMAGES)
        return
    yield Sentence(f"The picture changes by {_levels(variant, images)}.", IMAGES)


def _levels(variant: VariantTables, images: Mapping[str, Row]) -> str:
    """Return how much pictures change: the mean, and from which pair to which."""
    ssim = images["ssim"]["value"]
    alike = "" if math.isnan(ssim) else f" (SSIM {digits(ssim)})"
    levels = [part["level"] for part in table_parts(variant.tables.get(IMAGE_PAIRS, {})) if part]
    ends = [digits(end(map(end, levels))) for end in (min, max)] if levels else []
    span = f", {' to '.join(ends)} in the pairs" if len(set(ends)) > 1 else ""
    return f"{digits(images['level']['value'])} of 255 levels{span}{alike}"


def _is_same(images: Mapping[str, Row]) -> bool:
    return bool(images) and images["level"]["value"] == 0


def _tell_sweep(sweep: Sweep) -> Iterator[Sentence]:
    """Yield from where on a sweep works, and from where on images break, or that it is nowhere."""
    points = {
        point.scale: point.label if sweep.files else digits(point.scale) for point in sweep.points
    }
    name = "The LoRA" if sweep.files else sweep.name
    unit = "file " if sweep.files else "scale " if sweep.name.startswith(LORA) else ""
    first, *_, last = points.values()
    span = f"from {unit}{first} to {last}"
    if not sweep.has_intervals:
        yield Sentence(
            f"{name} was swept {span} in too few images to tell from where on it works or breaks "
            "the picture: from four on there are intervals.",
            SWEEP,
        )
        return
    rows = table_rows(sweep.table)
    works = next((row for row in rows if row["works"]), None)
    breaks = next((row for row in rows if row["breaks"]), None)
    if works is None:
        word = "" if sweep.word is None else f" “{sweep.word.term.label}”"
        yield Sentence(
            f"{name} is not shown to work {span}: no interval of the leading word{word} "
            "leaves 0 out.",
            SWEEP,
        )
    else:
        yield Sentence(
            f"{name} works from {unit}{points[works[sweep.column]]}: there “{works['word']}” gets "
            f"{tell_amount(works)}.",
            SWEEP,
        )
        most = max(rows, key=lambda row: abs(row["change"]))
        if sweep.files and most is not works:
            yield Sentence(
                f"It changes most with {unit}{points[most[sweep.column]]}: {tell_amount(most)}.",
                SWEEP,
            )
    if breaks is None:
        yield Sentence(
            f"It breaks the picture nowhere {span}: no step of it is shown to change the picture "
            f"twice as fast as the step before, and visibly (over {VISIBLE:g} of 255 levels).",
            SWEEP,
        )
        return
    yield Sentence(
        f"It breaks the picture from {unit}{points[breaks[sweep.column]]}, where a step changes it "
        f"at least twice as fast as the step before, to {digits(breaks['level'])} of 255 levels.",
        SWEEP,
    )


def _tell_pairs(variant: VariantTables, lead: Row) -> Iterator[Sentence]:
    """Yield in how many images a word changes in the direction of the mean."""
    same = count = 0
    word = {name: lead[name] for name in WORD}
    for part in table_parts(variant.tables["mass_pairs.csv"]):
        signs = np.sign(matching(part, **word)["change"])
        same, count = same + int((signs == np.sign(lead["change"])).sum()), count + len(signs)
    more = "more" if lead["change"] > 0 else "less"
    yield Sentence(f"{more} in {same} of {count} images,", PAIRS)


def _every(count: int) -> str:
    return f" in {count} of {count} images" if count > 1 else ""
