"""How much images changed, and whether that can be seen, in sentences made from `images.csv`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attn.analysis.compare.images import VISIBLE
from attn.analysis.tables import table_parts
from attn.verbs.compare.rows import Row, VariantTables, has_interval
from attn.verbs.report_page import Sentence
from attn.wording import digits

IMAGES, IMAGE_PAIRS = "tables/images.csv", "image_pairs.csv"

Images = Mapping[str, Row]
"""Rows of `images.csv` by measure; none where images were not compared."""


def image_rows(variant: VariantTables) -> Images:
    """Return what there is of the images of a variant."""
    return {row["measure"]: row for row in variant.rows("images.csv")}


def are_same(images: Images) -> bool:
    """Whether there are images, and all are the same."""
    return bool(images) and images["level"]["value"] == 0


def is_visible(images: Images) -> bool:
    """Whether images are shown to differ by more than `VISIBLE`."""
    return bool(images) and bool(images["level"]["low"] > VISIBLE)


def is_invisible(variant: VariantTables, images: Images) -> bool:
    """Whether images are shown to differ by less than `VISIBLE`.

    Of too few pairs for an interval each has to.
    """
    if not images:
        return False
    level = images["level"]
    return bool((level["high"] if has_interval(level) else _span(variant)[-1]) < VISIBLE)


def tell_first(variant: VariantTables, images: Images) -> list[Sentence]:
    """Return that nothing visible changed, or that it is not shown to have; else nothing."""
    if not images or are_same(images):
        return []
    amount = f"by {tell_levels(variant, images)}, where {VISIBLE:g} can be seen"
    if is_invisible(variant, images):
        text = f"On the whole nothing visible changes with {variant.label}: images differ {amount}."
        return [Sentence(text, IMAGES)]
    if has_interval(images["level"]) and not is_visible(images):
        text = (
            f"The image is not shown to change visibly with {variant.label}: it changes {amount}."
        )
        return [Sentence(text, IMAGES)]
    return []


def tell_last(variant: VariantTables, images: Images) -> list[Sentence]:
    """Return how much images change, where `tell_first` tells nothing."""
    if not images or tell_first(variant, images):
        return []
    if are_same(images):
        return [Sentence("The images are the same pictures.", IMAGES)]
    return [Sentence(f"The image changes by {tell_levels(variant, images)}.", IMAGES)]


def tell_levels(variant: VariantTables, images: Images) -> str:
    """Return how much images change: the mean, and from which pair to which."""
    ssim = images["ssim"]["value"]
    alike = "" if math.isnan(ssim) else f" (SSIM {digits(ssim, 1)})"
    ends = list(dict.fromkeys(digits(level, VISIBLE) for level in _span(variant)))
    span = f", {' to '.join(ends)} in the pairs" if len(ends) > 1 else ""
    return f"{digits(images['level']['value'], VISIBLE)} of 255 levels{span}{alike}"


def _span(variant: VariantTables) -> tuple[float, float]:
    """Return the smallest and the largest level of all pairs."""
    levels = [part["level"] for part in table_parts(variant.tables.get(IMAGE_PAIRS, {})) if part]
    return (
        float(min(map(min, levels), default=math.nan)),
        float(max(map(max, levels), default=math.nan)),
    )
