"""What cutting attention did to each picture, and how much of it where the word's map is.

Definitions, for one picture of a variant and that of the baseline from the same noise:

- level    mean absolute difference of the two, 0 to 255.
- inside   the same over the places where the word's map on the baseline, mean over layers, heads
           and steps, is above half of its range; the difference is laid out on the map's grid.
- outside  the same over all other places.
- aimed    inside minus outside: above 0, the picture changes more where the map points.

Of pictures of the shapes world also those of `cut_shapes`, as parts of pictures.

Each is held against the mean over the random controls of the same picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attn.schema import Intervention
from attn.verbs.compare.controls.cut_shapes import shape_changes
from attn.verbs.compare.pairing import Member
from attn.verbs.compare.variants import Variant
from attn.words import word_keys

if TYPE_CHECKING:
    from attn.analysis.compare.controls.controls import Image, Values
    from attn.analysis.compare.controls.roles import Role
    from attn.analysis.compare.pairs import Pair
    from attn.analysis.numbers import Numbers
    from attn.analysis.tables import Table

CUTS = "cuts.csv"
LEVEL, INSIDE, OUTSIDE, AIMED = "level", "inside", "outside", "aimed"
UNSIGNED = (LEVEL, INSIDE, OUTSIDE)
"""Measures that are never below 0: nor are the ends of their intervals, as in `images.csv`."""
HALF = 0.5
FEW = 4
"""More cuts are in the order of their effect, and are not told one by one."""
Places = NDArray[np.bool_]
"""(row, column) of a map's grid."""


def cut_table(variants: Sequence[Variant], roles: Sequence[Role | None]) -> Table | None:
    """Return `cuts.csv`: each measure of each cut, of its controls, and the difference of both.

    Args:
        variants: those that cut nothing are left out.
        roles: which are random controls of which.
    """
    from attn.analysis.compare.controls.controls import as_table

    rows = []
    for index, (variant, role) in enumerate(zip(variants, roles, strict=True)):
        cuts = added_cuts(variant.members)
        if cuts and role is None:
            compared = [variant, *(variants[at] for at in controls_of(index, roles))]
            words = cut_words(cuts)
            maps = _word_maps(variant, words)
            effects = [measure(of, maps) | shape_changes(of, words) for of in compared]
            rows += list(effect_rows(variant.label, words, effects))
    return as_table(rank_rows(rows, LEVEL))


def controls_of(index: int, roles: Sequence[Role | None]) -> list[int]:
    """Return which variants are random controls of a variant."""
    return [at for at, of in enumerate(roles) if of is not None and of.whole == index]


def cut_words(cuts: Sequence[Intervention]) -> tuple[str, ...]:
    """Return the words whose keys are cut."""
    return tuple(word for cut in cuts for word in cut.target.words)


def added_cuts(members: tuple[Member, Member]) -> tuple[Intervention, ...]:
    """Return what is cut of the model of a variant, and not of the baseline's.

    Args:
        members: a trace of the baseline, and that of the variant.
    """
    from attn.trace.store import read_manifest

    before, after = (read_manifest(of.folder).request.interventions for of in members)
    return tuple(cut for cut in after if cut not in before)


def rank_rows(rows: Sequence[dict[str, Any]], measure: str) -> list[dict[str, Any]]:
    """Return rows of cuts, where there are more than `FEW` the largest effect first."""
    effects = {row["cut"]: row["change"] for row in rows if row["measure"] == measure}
    if len(effects) <= FEW:
        return list(rows)
    return sorted(rows, key=lambda row: -effects[row["cut"]])


