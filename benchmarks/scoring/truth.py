"""Score word heatmaps where the truth is known: on pictures of the shapes world.

The truth is what the model painted, not what it was asked for: the object of the asked colour is
looked for in the generated picture, and its words are scored on the place where it is. Objects that
are not there have no score.

Classes of words:

- color, shape       the two words of an object, on the same region: all of that object
- background color   the word before "background", on everything that is no object
- background         that word itself, on the same region

Poolings, each a way to make one heatmap of a word from many:

- default            as the analysis `words`: mean over layers, steps and heads, on the finest grid
- steps              the same of a third of the steps: "first", "middle", "last"
- layer              mean over steps and heads of one layer, on its own grid
- head               mean over steps of one head
- whole picture, centre   the silly baselines of `localise`, which know nothing of the word
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from attn.analysis.numbers import Numbers
from attn.analysis.tables import make_frame
from attn.analysis.words.select import select_layers
from attn.analysis.words.selection import BLOCK
from attn.demo import scenes
from attn.errors import AnalysisError
from attn.schema import Column
from attn.trace.words.occurrences import find_occurrences, select_words
from attn.trace.words.sums import lay_out, sum_tokens, word_positions
from benchmarks.scoring import judge
from benchmarks.scoring.localise import (
    Region,
    Score,
    bootstrap,
    centre_blob,
    coarsen,
    score,
    whole_picture,
)

if TYPE_CHECKING:
    import xarray as xr

    from attn.schema import Layer
    from attn.trace.trace import Trace

PARTS = ("first", "middle", "last")
MEASURES = ("pointing", "iou", "precision")


@dataclass(frozen=True, eq=False)
class Target:
    """A word, and where what it names is.

    Attributes:
        word: as in the prompt.
        role: its class.
        region: (row, column) of the picture.
    """

    word: str
    role: str
    region: Region


@dataclass(frozen=True)
class Pooling:
    """What a heatmap is a mean of; see the module's page for the names."""

    name: str
    layer: int | None = None
    head: int | None = None
    steps: str = ""


@dataclass(frozen=True)
class Row:
    """How well one heatmap of one word finds its region.

    Attributes:
        segment: whose tokens; empty for baselines, which have none.
        role: class of the word.
        word: the word.
        pooling: of the heatmap.
        area: part of the grid that the region covers, which is what chance scores.
        score: what the heatmap scores.
    """

    segment: str
    role: str
    word: str
    pooling: Pooling
    area: float
    score: Score


def find_targets(content: scenes.Content, found: judge.Picture) -> tuple[Target, ...]:
    """Pair the words of a caption with what the picture shows of them.

    Args:
        content: what was asked for.
        found: what the model painted.

    Returns:
        Nothing for objects whose colour is not there, nothing for another background.
    """
    targets = []
    for kind in content.kinds:
        thing = judge.match(kind, found)
        if thing is not None:
            targets.append(Target(kind.color, "color", thing.mask))
            targets.append(Target(kind.shape, "shape", thing.mask))
    if found.background == content.background and found.objects:
        rest = ~np.any([thing.mask for thing in found.objects], axis=0)
        targets.append(Target(content.background, "background color", rest))
        targets.append(Target("background", "background", rest))
    return tuple(targets)


def score_trace(trace: Trace, targets: Sequence[Target], *, sample: int = 0) -> list[Row]:
    """Score the heatmaps of words in every pooling that the trace holds.

    Args:
        trace: of one prompt; single heads are scored if it was kept with level `heads`.
        targets: words of that prompt; each stands there once.
        sample: the picture on which the targets were found.

    Raises:
        AnalysisError: a target is no word of the prompt.
    """
    rows: list[Row] = []
    for pooling, maps in _poolings(trace, sample):
        if pooling.name == "default":
            rows += _score_baselines(targets, (maps.sizes["row"], maps.sizes["column"]))
        for segment, heats in _word_heats(trace, maps, targets).items():
            rows += _score(segment, pooling, targets, heats)
    return rows


def summarise(pictures: Sequence[Sequence[Row]]) -> DataFrame:
    """Average over pictures, with bootstrap intervals of 95 %.

    A picture with several words of a class counts once, with their mean.

    Args:
        pictures: the rows of each picture.

    Returns:
        One row per class, pooling and measure. `layer`, `head` and `steps` are empty where a
        pooling is a mean over all; `chance` is the mean area of the regions, `n` the number of
        pictures.

    Raises:
        AnalysisError: there is no row.
    """
    groups: dict[tuple[str, str, Pooling], list[Numbers]] = {}
    for rows in pictures:
        own: dict[tuple[str, str, Pooling], list[tuple[float, ...]]] = {}
        for row in rows:
            values = (row.area, *astuple(row.score))
            own.setdefault((row.segment, row.role, row.pooling), []).append(values)
        for key, listed in own.items():
            groups.setdefault(key, []).append(np.mean(listed, axis=0))
    if not groups:
        raise AnalysisError("no picture shows anything that was asked for: nothing to be scored")
    return _tabulate({key: np.array(values) for key, values in groups.items()})


