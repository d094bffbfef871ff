"""Compute all that there is to say of a comparison, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from attn.analysis.result import Deferred
from attn.errors import AnalysisError
from attn.schema import name_layers
from attn.verbs.compare.answer import tell, told_labels
from attn.verbs.compare.controls.control_answer import tell_controls
from attn.verbs.compare.controls.controls import Controls
from attn.verbs.compare.controls.cut_answer import tell_cuts
from attn.verbs.compare.controls.cut_effects import CUTS
from attn.verbs.compare.controls.weakening import tell_weakening
from attn.verbs.compare.rows import VariantTables
from attn.verbs.compare.sweeps import find_sweep
from attn.verbs.compare.variants import Variant
from attn.verbs.report import Report
from attn.verbs.report_page import Sentence

if TYPE_CHECKING:
    import xarray as xr
    from pandas import DataFrame

    from attn.analysis.compare.pairs import PairOptions
    from attn.analysis.compare.sweep import Sweep
    from attn.analysis.compare.weights import WeightsAgainstAttention
    from attn.analysis.tables import Columns, Table
    from attn.lora import LoraFile


@dataclass(frozen=True)
class ComparisonFindings:
    """All that is computed, before anything is written; `told` are labels the answer tells of."""

    controls: Controls
    sweep: Sweep | None
    weights: Mapping[str, WeightsAgainstAttention]
    tables: Mapping[str, Columns]
    answer: Sequence[Sentence]
    told: Sequence[str]

    @property
    def variants(self) -> Sequence[Variant]:
        """What was compared with the baseline, controls among them."""
        return self.controls.variants

    @property
    def frames(self) -> Mapping[str, DataFrame]:
        """The tables, each made a data frame when it is looked at."""
        from attn.analysis.tables import Frames

        return Frames(self.tables)

    def maps(self, words: Sequence[str] | None) -> Mapping[str, xr.DataArray]:
        """Return the mean maps of each variant, made when they are looked at."""
        from attn.analysis.compare.mean_maps import mean_maps

        return Deferred(
            {variant.label: partial(mean_maps, variant.pairs, words) for variant in self.variants}
        )


def compute(
    controls: Controls,
    parts: Sequence[str] | None,
    options: PairOptions,
    files: Mapping[str, LoraFile],
    report: Report,
) -> ComparisonFindings:
    """Compute what there is to say of variants.

    Args:
        controls: the variants, and which of them are controls of others.
        parts: what was asked for; None is all that can be made.
        options: what to compare.
        files: the LoRAs of variants that have a single one, by what these are called.
        report: told why weights cannot be held against attention.

    Raises:
        AnalysisError: a part cannot be made.
    """
    from attn.analysis.tables import Frames

    variants = controls.variants
    sweep = find_sweep(controls.plain, options)
    by_variant = _variant_tables(variants, parts, options)
    weights = {} if parts else _weigh(variants, files, options, report)
    places = _places(sweep, controls)
    tables = _stack(by_variant, variants, places) | _weight_tables(weights, places)
    tables |= {name: _with_places(table, places) for name, table in controls.tables.items()}
    if sweep is not None and parts is None:
        tables["sweep.csv"] = sweep.table
    plain = {variant.label for variant in controls.plain}
    told = [of for of in _told(variants, by_variant) if of.label in plain]
    shown = sweep if "sweep.csv" in tables else None
    labels = told_labels([of.label for of in told], shown)
    frames = Frames(controls.tables)
    more = tell_controls(frames, labels)
    weakening = tell_weakening(controls.weakening_rows)
    cuts = tell_cuts(frames.get(CUTS))
    answer = [*weakening, *cuts, *tell(told, shown, more)]
    if controls.cut_rows:  # which tell of the largest cuts, wherever these stand
        labels = [variant.label for variant in controls.drawn]
    return ComparisonFindings(controls, sweep, weights, tables, answer, labels)


def _variant_tables(
    variants: Sequence[Variant], parts: Sequence[str] | None, options: PairOptions
) -> list[dict[str, Columns]]:
    """Make every table of each variant."""
    from attn.analysis.compare.change_tables import PARTS

    by_variant: list[dict[str, Columns]] = [{} for _ in variants]
    for part in parts or PARTS:
        made = [PARTS[part](variant.pairs, options.words) for variant in variants]
        if parts and not any(made):
            raise AnalysisError(f"there is no part '{part}' of this comparison: {_why(variants)}")
        for tables, more in zip(by_variant, made, strict=True):
            tables.update(more)
    return by_variant


def _stack(
    by_variant: Sequence[Mapping[str, Columns]],
    variants: Sequence[Variant],
    places: Mapping[str, tuple[str, float]],
) -> dict[str, Columns]:
    """Put the tables of all variants together; with several they have the variants' names."""
    from attn.analysis.compare.change_tables import with_name
    from attn.analysis.tables import LongTable, join_tables, with_layer_names

    by_name: dict[str, list[Columns]] = {}
    for variant, tables in zip(variants, by_variant, strict=True):
        rename = partial(with_layer_names, names=name_layers(variant.pairs[0].layers))
        for name, table in tables.items():
            layered: Columns = (
                table.changed(rename) if isinstance(table, LongTable) else rename(table)
            )
            named = with_name(layered, variant.label, places.get(variant.label))
            by_name.setdefault(name, []).append(named if len(variants) > 1 else layered)
    return {name: join_tables(stacked) for name, stacked in by_name.items()}