def effect_rows(
    label: str, words: Sequence[str], effects: Sequence[Mapping[str, Values]]
) -> Iterator[dict[str, Any]]:
    """Yield a row of each measure of a cut: its change, that of its controls, and the difference.

    Args:
        label: of the cut.
        words: whose keys are cut.
        effects: of the cut, then of its random controls: measures of each image.
    """
    cut_effects, *others = effects
    for name, values in cut_effects.items():
        images = [of for of in values if all(of in other.get(name, {}) for other in others)]
        cut = np.array([values[of] for of in images])
        least = 0.0 if name in UNSIGNED else -np.inf
        control = np.array([[other[name][of] for of in images] for other in others])
        yield {
            "cut": label,
            "word": " ".join(words),
            "measure": name,
            **interval("", cut, least),
            "controls": len(others),
            **interval("random_", control.mean(0) if others else cut * np.nan, least),
            **interval("difference_", cut - (control.mean(0) if others else np.nan)),
            "n": len(images),
        }


def interval(name: str, values: Numbers, least: float = -np.inf) -> dict[str, float]:
    """Return mean and 95 % interval, which begins at `least` or above, as columns."""
    from attn.analysis.compare.paired import paired_interval

    if not len(values) or np.isnan(values).all():
        return dict.fromkeys((f"{name}change", f"{name}low", f"{name}high"), float("nan"))
    low, high, _ = paired_interval(values[:, np.newaxis])
    ends = {f"{name}low": max(float(low[0]), least), f"{name}high": float(high[0])}
    return {f"{name}change": float(values.mean()), **ends}


def image_effects(variant: Variant) -> dict[str, Values]:
    """Return what is told of each picture of a variant without a word's map."""
    return measure(variant, {}) | shape_changes(variant, ())


def measure(variant: Variant, maps: Mapping[Image, Numbers]) -> dict[str, Values]:
    """Return the measures of each picture of a variant, by (prompt, seed, sample)."""
    values: dict[str, Values] = {LEVEL: {}}
    for image, difference in _differences(variant):
        values[LEVEL][image] = float(difference.mean())
        region = _region(maps.get(image))
        if region is None:
            continue
        inside, outside = _sides(difference, region)
        sides = {INSIDE: inside, OUTSIDE: outside, AIMED: inside - outside}
        for name, value in sides.items():
            values.setdefault(name, {})[image] = value
    return {name: of for name, of in values.items() if of}


def _differences(variant: Variant) -> Iterator[tuple[Image, Numbers]]:
    """Yield the absolute difference of each picture, (row, column), mean over channels."""
    from attn.analysis.compare.images import image_pairs
    from attn.trace.trace import open_trace

    for base, member in variant.all_members:
        pairs = image_pairs(open_trace(base.folder), open_trace(member.folder))
        for sample, (before, after) in enumerate(pairs):
            if before.shape == after.shape:
                levels = np.abs(before.astype(np.float64) - after).mean(-1)
                yield (base.prompt, base.seed, sample), levels


def _word_maps(variant: Variant, words: Sequence[str]) -> dict[Image, Numbers]:
    """Return the baseline's map of the words of each picture, (row, column)."""
    named = {key for word in words for key in word_keys(word)}
    maps = {}
    for pair in variant.pairs:
        at = [index for index, term in enumerate(pair.terms) if _is_of(pair, index, named)]
        if pair.coarse is not None and at:
            for sample, image in enumerate(pair.coarse[0][:, at].mean(1)):
                maps[pair.prompt, pair.seed, sample] = image
    return maps


def _is_of(pair: Pair, index: int, named: set[str]) -> bool:
    term = pair.terms[index]
    return term.kind == "word" and bool(named.intersection(word_keys(term.text)))


def _region(image: Numbers | None) -> Places | None:
    """Return where a map is above half of its range; None of a flat one."""
    if image is None or not np.isfinite(image).all() or image.max() == image.min():
        return None
    return np.asarray(image > image.min() + HALF * (image.max() - image.min()))


def _sides(difference: Numbers, region: Places) -> tuple[float, float]:
    from attn.analysis.compare.reading import regrid

    rows, columns = region.shape
    levels = regrid(difference[np.newaxis, np.newaxis], (rows, columns))[0, 0]
    return float(levels[region].mean()), float(levels[~region].mean())
