"""What the words of a prompt read, in models whose text reads too: the picture, and each other.

Definitions, for a word `v` with the tokens `T(v)` in one text segment; means are over layers, steps
and heads, all of one weight, and over the word's tokens, each of which has one attention to give:

- text_to_image   R_v[row, column] = mean over t in T(v) of probs[t, key at row, column] of
                  `text.image`; probability, 0 to 1. The sum over the map is the part of the word's
                  attention that goes to the picture, `to_image`.
- text_to_text    M[v, u] = mean over t in T(v) of Σ over the tokens of u, in all text segments, of
                  probs[t, key] of `text.text`; probability, 0 to 1. `other text` is the sum over
                  all text keys but these words' (special tokens, padding, punctuation, words that
                  were not asked for), `not text` what is left of 1: the picture.

They say what a word takes in on its way through the model, not what it is used for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.needs import Needs
from attn.analysis.result import Result
from attn.analysis.tables import Table, make_table
from attn.analysis.words.selection import Scope, Selection, choose
from attn.schema import Layer, Manifest
from attn.shapes import GroupKeys, QueryWeights
from attn.trace.measures.axes import all_rows
from attn.trace.rows import RowMeans, lay_images, read_rows
from attn.trace.words.occurrences import Occurrence
from attn.trace.words.sums import TokenPosition, lay_out, sum_tokens, word_positions
from attn.wording import count_noun

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

TO_IMAGE, TO_TEXT = "text.image", "text.text"
IMAGE_NEEDS, TEXT_NEEDS = (
    Needs(segments=("image",), measures=(f"map.{block}",), words=True, by_block=True)
    for block in (TO_IMAGE, TO_TEXT)
)
OTHERS = ("other text", "not text")
"""What a word reads beside the words."""
READERS, PAIRS = "text_to_image/readers.csv", "text_to_text/pairs.csv"


class ReadersOptions(Scope):
    """What to look at."""


def run_to_image(trace: Trace, options: Scope) -> Result:
    """Lay out what each word reads of the picture.

    Returns:
        `text_to_image/readers.csv`, a row per sample, segment, image and word; to draw, the maps
        (sample, word, row, column) by `<segment>`, or `<segment>-<image>` where there are several.

    Raises:
        AnalysisError: a word, layer, step or branch is not there.
    """
    selection = choose(trace, options, TO_IMAGE)
    tables: list[Table] = []
    arrays: dict[str, xr.DataArray] = {}
    for segment, words, rows in _read(trace, selection, TO_IMAGE):
        images = lay_images(rows)
        for image, maps in images.items():
            tables.append(_tabulate_maps(segment, image, words, maps))
            name = segment if len(images) == 1 else f"{segment}-{image}"
            arrays[name] = _label(maps, ("row", "column"), words, rows, selection)
    return _result(READERS, tables, arrays)


def run_to_text(trace: Trace, options: Scope) -> Result:
    """Lay out what each word reads of the others.

    Returns:
        `text_to_text/pairs.csv`, a row per sample, segment, word and what it reads; to draw, the
        matrices (sample, word, read) by segment.

    Raises:
        AnalysisError: a word, layer, step or branch is not there.
    """
    selection = choose(trace, options, TO_TEXT)
    tables: list[Table] = []
    arrays: dict[str, xr.DataArray] = {}
    for segment, words, rows in _read(trace, selection, TO_TEXT):
        matrix = _mean_matrix(rows, word_positions(words, selection.tokens))
        labels = [*(word.label for word in words), *OTHERS]
        tables.append(_tabulate_pairs(segment, words, labels, matrix))
        array = _label(matrix, ("read",), words, rows, selection)
        arrays[segment] = array.assign_coords(read=labels)
    return _result(PAIRS, tables, arrays)


def _result(path: str, tables: Sequence[Table], arrays: dict[str, xr.DataArray]) -> Result:
    if not tables:
        return Result({}, notes=("no text segment of these layers has a token of the words",))
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return Result({path: make_table(joined)}, arrays)


def _read(
    trace: Trace, selection: Selection, block: str
) -> Iterator[tuple[str, list[Occurrence], list[RowMeans]]]:
    """Yield, for each text segment, its words and what they read."""
    steps = selection.steps if len(selection.steps) < len(trace.steps) else None
    for segment in dict.fromkeys(token.segment for token in selection.tokens):
        positions = word_positions(selection.words, selection.tokens, segment)
        words = [word for word, own in zip(selection.words, positions, strict=True) if own]
        having = [own for own in positions if own]
        if having:
            weigh = _weigher(trace.manifest, block, having)
            rows = read_rows(trace, block, selection.layers, steps, selection.branch, weigh)
            yield segment, words, rows


def _weigher(
    manifest: Manifest, block: str, groups: Sequence[Sequence[TokenPosition]]
) -> Callable[[Layer], QueryWeights]:
    """Return what gives each token of a word an equal part."""

    def weigh(layer: Layer) -> QueryWeights:
        members = lay_out(all_rows(manifest, layer, block), groups)
        return np.asarray(members / np.maximum(members.sum(0), 1))

    return weigh


def _mean_matrix(
    rows: Sequence[RowMeans], positions: Sequence[Sequence[TokenPosition]]
) -> GroupKeys:
    """Return (sample, word, read): words, other text, and what is not text."""
    parts = []
    for mean in rows:
        words = sum_tokens(mean.values, lay_out(mean.columns, positions))
        text = mean.values.sum(-1)
        others = np.stack([text - np.nansum(words, -1), 1 - text], -1)
        parts.append(np.concatenate([words, others], -1))
    weights = [float(mean.count.sum()) for mean in rows]
    return np.asarray(np.average(np.stack(parts), axis=0, weights=weights), np.float64)


def _tabulate_maps(
    segment: str, image: str, words: Sequence[Occurrence], maps: np.ndarray
) -> Table:
    """Return how much of its attention each word gives to an image, and to which place most."""
    flat = maps.reshape(*maps.shape[:2], -1)
    row, column = np.unravel_index(flat.argmax(-1), maps.shape[2:])
    return _rows(segment, words, maps.shape[0]) | {
        "image": np.full(flat.shape[0] * flat.shape[1], image, object),
        "to_image": flat.sum(-1).ravel(),
        "peak": flat.max(-1).ravel(),
        "peak_row": ((row + 0.5) / maps.shape[2]).ravel(),
        "peak_column": ((column + 0.5) / maps.shape[3]).ravel(),
    }


def _tabulate_pairs(
    segment: str, words: Sequence[Occurrence], labels: Sequence[str], matrix: np.ndarray
) -> Table:
    """Return a row for each word and what it reads."""
    repeated = {
        name: np.repeat(column, len(labels))
        for name, column in _rows(segment, words, len(matrix)).items()
    }
    reads = np.tile(np.array(labels, object), len(matrix) * len(words))
    return repeated | {"reads": reads, "attention": matrix.ravel()}


def _rows(segment: str, words: Sequence[Occurrence], samples: int) -> Table:
    """Return the columns that name sample, segment and word."""
    sample, word = np.indices((samples, len(words))).reshape(2, -1)
    return {
        "sample": sample,
        "segment": np.full(sample.size, segment, object),
        "word": np.array([each.text for each in words], object)[word],
        "occurrence": np.array([each.number for each in words])[word],
    }


def _label(
    values: np.ndarray,
    axes: tuple[str, ...],
    words: Sequence[Occurrence],
    rows: Sequence[RowMeans],
    selection: Selection,
) -> xr.DataArray:
    """Name the axes; `attrs` say what is averaged."""
    import xarray as xr

    layers = sorted({layer for mean in rows for layer in mean.layers})
    averaged = f"{count_noun(len(layers), 'layer')}, {count_noun(len(selection.steps), 'step')}"
    return xr.DataArray(
        values,
        {"word": [word.index for word in words], "label": ("word", [word.label for word in words])},
        ("sample", "word", *axes),
        attrs={
            "branch": selection.branch,
            "layers": layers,
            "steps": list(selection.steps),
            "unit": f"attention probability, mean over {averaged} and all heads",
        },
    )
