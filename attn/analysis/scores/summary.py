"""Tables of scores over pictures, beside chance and the centre of the picture.

A picture with several words of a class counts once, with their mean. The class `mean of classes`
is the mean of the classes' means, as the pointing game is published. `chance` is the mean area of
the regions, `centre` what a blob in the middle of the picture reaches; `gain` is how much more the
map reaches than that blob, picture by picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.scores.intervals import Estimates, Statistic, estimate, mean_of
from attn.analysis.scores.poolings import CENTRE, WHOLE, Pooling
from attn.analysis.scores.scored import MapScore
from attn.analysis.scores.segmentation import COUNTS, MEASURES, Tally
from attn.analysis.tables import Table, make_table
from attn.errors import AnalysisError

CLASSES = "mean of classes"
"""The class that is all of them."""
EVERY = "all words"
"""The class of the protocol of segmentation, which adds all pixels up."""

Pictures = Sequence[Sequence[MapScore]]
Group = tuple[str, Pooling]
"""Segment and pooling."""


def summarise(pictures: Pictures) -> Table:
    """Return a row per segment, class, pooling and score.

    Args:
        pictures: the scores of each picture, of the same measures.

    Raises:
        AnalysisError: there is no score.
    """
    measures = list(dict.fromkeys(name for of in pictures for row in of for name in row.scores))
    roles = list(dict.fromkeys(row.role for of in pictures for row in of))
    grouped = _by_group(pictures)
    if not grouped:
        raise AnalysisError("no picture shows anything that was asked for: nothing to be scored")
    nothing: list[list[MapScore]] = [[] for _ in pictures]
    centre = _values(grouped.get(("", Pooling(CENTRE)), nothing), roles, measures)
    rows: list[dict[str, Any]] = []
    for (segment, pooling), scores in grouped.items():
        values = _values(scores, roles, measures)
        areas = mean_present(_values(scores, roles, ()), 0)[:, 0]
        means = estimate(_with_mean(values), len(values))
        gains = estimate(_with_mean(values - centre), len(values))
        chance = np.append(areas, mean_present(areas, 0))
        counts = (~np.isnan(values)).sum(0)
        counts = np.concatenate([counts, (~np.isnan(values)).any(1).sum(0)[np.newaxis]])
        middle = _with_mean(centre)(np.ones((1, len(centre))))[0]
        rows += [
            {
                **_labels(segment, [*roles, CLASSES][role], pooling),
                "measure": measures[at],
                **_cells((role, at), means, gains, float(chance[role]), float(middle[role, at])),
                "n": int(counts[role, at]),
            }
            for role, at in np.ndindex(*counts.shape)
            if counts[role, at]
        ]
    return _table(rows)


def summarise_segmentation(pictures: Pictures) -> Table:
    """Return a row per segment, pooling and measure of the protocol of `segmentation`.

    Args:
        pictures: the scores of each picture.
    """
    grouped = _by_group(pictures)
    nothing: list[list[MapScore]] = [[] for _ in pictures]
    flat, centre = (_sums(grouped.get(("", Pooling(name)), nothing)) for name in (WHOLE, CENTRE))
    rows: list[dict[str, Any]] = []
    for (segment, pooling), scores in grouped.items():
        sums = _sums(scores)
        has = sums[:, -1] > 0
        count = int(has.sum())
        if not count:
            continue
        kept, blob = sums[has], centre[has]
        means = estimate(_micro(kept), count)
        gains = estimate(_micro_gain(kept, blob), count)
        even = np.ones((1, count))
        chance, middle = _micro(flat[has])(even)[0], _micro(blob)(even)[0]
        rows += [
            {
                **_labels(segment, EVERY, pooling),
                "measure": measure,
                **_cells((at,), means, gains, float(chance[at]), float(middle[at])),
                "n": count,
            }
            for at, measure in enumerate(MEASURES)
        ]
    return _table(rows)


def _by_group(pictures: Pictures) -> dict[Group, list[list[MapScore]]]:
    """Return the scores of each picture by segment and pooling; a picture may have none."""
    grouped: dict[Group, list[list[MapScore]]] = {}
    for picture, rows in enumerate(pictures):
        for row in rows:
            group = grouped.setdefault((row.segment, row.pooling), [[] for _ in pictures])
            group[picture].append(row)
    return grouped


def _values(
    pictures: Sequence[Sequence[MapScore]], roles: Sequence[str], measures: Sequence[str]
) -> Numbers:
    """Return (picture, role, measure), means over words; NaN for what a picture lacks.

    Without measures, the areas.
    """
    values = np.full((len(pictures), len(roles), len(measures) or 1), np.nan)
    for picture, rows in enumerate(pictures):
        for at, role in enumerate(roles):
            listed = [
                [row.scores.get(name, np.nan) for name in measures] or [row.area]
                for row in rows
                if row.role == role
            ]
            if listed:
                values[picture, at] = np.mean(listed, 0)
    return values


def _with_mean(values: Numbers) -> Statistic:
    """Return the statistic of (picture, role, measure): means of roles, then the mean of these."""
    pictures, roles, measures = values.shape
    of_cells = mean_of(values.reshape(pictures, roles * measures))

    def statistic(weights: Numbers) -> Numbers:
        means = of_cells(weights).reshape(len(weights), roles, measures)
        return np.concatenate([means, mean_present(means, 1)[:, np.newaxis]], 1)

    return statistic


def _sums(pictures: Sequence[Sequence[MapScore]]) -> Numbers:
    """Return (picture, count) of the protocol of segmentation; 0 where a picture has none."""
    sums = np.zeros((len(pictures), COUNTS))
    for picture, rows in enumerate(pictures):
        for row in rows:
            sums[picture] += 0 if row.tally is None else row.tally.counts
    return sums


def _micro(sums: Numbers) -> Statistic:
    """Return the statistic that adds up before it divides."""
    return lambda weights: Tally(weights @ sums).measures()


def _micro_gain(sums: Numbers, others: Numbers) -> Statistic:
    """Return how much more the first reach than the others."""
    return lambda weights: _micro(sums)(weights) - _micro(others)(weights)


def _labels(segment: str, role: str, pooling: Pooling) -> dict[str, Any]:
    numbers = {"layer": pooling.layer, "head": pooling.head, "step": pooling.step}
    cells = {name: np.nan if number is None else number for name, number in numbers.items()}
    return {"segment": segment, "class": role, "pooling": pooling.name, **cells}


def _cells(
    at: tuple[int, ...], means: Estimates, gains: Estimates, chance: float, centre: float
) -> Mapping[str, float]:
    return {
        "mean": float(means.mean[at]),
        "low": float(means.low[at]),
        "high": float(means.high[at]),
        "chance": chance,
        "centre": centre,
        "gain": float(gains.mean[at]),
        "gain_low": float(gains.low[at]),
        "gain_high": float(gains.high[at]),
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    return make_table({name: [row[name] for row in rows] for name in rows[0]} if rows else {})


def find_rows(table: Table, **cells: object) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table that have these cells, as dictionaries."""
    selected = np.ones(len(next(iter(table.values()))), bool)
    for name, value in cells.items():
        selected &= np.asarray([cell == value for cell in table[name]], bool)
    for row in np.flatnonzero(selected):
        yield {name: column[row] for name, column in table.items()}
