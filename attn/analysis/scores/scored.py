"""The scores of the maps of a trace, in every pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.needs import is_video
from attn.analysis.numbers import Numbers
from attn.analysis.scores.localise import DAAM, THRESHOLDS, daam_overlap, score
from attn.analysis.scores.poolings import (
    CENTRE,
    MEAN,
    WHOLE,
    Pooling,
    list_poolings,
    word_heats,
)
from attn.analysis.scores.regions import WordRegion, centre_blob, coarsen, whole_picture
from attn.analysis.scores.segmentation import Tally, segment
from attn.errors import AnalysisError
from attn.schema import Plane

if TYPE_CHECKING:
    from attn.trace.trace import Trace

WITH_DAAM = (MEAN, "daam", WHOLE, CENTRE)
"""Poolings whose maps are large enough in number to be laid out in pixels, for DAAM's overlap."""


@dataclass(frozen=True, eq=False)
class MapScore:
    """How well one map of one word finds its region.

    Attributes:
        segment: whose tokens; empty for maps that know nothing, which have none.
        role: class of the word.
        word: the word.
        pooling: of the map.
        area: part of the grid that the region covers, which is what chance scores.
        scores: by name, see `localise`.
        tally: of the protocol of segmentation; None of a mask that fills the picture there.
    """

    segment: str
    role: str
    word: str
    pooling: Pooling
    area: float
    scores: Mapping[str, float]
    tally: Tally | None


def score_trace(
    trace: Trace,
    targets: Mapping[int, Sequence[WordRegion]],
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[int, list[MapScore]]:
    """Score the maps of words in every pooling that the trace holds.

    Args:
        trace: of one prompt; single heads are scored if it was kept with level `heads`.
        targets: words of that prompt, by sample.
        thresholds: of the overlaps, 0 to 1.

    Returns:
        By sample; first what the maps reach that know nothing.

    Raises:
        AnalysisError: a target is no word of the prompt, no layer has maps, or it is a video.
    """
    if is_video(trace.manifest):
        raise AnalysisError(
            f"{trace.folder} is a video, whose maps are by frame, and regions are of pictures: "
            "score pictures, or capture with --frames 1"
        )
    names = list(dict.fromkeys(target.word for of in targets.values() for target in of))
    scored: dict[int, list[MapScore]] = {sample: [] for sample in targets}
    score_map = _scorer(thresholds)
    for pooling, maps in list_poolings(trace):
        if pooling.name == MEAN:
            grid = maps.values.shape[1], maps.values.shape[2]
            for sample, listed in targets.items():
                scored[sample] += _baselines(listed, grid, score_map)
        for name, heats in word_heats(trace, maps, names, pooling.name).items():
            for sample, listed in targets.items():
                at = [names.index(target.word) for target in listed]
                scored[sample] += [
                    row
                    for target, heat in zip(listed, heats[at, sample], strict=True)
                    if (row := score_map(name, pooling, target, heat)) is not None
                ]
    return scored


ScoreMap = Callable[[str, Pooling, WordRegion, Numbers], MapScore | None]


def _scorer(thresholds: Sequence[float]) -> ScoreMap:
    """Return what scores one map; None for a word without tokens, or a region that fills the grid.

    Regions are laid out on each grid once.
    """
    coarse = cache(lambda target, grid: coarsen(target.region, grid))

    def score_map(
        segment_name: str, pooling: Pooling, target: WordRegion, heat: Numbers
    ) -> MapScore | None:
        region = coarse(target, heat.shape)
        if region.all() or not np.isfinite(heat).all():
            return None
        scores = dict(score(heat, region, thresholds))
        if pooling.name in WITH_DAAM:
            scores[DAAM] = daam_overlap(heat, target.region)
        try:
            tally = segment(heat, target.region)
        except AnalysisError:  # said of the mask, by whoever brought it
            tally = None
        area = float(region.mean())
        return MapScore(segment_name, target.role, target.word, pooling, area, scores, tally)

    return score_map


def _baselines(
    targets: Sequence[WordRegion], grid: Plane, score_map: ScoreMap
) -> Iterator[MapScore]:
    for name, baseline in ((WHOLE, whole_picture), (CENTRE, centre_blob)):
        for target in targets:
            row = score_map("", Pooling(name), target, baseline(grid))
            if row is not None:
                yield row
