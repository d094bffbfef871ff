"""What a comparison found, in sentences made from its tables; docs/compare.md defines each.

A sentence claims no more than the interval of its number shows: a word that "gets more" has an
interval above 0, and "no other word moves by more than" is the farthest end of all their intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.compare.images import VISIBLE
from attn.analysis.grouping import matching
from attn.analysis.tables import table_parts
from attn.verbs.compare.answers.drawings import tell_drawing
from attn.verbs.compare.answers.sweeps import tell_sweep
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
from attn.verbs.report_page import Sentence
from attn.wording import digits, percent
from attn.words import is_content

if TYPE_CHECKING:
    from attn.analysis.compare.sweep import Sweep

MASS, LAYERS, PAIRS = "tables/mass.csv", "tables/mass_layers.csv", "tables/mass_pairs.csv"
IMAGE_PAIRS = "image_pairs.csv"
IMAGES = "tables/images.csv"
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
    first = [] if sweep is None else list(tell_sweep(sweep))
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
    drawing = tell_drawing(variant)
    if _is_unmoved(words, images) and not _stands_out(layer):
        return [*_tell_unmoved(variant, words, images), *drawing]
    return [*_tell_words(variant, words), *_tell_images(variant, images), *drawing]


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
    opposed = _find_opposed(variant, lead)
    yield from _tell_both_ways(variant, opposed) if opposed else _tell_layer(variant, lead)
    yield _tell_others(lead, words)
    yield from _tell_hidden(variant, lead, are_layers_told=bool(opposed))


def leading(words: Sequence[Row]) -> Row:
    """Return the row that leads: a content word whose interval leaves 0 out, if there is one.

    Where no content word changed at all, the others compete, as in `changes.headline`.
    """
    changed = [row for row in words if row["change"] != 0]
    content = [row for row in changed if is_content(row["word"])] or changed or list(words)
    return next(filter(is_clear, content), content[0])


def _tell_layer(variant: VariantTables, lead: Row) -> Iterator[Sentence]:
    """Yield which layer the leading word changes in most, if its interval leaves 0 out."""
    along, against = _part_layers(variant, lead)
    if len(along) + len(against) < 2 or not along:  # noqa: PLR2004 - of one layer nothing is told
        return
    most = max(along, key=_size)
    if is_clear(most):
        part = _size(most) / sum(map(_size, along))
        told = "most of it" if part > MOST else f"{percent(part)} of it"
        name = _layer(variant, most)
        yield Sentence(f"{told} in {name}, where it gets {tell_amount(most)};", LAYERS)


def _part_layers(variant: VariantTables, lead: Row) -> tuple[list[Row], list[Row]]:
    """Return the layers in which a word changes as it does in the mean, and those against it."""
    sign = math.copysign(1, lead["change"])
    rows = [row for row in variant.rows("mass_layers.csv") if is_of(row, lead)]
    along, against = ([row for row in rows if way * sign * row["change"] > 0] for way in (1, -1))
    return along, against


def _find_opposed(variant: VariantTables, lead: Row) -> list[Row]:
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


def _stands_out(row: Row | None) -> bool:
    """Whether a word changes in a layer so much that the mean over layers would mislead."""
    return row is not None and bool(abs(row["relative_change"]) >= STRONG)


def _tell_hidden(
    variant: VariantTables, lead: Row, *, are_layers_told: bool = False
) -> Iterator[Sentence]:
    """Yield what one layer does to a word, unless it is what the leading word does in the mean.

    Where it is told that layers differ on the leading word, no more is told of them.
    """
    rows = variant.rows("mass_layers.csv")
    row = strongest_layer(rows)
    if row is None or not _stands_out(row) or (are_layers_told and is_of(row, lead)):
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


def _is_unmoved(words: Sequence[Row], images: Mapping[str, Row]) -> bool:
    """Whether images changed while all words kept their attention, as far as intervals show."""
    if not words or not images or not all(map(has_interval, words)):
        return False
    hardly = max(map(farthest, words)) <= HARDLY
    return hardly and images["level"]["low"] >= VISIBLE


def _tell_unmoved(
    variant: VariantTables, words: Sequence[Row], images: Mapping[str, Row]
) -> list[Sentence]:
    bound = ceiling(max(map(farthest, words)))
    return [
        Sentence(
            f"With {variant.label} attention hardly changes: no word moves by more than {bound} %;",
            MASS,
        ),
        Sentence(
            f"but the picture changes by {_levels(variant, images)}, without moving attention.",
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
