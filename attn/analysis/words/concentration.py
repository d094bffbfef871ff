"""How concentrated words' maps are, layer by layer and head by head, and follow the picture.

Definitions are those of `focus`. Layers and heads are measured on the mean over steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.analysis.needs import Needs
from attn.analysis.numbers import mean_present
from attn.analysis.result import Result
from attn.analysis.tables import Table, make_table
from attn.analysis.words.focus import Pictures, lay_out_words, read_pictures, word_focus
from attn.analysis.words.maps import daam
from attn.analysis.words.selection import BLOCK, Scope, Selection, choose, note_frames
from attn.errors import AnalysisError
from attn.schema import Layer, name_layers
from attn.trace.means import MeanMaps, average, image_views
from attn.trace.words.sums import TOGETHER
from attn.words import is_content

if TYPE_CHECKING:
    from attn.trace.trace import Trace

NEEDS = Needs(segments=("image", "text"), measures=(f"map.{BLOCK}",), words=True)
WORDS, LAYERS = "concentration/words.csv", "concentration/layers.csv"
ALL = "mean"
"""Stands for all layers, and for all heads."""


@dataclass(frozen=True)
class ConcentrationOptions(Scope):
    """What to look at."""

    heads: bool = field(default=False, metadata={"help": "single heads, too, where they were kept"})


def run(trace: Trace, options: ConcentrationOptions) -> Result:
    """Measure the maps of words.

    Returns:
        `concentration/words.csv`, a row per segment, layer, head, sample and word, and
        `concentration/layers.csv`, the mean over samples and content words.

    Raises:
        AnalysisError: a word, layer, step or branch is not there, or no word has a map.
    """
    selection = choose(trace, options)
    many = len(selection.text.segments) > 1
    segments = [*selection.text.segments, *([TOGETHER] if many else [])]
    pictures = read_pictures(trace, BLOCK, selection.layers)
    rows = [
        {"segment": segment, "layer": layer, "head": head} | row
        for layer, head, means in _means(trace, selection, options)
        for segment in segments
        for row in _rows(means, selection, segment, pictures)
    ]
    if not rows:
        raise AnalysisError("no captured layer reads a token of the prompt's words")
    names = name_layers(trace.layers)
    layers = _summarise(rows)
    return Result(
        {WORDS: _table(rows), LAYERS: _table(layers)},
        notes=(*_tell(layers, names, segments[-1]), *note_frames(selection.layers)),
    )


def _means(
    trace: Trace, selection: Selection, options: ConcentrationOptions
) -> Iterator[tuple[int | str, int | str, MeanMaps]]:
    """Yield the mean over all layers, then each layer, then each of its heads."""
    steps = selection.steps if options.steps else None
    yield ALL, ALL, average(trace, BLOCK, selection.layers, steps, selection.branch)
    for layer in selection.layers:
        yield layer.index, ALL, average(trace, BLOCK, [layer], steps, selection.branch)
        if options.heads and trace.manifest.kept.level == "heads":
            yield from _heads(trace, layer, steps, selection.branch)


def _heads(
    trace: Trace, layer: Layer, steps: Sequence[int] | None, branch: str
) -> Iterator[tuple[int, int, MeanMaps]]:
    view = image_views(trace, BLOCK, [layer], "headmap")[0]
    heads = daam.head_means(view, steps, trace.branches.index(branch))
    for head in range(0 if heads is None else heads.shape[1]):
        maps = np.asarray(heads)[:, head]
        yield layer.index, head, MeanMaps(maps, view.columns, (layer.index,))


def _rows(
    means: MeanMaps, selection: Selection, segment: str, pictures: Pictures
) -> Iterator[dict[str, Any]]:
    members = lay_out_words(means.columns, selection.text, segment)
    measured = word_focus(means, members, pictures)
    for sample in range(len(measured.focus)):
        for word in selection.words:
            if not np.isnan(measured.concentration[sample, word.index]):
                yield {
                    "sample": sample,
                    "word": word.text,
                    "occurrence": word.number,
                    "concentration": float(measured.concentration[sample, word.index]),
                    "follows": float(measured.follows[sample, word.index]),
                    "focus": float(measured.focus[sample, word.index]),
                }


def _summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return means over samples and content words, or all if none does."""
    telling = [row for row in rows if is_content(row["word"])] or list(rows)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in telling:
        groups.setdefault((row["segment"], row["layer"], row["head"]), []).append(row)
    values = ("concentration", "follows", "focus")
    return [
        dict(zip(("segment", "layer", "head"), group, strict=True))
        | {name: float(mean_present(np.array([of[name] for of in listed]), 0)) for name in values}
        for group, listed in groups.items()
    ]


def _tell(layers: Sequence[dict[str, Any]], names: dict[int, str], segment: str) -> Iterator[str]:
    """Say which layer is best, and how the mean over layers compares."""
    rows = [row for row in layers if row["segment"] == segment and row["head"] == ALL]
    known = [row for row in rows if row["layer"] != ALL and not np.isnan(row["focus"])]
    if known:
        best = max(known, key=lambda row: row["focus"])
        mean = next((row["focus"] for row in rows if row["layer"] == ALL), np.nan)
        yield (
            f"of {len(known)} layers the maps of {names[best['layer']]} follow the image most "
            f"clearly: focus {best['focus']:.3g}, that of the mean of all {mean:.3g}"
        )


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    mixed = ("layer", "head")  # numbers, and `mean`
    return make_table(
        {
            name: np.array([row[name] for row in rows], object if name in mixed else None)
            for name in rows[0]
        }
    )
