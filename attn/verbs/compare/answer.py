"""What a comparison found, in sentences made from its tables; docs/compare.md defines each.

A sentence claims no more than the interval of its number shows: a word that "gets more" has an
interval above 0, and "no other word moves by more than" is the farthest end of all their intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.compare.changes import MATTERS, rank_told
from attn.analysis.grouping import matching
from attn.analysis.tables import table_parts
from attn.verbs.compare.answers.drawings import tell_drawing
from attn.verbs.compare.answers.images import (
    IMAGES,
    Images,
    are_same,
    image_rows,
    is_invisible,
    tell_first,
    tell_last,
    tell_levels,
)
from attn.verbs.compare.answers.layers import (
    STRONG,
    stands_out,
    strongest_layers,
    tell_hidden,
    tell_layers,
)
from attn.verbs.compare.answers.sweeps import tell_sweep
from attn.verbs.compare.rows import (
    WORD,
    Row,
    VariantTables,
    ceiling,
    farthest,
    has_interval,
    is_clear,
    name_word,
    tell_amount,
)
from attn.verbs.report_page import Sentence
from attn.wording import count_noun, percent
from attn.words import NAMING, is_content

if TYPE_CHECKING:
    from attn.analysis.compare.sweep import Sweep

MASS, PAIRS = "tables/mass.csv", "tables/mass_pairs.csv"
FEW = 4
"""So many variants have sentences, the first ones; the tables have all."""
HARDLY = 0.05
"""Attention hardly changes if the intervals of all words lie within this part of their bases."""
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
    """Return the labels of the variants that have sentences: of a sweep that of one point."""
    return list(labels[:FEW]) if sweep is None else [sweep.told.label]


def tell_variant(variant: VariantTables) -> list[Sentence]:
    """Return what one variant changed of words and images; first, if nothing of it can be seen."""
    words = [row for row in variant.rows("mass.csv") if " " not in row["word"]]
    images = image_rows(variant)
    if words and all(row["change"] == 0 for row in words) and are_same(images):
        every = _every(words[0]["n"])
        return [
            Sentence(
                f"{variant.label} changes nothing: every word gets the same attention{every},", MASS
            ),
            Sentence("and these are the same pictures.", IMAGES),
        ]
    drawing = tell_drawing(variant)
    if _is_unmoved(variant, words, images):
        return [*_tell_unmoved(variant, words, images), *drawing]
    first, last = tell_first(variant, images), tell_last(variant, images)
    return [*first, *_tell_words(variant, words), *last, *drawing]


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
            f"{start} the word “{lead['word']}” changes most, as a part of what it had: it gets "
            f"{tell_amount(lead)}, in too few images to tell from chance.",
            MASS,
        )
        return
    if not is_clear(lead):
        kind = f"content word ({NAMING})" if any(map(is_clear, words)) else "word"
        yield Sentence(
            f"{start} no {kind} is shown to get more or less attention: the interval of each holds "
            "0.",
            MASS,
        )
        yield from tell_hidden(variant, lead)
        return
    yield Sentence(f"{start} the word {name_word(lead, words)} gets {tell_amount(lead)},", MASS)
    yield from _tell_pairs(variant, lead)
    yield from tell_layers(variant, lead)
    yield _tell_others(lead, words)
    yield from tell_hidden(variant, lead)


def leading(words: Sequence[Row]) -> Row:
    """Return the row that leads: the content word of largest relative change, if there is one.

    Of those whose interval leaves 0 out, if there are any. Where no content word changed at all,
    the others compete, as in `changes.headline`.
    """
    changed = [row for row in words if row["change"] != 0]
    content = [row for row in changed if is_content(row["word"])] or changed or list(words)
    return rank_told(list(filter(is_clear, content)) or content, _told_numbers)[0]


def _told_numbers(row: Row) -> tuple[float, float]:
    return float(row["change"]), float(row["relative_change"])


def _tell_others(lead: Row, words: Sequence[Row]) -> Sentence:
    """Say how far all other words moved, or which of them moved most."""
    others = [row for row in words if row is not lead]
    if not others:
        return Sentence("it is the only word that was compared.", MASS)
    clear = rank_told(filter(is_clear, others), _told_numbers)
    any_word = not is_content(lead["word"])  # the prompt has no other that changed
    told = [row for row in clear if any_word or is_content(row["word"])]
    least = MATTERS * max((abs(row["change"]) for row in told), default=0.0)
    large = [row for row in told if abs(row["change"]) >= least]
    strong = [row for row in large if abs(row["relative_change"]) >= STRONG]
    if max(map(farthest, others)) < abs(lead["relative_change"]) / 2:
        rest = [row for row in others if row not in strong]
        bound = (
            f"no other word moves by more than {ceiling(max(map(farthest, rest), default=0.0))} %"
        )
        listed = filter(None, (_list_moved(strong, strong, words), bound if rest else ""))
        return Sentence(f"{'; '.join(listed)}.", MASS)
    if not told:
        kind = f"content word ({NAMING})" if clear else "word"
        return Sentence(f"no other {kind} is shown to get more or less.", MASS)
    return Sentence(f"{_list_moved(told, strong, words)}.", MASS)


def _list_moved(rows: Sequence[Row], strong: Sequence[Row], words: Sequence[Row]) -> str:
    """Name the first words of some, and say how many more move much."""
    named = rows[:NAMED]
    listed = " and ".join(f"{name_word(row, words)} gets {tell_amount(row)}" for row in named)
    more = sum(row not in named for row in strong)
    verb = "moves" if more == 1 else "move"
    rest = f", and {count_noun(more, 'more word')} {verb} by {percent(STRONG)} or more"
    return f"{listed}{rest if more else ''}"


def _is_unmoved(variant: VariantTables, words: Sequence[Row], images: Images) -> bool:
    """Whether all words kept their attention, as far as intervals show, whatever images did."""
    if not words or not images or not all(map(has_interval, words)):
        return False
    strongest = strongest_layers(variant.rows("mass_layers.csv"))
    return max(map(farthest, words)) <= HARDLY and not any(map(stands_out, strongest[:1]))


def _tell_unmoved(variant: VariantTables, words: Sequence[Row], images: Images) -> list[Sentence]:
    bound = f"no word moves by more than {ceiling(max(map(farthest, words)))} %"
    first = tell_first(variant, images)
    if first or are_same(images):
        either = " either" if is_invisible(variant, images) else ""
        text = f"With {variant.label} attention hardly changes{either}: {bound}."
        return [*first, Sentence(text, MASS), *tell_last(variant, images)]
    text = f"but the image changes by {tell_levels(variant, images)}, without moving attention."
    return [
        Sentence(f"With {variant.label} attention hardly changes: {bound};", MASS),
        Sentence(text, IMAGES),
    ]


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
