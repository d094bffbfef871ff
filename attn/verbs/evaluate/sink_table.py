"""`attn evaluate --sinks`: what each published rule calls a sink, over the traces of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attn.verbs.report_page import Sentence
from attn.wording import digits, percent

if TYPE_CHECKING:
    from pandas import DataFrame

    from attn.analysis.tables import Columns
    from attn.trace.trace import Trace

RULES, KEYS, CHANGES = "sink_rules.csv", "dominant_keys.csv", "dominant_changes.csv"
NAMES = {
    "rulli": "Rulli's rule (ε = 3 on column sums)",
    "gu": "Gu's (more than 0.3 of the attention)",
    "floating": "Attention-Floating's, which always takes one key",
}


def trace_sinks(name: str, trace: Trace) -> dict[str, Columns]:
    """Return the tables of rules, dominant keys and their changes, a column `trace` first.

    Args:
        name: what the trace is called.
        trace: the trace.

    Raises:
        AnalysisError: it has no masses of keys.
    """
    from attn.analysis.scores.sink_rules import tabulate_rules
    from attn.analysis.tables import label_table, with_layer_names
    from attn.schema import name_layers

    layers = name_layers(trace.layers)
    tables = zip((RULES, KEYS, CHANGES), tabulate_rules(trace), strict=True)
    return {
        file: label_table(with_layer_names(table, layers), trace=name) for file, table in tables
    }


def tell_sinks(tables: Mapping[str, DataFrame]) -> list[Sentence]:
    """Return what the rules find, and how still the dominant key is."""
    rules, keys, changes = (tables[name] for name in (RULES, KEYS, CHANGES))
    means = rules.groupby("rule", sort=False)[["sinks", "with_sink", "mass"]].mean()
    common = keys["key"].value_counts()
    steps = float(changes["steps"].mean())
    return [
        Sentence(_compare(means), RULES),
        Sentence(
            f"The key that receives most is “{common.index[0]}” in "
            f"{percent(common.iloc[0] / len(keys))} of all layers and steps.",
            KEYS,
        ),
        Sentence(
            f"It is another than in the step before {digits(float(changes['changes'].mean()))} "
            f"times in {digits(steps)} steps of a layer, and the variance of its position over "
            f"steps is {digits(float(changes['variance'].mean()))}.",
            CHANGES,
        ),
    ]


def _compare(means: DataFrame) -> str:
    told = list(_tell_rules(means))
    return f"In the mean of layers, heads and steps {'; '.join(told)}."


def _tell_rules(means: DataFrame) -> Iterator[str]:
    for rule, name in NAMES.items():
        row = means.loc[rule]
        yield (
            f"{name} finds {digits(float(row['sinks']))} sinks, which receive "
            f"{percent(float(row['mass']))} of the attention"
        )
