"""What the published rules call a sink, side by side, and how still the largest key is.

Definitions, for one layer, head and step, with m[j] the mean over rows of the probability that key
j of K receives. Rows are those of the picture in models that draw, all rows in models that write.

- rulli     K · m[j] > mean of the other K - 1 of these + 3 (Rulli et al. 2025,
            https://arxiv.org/abs/2510.15731, masked diffusion language models; column sums)
- gu        m[j] > 0.3 (Gu et al. 2025, https://arxiv.org/abs/2410.10781, causal language models)
- floating  the same as rulli on m[j] itself, which is at most 1 and so never reaches 3: the key of
            the largest m[j] is taken instead, as the code of Attention-Floating does
- top-1, top-5   the keys of the largest m[j], whatever they are: what is cut of diffusion
            transformers (https://arxiv.org/abs/2605.09313, there for k = 1 to 50)

The dominant key of a layer and step is that of the largest m[j], mean over heads. `changes` counts
the steps in which it is another than in the step before; `variance` is that of its position, in
positions², over steps: what Sink-Aware Pruning (https://arxiv.org/abs/2602.17664) finds larger in
diffusion language models than in autoregressive ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.numbers import Numbers
from attn.analysis.sinks.key_mass import read_incoming
from attn.analysis.sinks.roles import read_keys
from attn.analysis.tables import Table, make_table
from attn.analysis.texts.influence import InfluenceOptions
from attn.analysis.texts.texts import BLOCK, choose, read_measure
from attn.errors import AnalysisError

if TYPE_CHECKING:
    from attn.trace.trace import Trace

EPSILON, SHARE = 3.0, 0.3
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LayerMass:
    """What the keys of a layer receive.

    Attributes:
        layer: its index.
        rows: whose attention it is.
        steps: their indices.
        mass: (sample, step, head, key), probability.
        num_keys: (step,), of the whole row; keys that are not in `mass` are the other ones.
        name: of a key of a sample: what it is called, and its position.
    """

    layer: int
    rows: str
    steps: tuple[int, ...]
    mass: Numbers
    num_keys: Numbers
    name: Callable[[int, int], tuple[str, int]]


def tabulate_rules(trace: Trace) -> tuple[Table, Table, Table]:
    """Return what each rule finds, the dominant keys, and how they change.

    Returns:
        A row per layer and rule; per layer, sample and step; per layer and sample.

    Raises:
        AnalysisError: the trace has no masses of keys.
    """
    layers = list(read_masses(trace))
    if not layers:
        raise AnalysisError(f"{trace.folder} has no masses of keys: capture it with --mass full")
    rules = [row for of in layers for row in _rule_rows(of)]
    keys = [row for of in layers for row in _dominant_rows(of)]
    changes = [row for of in layers for row in _change_rows(of)]
    return _table(rules), _table(keys), _table(changes)


def read_masses(trace: Trace) -> Iterator[LayerMass]:
    """Yield the masses of each layer of the first guidance row."""
    if any(segment.kind == "image" for layer in trace.layers for segment in layer.queries):
        yield from _of_pictures(trace)
    else:
        yield from _of_texts(trace)


def find_rule_sinks(mass: Numbers, num_keys: Numbers) -> Mapping[str, Flags]:
    """Return which keys each rule calls a sink, by its name.

    Args:
        mass: (…, key), of some or all keys of a row of sum 1.
        num_keys: (…), of the row.
    """
    keys = num_keys[..., np.newaxis]
    others = (1 - mass) / np.maximum(keys - 1, 1)  # the mean of m over the other keys
    order = np.argsort(-mass, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    by_means = mass > others + EPSILON
    return {
        "rulli": mass * keys > others * keys + EPSILON,
        "gu": mass > SHARE,
        "floating": np.where(by_means.any(-1, keepdims=True), by_means, rank < 1),
        "top-1": rank < 1,
        "top-5": rank < 5,  # noqa: PLR2004 - as it is called
    }


def _of_pictures(trace: Trace) -> Iterator[LayerMass]:
    steps = tuple(step.index for step in trace.steps)
    branch = trace.branches[0]
    for layer in trace.layers:
        for incoming in read_incoming(trace, layer, steps):
            if incoming.rows != "image":
                continue
            keys = read_keys(incoming.columns, trace.tokens(branch))

            def name(_: int, key: int, keys: Sequence[Any] = keys) -> tuple[str, int]:
                found = keys[key]
                return f"{found.segment} {found.token or found.position}", found.position

            counts = np.full(len(steps), incoming.num_keys, np.float64)
            mass = np.nan_to_num(incoming.mass[0])
            yield LayerMass(layer.index, "image", steps, mass, counts, name)


def _of_texts(trace: Trace) -> Iterator[LayerMass]:
    choice = choose(trace, InfluenceOptions())
    mass = np.nan_to_num(read_measure(trace, choice, "mass", BLOCK))  # layer step sample head key
    counts = np.array(choice.keys, np.float64)

    def name(sample: int, key: int) -> tuple[str, int]:
        return f"{choice.segment(key)} {choice.text(key, sample)}", key

    for layer, values in zip(choice.layers, mass, strict=True):
        yield LayerMass(layer.index, "all", choice.steps, np.moveaxis(values, 1, 0), counts, name)


def _rule_rows(of: LayerMass) -> Iterator[dict[str, Any]]:
    flags = find_rule_sinks(of.mass, of.num_keys[:, np.newaxis])
    for rule, sinks in flags.items():
        either = (sinks | flags["rulli"]).sum()
        both = (sinks & flags["rulli"]).sum()
        yield {
            "layer": of.layer,
            "rows": of.rows,
            "rule": rule,
            "sinks": float(sinks.sum(-1).mean()),
            "with_sink": float(sinks.any(-1).mean()),
            "mass": float((of.mass * sinks).sum(-1).mean()),
            "as_rulli": float(both / either) if either else float("nan"),
        }


def _dominant_rows(of: LayerMass) -> Iterator[dict[str, Any]]:
    means = of.mass.mean(2)
    for (sample, step), key in np.ndenumerate(means.argmax(-1)):
        called, position = of.name(sample, int(key))
        yield {
            "layer": of.layer,
            "sample": sample,
            "step": of.steps[step],
            "key": called,
            "position": position,
            "mass": float(means[sample, step, key]),
            "ratio": float(means[sample, step, key] * of.num_keys[step]),
        }


def _change_rows(of: LayerMass) -> Iterator[dict[str, Any]]:
    for sample, keys in enumerate(of.mass.mean(2).argmax(-1)):
        yield {
            "layer": of.layer,
            "sample": sample,
            "steps": len(keys),
            "changes": int((np.diff(keys) != 0).sum()),
            "keys": len(np.unique(keys)),
            "variance": float(keys.var()),
        }


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    return make_table({name: [row[name] for row in rows] for name in rows[0]})
