"""The tables of a comparison, from pairs of traces; what they mean is in docs/compare.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attn.analysis.compare.paired import PairedChange, paired_change, paired_interval
from attn.analysis.compare.pairs import Pair
from attn.analysis.compare.terms import Key, Term
from attn.analysis.sketch import COMPARED
from attn.analysis.tables import Table, count_rows, make_table, stack_tables
from attn.analysis.words.similarity import MEASURES
from attn.analysis.words.word_sums import Numbers, mean_present
from attn.words import fold

Measure = Callable[[Pair], tuple[Numbers, Numbers] | None]
"""Takes (sample, term, …) of base and variant out of a pair; None if it has no such thing."""

Words = Sequence[str] | None
"""Only these words; None is all."""

Tables = dict[str, Table]

LARGEST = 2**26
"""Bytes of one measure of all pairs that are in memory at once."""
ALL = "mean"
"""In the columns `layer`, `head` and `step`: the mean over all of them."""


@dataclass(frozen=True)
class TermChange:
    """The change of one term; the arrays of `change` are cells: layers, heads, steps, or one."""

    term: Term
    change: PairedChange


def mass(pair: Pair) -> tuple[Numbers, Numbers]:
    """Mass by layer, mean over heads and steps."""
    return pair.base.mass[..., 0], pair.variant.mass[..., 0]


def share(pair: Pair) -> tuple[Numbers, Numbers]:
    """Share by layer, mean over steps."""
    return pair.base.share, pair.variant.share


def heads(pair: Pair) -> tuple[Numbers, Numbers]:
    """Mass by layer and single head, mean over steps."""
    return pair.base.mass[..., 1:], pair.variant.mass[..., 1:]


def mass_steps(pair: Pair) -> tuple[Numbers, Numbers]:
    """Mass by step, mean over layers and heads."""
    return pair.base.mass_steps, pair.variant.mass_steps


def share_steps(pair: Pair) -> tuple[Numbers, Numbers]:
    """Share by step, mean over layers."""
    return pair.base.share_steps, pair.variant.share_steps


def dominant(pair: Pair) -> tuple[Numbers, Numbers] | None:
    """Part of the places that a word dominates."""
    return None if pair.dominant is None else (pair.dominant[0], pair.dominant[1])


def drawn(name: str) -> Measure:
    """Return one of `sketch.COMPARED` of each word's map and one drawing."""
    column = COMPARED.index(name)

    def measure(pair: Pair) -> tuple[Numbers, Numbers] | None:
        overlap = _overlap(pair)
        return None if overlap is None else (overlap[0][..., column], overlap[1][..., column])

    return measure


def overall(measure: Measure) -> Measure:
    """Return the mean of a measure over its last axis, the layers."""

    def mean(pair: Pair) -> tuple[Numbers, Numbers] | None:
        sides = measure(pair)
        return None if sides is None else (mean_present(sides[0], -1), mean_present(sides[1], -1))

    return mean


def changes(pairs: Sequence[Pair], measure: Measure, words: Words = None) -> list[TermChange]:
    """Compare words and phrases over all pairs and samples, in the order of the prompt.

    Args:
        pairs: of one variant.
        measure: what to compare.
        words: only these words, and every phrase; None is all.
    """
    entries = [entry for entry in _all_changes(pairs, measure) if entry.term.kind != "sink"]
    return [entries[index] for index in named([entry.term for entry in entries], words)]


def named(terms: Sequence[Term], words: Words) -> list[int]:
    """Return the indices of the requested words and of all phrases among the terms."""
    wanted = None if words is None else {fold(word) for word in words}
    return [
        index
        for index, term in enumerate(terms)
        if wanted is None or term.kind == "phrase" or fold(term.text) in wanted
    ]


def sink_changes(pairs: Sequence[Pair], measure: Measure) -> list[TermChange]:
    """Compare the special tokens that open the segments, and those of a drawing together."""
    return [entry for entry in _all_changes(pairs, measure) if entry.term.kind == "sink"]


def by_size(entries: Iterable[TermChange]) -> list[TermChange]:
    """Order terms of single numbers by their absolute change, the largest first."""
    return sorted(entries, key=lambda entry: -abs(float(entry.change.change)))