def _places(sweep: Sweep | None, controls: Controls) -> dict[str, tuple[str, float]]:
    """Return the column of a sweep's number, and the number of each variant, by its label.

    Variants that have the baseline's number are no points of the sweep; controls have no number.
    """
    if sweep is None:
        return {}
    numbers = {variant.label: math.nan for variant in controls.variants}
    numbers |= {variant.label: sweep.base for variant in controls.plain}
    numbers |= {point.label: point.scale for point in sweep.points}
    return {label: (sweep.column, number) for label, number in numbers.items()}


def _with_places(table: Table, places: Mapping[str, tuple[str, float]]) -> Table:
    """Give the rows of a table of controls the number in a sweep of the variant they are of."""
    from attn.analysis.tables import make_table

    labels = table.get("whole_name", table.get("variant_name"))
    if labels is None or not places:
        return table
    (column,) = {column for column, _ in places.values()}
    return make_table({**table, column: [places[label][1] for label in labels]})


def _told(
    variants: Sequence[Variant], by_variant: Sequence[Mapping[str, Columns]]
) -> list[VariantTables]:
    """Return what the paragraph is made from."""
    return [
        VariantTables(variant.label, tables, name_layers(variant.pairs[0].layers))
        for variant, tables in zip(variants, by_variant, strict=True)
    ]


def _weigh(
    variants: Sequence[Variant],
    files: Mapping[str, LoraFile],
    options: PairOptions,
    report: Report,
) -> dict[str, WeightsAgainstAttention]:
    """Hold the weights of single LoRAs against attention, where layers agree."""
    from attn.analysis.compare.weights import against_weights

    weights = {}
    for variant in variants:
        if variant.label in files:
            try:
                file = files[variant.label]
                weights[variant.label] = against_weights(file, variant.pairs, options.words)
            except AnalysisError as error:
                report.warn(f"{variant.label}: no table of weights: {error}")
    return weights


def _weight_tables(
    weights: Mapping[str, WeightsAgainstAttention], places: Mapping[str, tuple[str, float]]
) -> dict[str, Columns]:
    """Return `lora_weights.csv`, always with the names of the variants."""
    from attn.analysis.compare.change_tables import with_name
    from attn.analysis.tables import stack_tables

    parts = [with_name(weight.table, label, places.get(label)) for label, weight in weights.items()]
    return {"lora_weights.csv": stack_tables(parts)} if parts else {}


def _why(variants: Sequence[Variant]) -> str:
    notes = (note for variant in variants for note in (*variant.lacks, *variant.notes))
    return "; ".join(dict.fromkeys(notes)) or "the traces have no drawing"
