"""The tables of a comparison, from pairs of traces; what they mean is in docs/compare.md."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from attn.analysis.compare.changes import (
    TermChange,
    Words,
    by_size,
    changes,
    coarse_grid,
    competing,
    dominant,
    has_layers,
    has_maps,
    has_steps,
    heads,
    lifted,
    located,
    mass,
    mass_steps,
    named,
    overall,
    overlap_sides,
    share,
    share_steps,
    similar,
    sink_changes,
)
from attn.analysis.compare.drawings import FOLLOWED
from attn.analysis.compare.images import IMAGE_MEASURES, image_interval
from attn.analysis.compare.paired import PairedChange, paired_change, paired_interval
from attn.analysis.compare.pairs import Pair
from attn.analysis.compare.spool import kinds
from attn.analysis.compare.terms import Term
from attn.analysis.numbers import mean_present
from attn.analysis.sketch.sketch import COMPARED
from attn.analysis.tables import Columns, LongTable, Table, count_rows, make_table, stack_tables
from attn.analysis.words.maps.similarity import MEASURES

Tables = dict[str, Columns]

ALL = "mean"
"""In the columns `layer`, `head` and `step`: the mean over all of them."""


def word_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return mass and share of each word and phrase, the largest change first, and by pair."""
    tables = {
        f"{name}.csv": _rows(by_size(changes(pairs, overall(measure), words)))
        for name, measure in (("mass", mass), ("share", share))
    }
    return tables | {"mass_pairs.csv": LongTable(partial(_mass_rows, pairs, words))}


def layer_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return mass and share by layer."""
    if not has_layers(pairs):
        return {}
    return {
        f"{name}_layers.csv": _rows(changes(pairs, measure, words), layer=_layers(pairs))
        for name, measure in (("mass", mass), ("share", share))
    }


def head_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return mass by layer and single head."""
    if not has_layers(pairs):
        return {}
    return {"mass_heads.csv": _rows(changes(pairs, heads, words), **_layers_and_heads(pairs))}


def step_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return mass and share by step."""
    if not has_steps(pairs):
        return {}
    return {
        f"{name}_steps.csv": _rows(changes(pairs, measure, words), step=pairs[0].steps)
        for name, measure in (("mass", mass_steps), ("share", share_steps))
    }


def sink_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return the mass of openings and of drawings, in all, by layer and by head."""
    sinks = sink_changes(pairs, overall(mass))
    if not sinks:
        return {}
    if not has_layers(pairs):
        return {"sinks.csv": _rows(sinks)}
    by_layer = _rows(sink_changes(pairs, mass), layer=_layers(pairs))
    by_head = _rows(sink_changes(pairs, heads), **_layers_and_heads(pairs))
    return {"sinks.csv": stack_tables([_rows(sinks), by_layer]), "sinks_heads.csv": by_head}


def map_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return how alike maps are, and which words dominate the picture."""
    if not has_maps(pairs):
        return {}
    dominating = competing(changes(pairs, dominant, words))
    tables: Tables = {"dominant.csv": _rows(by_size(dominating))} if dominating else {}
    return tables | {
        "changed.csv": _changed(pairs),
        "maps.csv": _alike(pairs, words),
        "difference.csv": _difference(pairs, words),
    }


def image_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return how much the generated images differ: over all pairs, and pair by pair."""
    numbers = array("d")
    for pair in pairs:
        if pair.images is not None:
            numbers.frombytes(pair.images.tobytes())
    if not numbers:
        return {}
    values = np.frombuffer(numbers).reshape(-1, len(IMAGE_MEASURES))
    low, high = image_interval(values)
    means = {"value": mean_present(values, 0), "low": low, "high": high}
    count = np.asarray((~np.isnan(values)).sum(0))
    overall = {"measure": np.array(IMAGE_MEASURES, object), **means, "n": count}
    by_pair = LongTable(partial(_image_rows, pairs))
    return {"images.csv": make_table(overall), "image_pairs.csv": by_pair}


def _image_rows(pairs: Sequence[Pair]) -> Iterator[Table]:
    """Yield how much the images of each pair differ."""
    for pair in pairs:
        if pair.images is not None:
            yield _pair_columns(pair) | dict(zip(IMAGE_MEASURES, pair.images.T, strict=True))