def word_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return mass and share of each word and phrase, the largest change first."""
    return {
        f"{name}.csv": _rows(by_size(changes(pairs, overall(measure), words)))
        for name, measure in (("mass", mass), ("share", share))
    }


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
    return {
        "dominant.csv": _rows(by_size(changes(pairs, dominant, words))),
        "changed.csv": _changed(pairs),
        "maps.csv": _alike(pairs, words),
    }


def sketch_tables(pairs: Sequence[Pair], words: Words) -> Tables:
    """Return how far maps of words lie on one drawing, with both runs."""
    parts = []
    for entry in changes(pairs, _overlap, words):
        measures = np.array(COMPARED, object)[entry.change.n > 0]
        numbers = _numbers(entry.change)
        del numbers["relative_change"]  # these are shares already
        parts.append(_names(entry.term, len(measures)) | {"measure": measures} | numbers)
    return {"sketch.csv": stack_tables(parts)} if parts else {}


PARTS: dict[str, Callable[[Sequence[Pair], Words], Tables]] = {
    "words": word_tables,
    "layers": layer_tables,
    "heads": head_tables,
    "steps": step_tables,
    "sinks": sink_tables,
    "maps": map_tables,
    "sketch": sketch_tables,
}
"""What `attn compare --only` takes; each makes its tables, or none where traces do not agree."""


def has_layers(pairs: Sequence[Pair]) -> bool:
    """Whether all traces have the same layers."""
    kinds = {tuple((layer.path, layer.num_heads) for layer in pair.layers) for pair in pairs}
    return len(kinds) == 1 and all(pair.agreement.by_layer for pair in pairs)


def has_steps(pairs: Sequence[Pair]) -> bool:
    """Whether all traces have the same steps."""
    return len({pair.steps for pair in pairs}) == 1 and all(
        pair.agreement.by_step for pair in pairs
    )


def has_maps(pairs: Sequence[Pair]) -> bool:
    """Whether the traces of some pair have maps; the others are left out."""
    return any(pair.alike is not None for pair in pairs)


def with_name(table: Table, name: str) -> Table:
    """Add a column with the name of the variant."""
    return make_table({**table, "variant_name": np.full(count_rows(table), name, object)})


def _all_changes(pairs: Sequence[Pair], measure: Measure) -> list[TermChange]:
    """Compare every term, as many of them at once as fit into `LARGEST` bytes."""
    terms: dict[Key, Term] = {}
    for pair in pairs:
        for term in pair.terms:
            terms.setdefault(term.key, term)
    sizes = (2 * values[0].nbytes for pair in pairs for values in [measure(pair)] if values)
    rounds = max(1, math.ceil(len(pairs) * next(sizes, 0) / LARGEST))
    count = max(1, math.ceil(len(terms) / rounds))
    found: list[TermChange] = []
    for start in range(0, len(terms), count):
        gathered = _gather(pairs, measure, list(terms)[start : start + count])
        found += [
            TermChange(terms[key], paired_change(*map(np.concatenate, sides)))
            for key, sides in gathered.items()
        ]
    return found


def _gather(
    pairs: Sequence[Pair], measure: Measure, keys: Sequence[Key]
) -> dict[Key, tuple[list[Numbers], list[Numbers]]]:
    """Return base and variant of some terms, by pair; copies, so that the pairs can be let go."""
    found: dict[Key, tuple[list[Numbers], list[Numbers]]] = {}
    for pair in pairs:
        indices = {term.key: index for index, term in enumerate(pair.terms)}
        values = measure(pair)
        if values is None:
            continue
        for key in filter(indices.__contains__, keys):
            before, after = found.setdefault(key, ([], []))
            before.append(values[0][:, indices[key]].copy())
            after.append(values[1][:, indices[key]].copy())
    return {key: found[key] for key in keys if key in found}


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
    for entry in changes(pairs, _similar, words):
        rows = _names(entry.term, len(MEASURES)) | {"measure": np.array(MEASURES, object)}
        value = {"value": entry.change.variant, "low": entry.change.low, "high": entry.change.high}
        parts.append(rows | value | {"n": entry.change.n})
    return stack_tables(parts)


def _similar(pair: Pair) -> tuple[Numbers, Numbers] | None:
    return None if pair.alike is None else (np.zeros_like(pair.alike), pair.alike)


def _overlap(pair: Pair) -> tuple[Numbers, Numbers] | None:
    return None if pair.overlap is None else (pair.overlap[0], pair.overlap[1])


def _layers(pairs: Sequence[Pair]) -> list[int]:
    return [layer.index for layer in pairs[0].layers]


def _layers_and_heads(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the layer and head labels of every cell."""
    layer = np.array(_layers(pairs))[:, np.newaxis]
    return {"layer": layer, "head": range(pairs[0].base.mass.shape[-1] - 1)}


def _changed(pairs: Sequence[Pair]) -> Table:
    """Return how much of the picture has another dominant word, by segment."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair.changed))
    parts = []
    for name in names:
        values = np.concatenate([pair.changed[name] for pair in pairs if name in pair.changed])
        low, high, _ = paired_interval(values)
        numbers = {"changed": values.mean(), "low": low, "high": high, "n": len(values)}
        row = {key: np.atleast_1d(number) for key, number in numbers.items()}
        parts.append({"segment": np.array([name], object)} | row)
    return stack_tables(parts)
