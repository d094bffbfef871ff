"""Both traces of a pair held against one drawing: the base's, or the variant's if it has none.

Definitions, beside those of `attn.analysis.sketch`:

- followed  of the strokes' pixels, the part that is near an edge of the image (`sketch.edges`); 0
            of an image without edges. 0 to 1.
- swapped   1 if two words look swapped in the image (`sketch.shapes.find_swapped`), else 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.images import read_image
from attn.analysis.numbers import Numbers
from attn.analysis.sketch import sketch
from attn.analysis.sketch.edges import measure_deviation
from attn.analysis.sketch.overlap import measure_mean
from attn.analysis.sketch.shapes import (
    ClosedShapes,
    find_shapes,
    find_swapped,
    measure_chance,
    measure_lifts,
)
from attn.analysis.sketch.strokes import lay_out, read_strokes
from attn.trace.words.occurrences import find_occurrences
from attn.words import find_words, fold

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import Pair
    from attn.shapes import Strokes
    from attn.trace.trace import Trace

FOLLOWED = ("followed", "swapped")
"""What is measured of an image and the drawing."""


def with_drawing(pair: Pair, *traces: Trace) -> Pair:
    """Return a pair with what both sides have of the drawing; the same without one, or maps."""
    drawings = [read_strokes(trace) for trace in traces if trace.sketch()]
    if not drawings or pair.base.maps is None or pair.variant.maps is None:
        return pair
    strokes = next((drawing for drawing in drawings if drawing.any()), None)
    if strokes is None:
        return _with_note(pair, sketch.NO_STROKES)
    rows, columns = pair.base.maps.shape[-2:]
    drawn, shapes = lay_out(strokes, (rows, columns)), find_shapes(strokes, (rows, columns))
    maps = np.stack([pair.base.maps, pair.variant.maps])
    measured = [measure_mean(side[:, np.newaxis], drawn) for side in maps]
    overlap = np.stack(
        [np.stack([measures[name] for name in sketch.COMPARED], -1) for measures in measured]
    )
    followed = np.stack([[*_follow(trace, strokes)] for trace in traces])
    swapped = np.full_like(followed, np.nan)
    if shapes.names:
        lifts = np.stack([measure_lifts(side, shapes) for side in maps])
        pair = replace(pair, closed=shapes.names, lifts=lifts)
        swapped = np.stack([[*_swap(pair, side, shapes)] for side in maps])
    pair = replace(pair, overlap=overlap, followed=np.stack([followed, swapped], -1))
    return pair if drawn.inside.any() else _with_note(pair, sketch.NO_SHAPES)


def _follow(trace: Trace, strokes: Strokes) -> Iterator[float]:
    """Yield which part of the strokes each image follows; NaN without an image of their size."""
    for sample in range(trace.manifest.samples):
        image = read_image(trace, sample)
        if image is None or image.shape[:2] != strokes.shape:
            yield np.nan
        else:
            deviation = measure_deviation(strokes, image)
            yield 0.0 if deviation is None else deviation.followed


def _swap(pair: Pair, maps: Numbers, shapes: ClosedShapes) -> Iterator[float]:
    """Yield, of each sample, whether two words look swapped."""
    segment = next(term.segment for term in pair.terms if term.kind == "word")
    keys = [term.key for term in pair.terms]
    words = [
        word
        for word in find_occurrences(find_words(pair.prompt))
        if (segment, "word", fold(word.text), word.number) in keys
    ]
    at = [keys.index((segment, "word", fold(word.text), word.number)) for word in words]
    told = maps[:, at]
    for both in zip(measure_lifts(told, shapes), measure_chance(told, shapes), strict=True):
        yield float(bool(find_swapped(pair.prompt, words, *both, shapes.names)))


def _with_note(pair: Pair, note: str) -> Pair:
    notes = (*pair.agreement.notes, note)
    return replace(pair, agreement=replace(pair.agreement, notes=notes))