def _poolings(trace: Trace, sample: int) -> Iterator[tuple[Pooling, xr.DataArray]]:
    """Yield every pooling with its maps, (row, column, key); the default first."""
    branch = trace.branches[0]
    kept = set(trace.manifest.kept.layers)
    captured = [layer for layer in trace.layers if layer.index in kept and BLOCK in layer.blocks]
    layers = select_layers(captured, ())
    mean = partial(
        trace.mean_maps,
        BLOCK,
        layers=[layer.index for layer in layers],
        branch=branch,
        sample=sample,
    )
    yield Pooling("default"), mean()
    steps = [step.index for step in trace.steps]
    for part, indices in zip(PARTS, np.array_split(steps, len(PARTS)), strict=True):
        if indices.size:
            yield Pooling("steps", steps=part), mean(steps=indices.tolist())
    for layer in layers:
        yield from _layer_poolings(trace, layer, {"branch": branch, "sample": sample})


def _layer_poolings(
    trace: Trace, layer: Layer, cell: Mapping[str, object]
) -> Iterator[tuple[Pooling, xr.DataArray]]:
    if trace.manifest.kept.level != "heads":
        yield Pooling("layer", layer.index), trace.maps(layer.index, BLOCK).sel(cell).mean("step")
        return
    heads = trace.headmaps(layer.index, BLOCK).sel(cell).mean("step")
    yield Pooling("layer", layer.index), heads.mean("head")
    for head in range(heads.sizes["head"]):
        yield Pooling("head", layer.index, head), heads.isel(head=head)


def _word_heats(
    trace: Trace, maps: xr.DataArray, targets: Sequence[Target]
) -> dict[str, list[Numbers]]:
    """Return one heatmap per target, (row, column), by segment."""
    prompt = find_occurrences(trace.words)
    words = [select_words(prompt, [target.word])[0] for target in targets]
    tokens = trace.tokens(trace.branches[0])
    ordered = maps.transpose("row", "column", "key")
    labels = zip(ordered["segment"].values, ordered["position"].values.tolist(), strict=True)
    columns = [Column(name, position if position >= 0 else None) for name, position in labels]
    heats = {}
    for segment in dict.fromkeys(token.segment for token in tokens if token.word is not None):
        members = lay_out(columns, word_positions(words, tokens, segment))
        sums = sum_tokens(ordered.values, members)
        heats[segment] = list(np.moveaxis(sums, -1, 0))
    return heats


def _score(
    segment: str, pooling: Pooling, targets: Sequence[Target], heats: Sequence[Numbers]
) -> Iterator[Row]:
    """Yield a row per target; none for a word without token, or a region that fills the grid."""
    for target, heat in zip(targets, heats, strict=True):
        region = coarsen(target.region, (heat.shape[0], heat.shape[1]))
        if not region.all() and np.isfinite(heat).all():
            area = float(region.mean())
            yield Row(segment, target.role, target.word, pooling, area, score(heat, region))


def _score_baselines(targets: Sequence[Target], grid: tuple[int, int]) -> Iterator[Row]:
    for name, baseline in (("whole picture", whole_picture), ("centre", centre_blob)):
        yield from _score("", Pooling(name), targets, [baseline(grid)] * len(targets))


def _tabulate(groups: dict[tuple[str, str, Pooling], Numbers]) -> DataFrame:
    """Lay out means and intervals; of every group (picture, area and measures)."""
    lines = [
        (segment, role, pooling, measure, bootstrap(values[:, 1 + index]), values[:, 0].mean())
        for (segment, role, pooling), values in groups.items()
        for index, measure in enumerate(MEASURES)
    ]
    segments, roles, poolings, measures, intervals, chances = zip(*lines, strict=True)
    return make_frame(
        {
            "segment": _texts(segments),
            "class": _texts(roles),
            "pooling": _texts([pooling.name for pooling in poolings]),
            "layer": _numbers([pooling.layer for pooling in poolings]),
            "head": _numbers([pooling.head for pooling in poolings]),
            "steps": _texts([pooling.steps for pooling in poolings]),
            "measure": _texts(measures),
            "mean": np.array([interval.mean for interval in intervals]),
            "low": np.array([interval.low for interval in intervals]),
            "high": np.array([interval.high for interval in intervals]),
            "chance": np.array(chances),
            "n": np.array([interval.n for interval in intervals]),
        }
    )


def _texts(values: Sequence[str]) -> NDArray[np.object_]:
    return np.array(values, object)


def _numbers(values: Sequence[int | None]) -> Numbers:
    return np.array([np.nan if value is None else value for value in values], np.float64)