def sketch_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return how far words and images lie on one drawing, with both runs."""
    described = kinds(pairs)
    if all(kind.overlap is None and kind.followed is None for kind in described):
        return {}
    parts = []
    for entry in changes(pairs, overlap_sides, words):
        measures = np.array(COMPARED, object)[entry.change.n > 0]
        parts.append(_names(entry.term, len(measures)) | {"measure": measures} | _parts(entry))
    tables: Tables = {"sketch.csv": stack_tables(parts)} if parts else {}
    closed = next((kind.closed for kind in described if kind.closed), ())
    if closed:
        shapes = [_shape_rows(entry, closed) for entry in changes(pairs, lifted(closed), words)]
        tables["sketch_shapes.csv"] = stack_tables(shapes)
    followed = [pair.followed for pair in pairs if pair.followed is not None]
    if followed and not np.isnan(followed[0][..., 0]).all():
        change = paired_change(*np.concatenate(followed, 1))
        kept = np.array(FOLLOWED, object)[change.n > 0]
        tables["sketch_images.csv"] = {"measure": kept} | _parts(change)
    return tables


def _shape_rows(entry: TermChange, closed: Sequence[str]) -> Table:
    """Return the rows of one term, by shape."""
    kept = entry.change.n > 0
    names = [name.partition(" (") for name in closed]
    about = {
        "shape": np.array([int(number) for number, _, _ in names])[kept],
        "where": np.array([place.rstrip(")") for _, _, place in names], object)[kept],
    }
    return _names(entry.term, int(kept.sum())) | about | _parts(entry)


def _parts(entry: TermChange | PairedChange) -> Table:
    """Return the numbers of cells without the relative change, which of parts says little."""
    numbers = _numbers(entry if isinstance(entry, PairedChange) else entry.change)
    del numbers["relative_change"]
    return numbers


PARTS: dict[str, Callable[[Sequence[Pair], Words], Tables]] = {
    "words": word_tables,
    "layers": layer_tables,
    "heads": head_tables,
    "steps": step_tables,
    "sinks": sink_tables,
    "maps": map_tables,
    "images": image_tables,
    "sketch": sketch_tables,
}
"""What `attn compare --only` takes; each makes its tables, or none where traces do not agree."""


def with_name(table: Columns, name: str, place: tuple[str, float] | None = None) -> Columns:
    """Add a column with the name of the variant, and in a sweep one with its number there.

    Args:
        table: of the variant.
        name: of the variant.
        place: what the column of the number is called, and the number.
    """
    if isinstance(table, LongTable):
        return table.changed(lambda part: with_name(part, name, place))
    count = count_rows(table)
    named = {**table, "variant_name": np.full(count, name, object)}
    return make_table(named if place is None else named | {place[0]: np.full(count, place[1])})


def _rows(entries: Sequence[TermChange], **labels: Any) -> Table:
    """Lay changes out, one row per term and cell; cells that no pair has are left out.

    Args:
        entries: in the order of the rows, at least one.
        labels: what stands in the columns `layer`, `head` and `step`, by cell.
    """
    return stack_tables(_term_rows(entry, labels) for entry in entries)


def _term_rows(entry: TermChange, labels: Mapping[str, Any]) -> Table:
    change = entry.change
    kept = change.n > 0
    cells: dict[str, Any] = {"layer": ALL, "head": ALL, "step": ALL, **labels}
    columns = {
        name: np.broadcast_to(np.array(label, object), kept.shape)[kept]
        for name, label in cells.items()
    }
    return _names(entry.term, int(kept.sum())) | columns | _numbers(change)


def _numbers(change: PairedChange) -> Table:
    """Return the numbers of cells that some pair has."""
    kept = change.n > 0
    numbers = {
        "base": change.base,
        "variant": change.variant,
        "change": change.change,
        "relative_change": change.relative,
        "low": change.low,
        "high": change.high,
        "effect_size": change.effect_size,
        "n": change.n,
    }
    return {name: np.asarray(column)[kept] for name, column in numbers.items()}


def _names(term: Term, count: int) -> Table:
    return {
        "word": np.full(count, term.text, object),
        "occurrence": np.full(count, term.number),
        "segment": np.full(count, term.segment, object),
    }


def _alike(pairs: Sequence[Pair], words: Words) -> Table:
    """Return one row per term and measure of similarity."""
    parts = []
    for entry in changes(pairs, similar, words):
        rows = _names(entry.term, len(MEASURES)) | {"measure": np.array(MEASURES, object)}
        value = {"value": entry.change.variant, "low": entry.change.low, "high": entry.change.high}
        parts.append(rows | value | {"n": entry.change.n})
    return stack_tables(parts)


def _difference(pairs: Sequence[Pair], words: Words) -> Table:
    """Return one row per term and cell of the grid, from the upper left."""
    grid = coarse_grid(pairs)
    entries = changes(pairs, located(grid), words) if grid else []
    parts = []
    for entry in entries:
        kept = entry.change.n > 0
        row, column = (np.asarray(index)[kept] for index in np.indices(kept.shape))
        numbers = _numbers(entry.change)
        del numbers["relative_change"], numbers["effect_size"]  # of cells with next to nothing
        parts.append(_names(entry.term, int(kept.sum())) | {"row": row, "column": column} | numbers)
    return stack_tables(parts)


def _mass_rows(pairs: Sequence[Pair], words: Words) -> Iterator[Table]:
    """Yield the mass of every word in every pair, in the order of the pairs."""
    for pair in pairs:
        before, after = (mean_present(side, -1) for side in mass(pair))
        terms = [index for index, term in enumerate(pair.terms) if term.kind != "sink"]
        for index in [terms[at] for at in named([pair.terms[at] for at in terms], words)]:
            base, variant = before[:, index], after[:, index]
            numbers = {"base": base, "variant": variant, "change": variant - base}
            yield _pair_columns(pair) | _names(pair.terms[index], len(base)) | numbers


def _pair_columns(pair: Pair) -> Table:
    """Return what each image of a pair is of."""
    samples = len(pair.base.mass)
    return {
        "prompt": np.full(samples, pair.prompt, object),
        "seed": np.full(samples, pair.seed),
        "sample": np.arange(samples),
    }


def _layers(pairs: Sequence[Pair]) -> list[int]:
    return [layer.index for layer in pairs[0].layers]


def _layers_and_heads(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the layer and head labels of every cell."""
    layer = np.array(_layers(pairs))[:, np.newaxis]
    return {"layer": layer, "head": range(pairs[0].base.mass.shape[-1] - 1)}


def _changed(pairs: Sequence[Pair]) -> Table:
    """Return how much of the picture has another dominant word, by segment."""
    names = list(dict.fromkeys(name for kind in kinds(pairs) for name in kind.changed))
    parts = []
    for name in names:
        values = np.concatenate([pair.changed[name] for pair in pairs if name in pair.changed])
        low, high, _ = paired_interval(values)
        numbers = {"changed": values.mean(), "low": low, "high": high, "n": len(values)}
        row = {key: np.atleast_1d(number) for key, number in numbers.items()}
        parts.append({"segment": np.array([name], object)} | row)
    return stack_tables(parts)
