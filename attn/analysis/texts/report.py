"""The reports of MMaDA's attention visualisation as JSON: its files and names, for its readers.

`attention_analysis_report.json`, `token_analysis.json`, `attention_summary.json` and
`causal_attention_analysis.json`, on A as in `texts.texts`. All numbers but these are those
of the analyses `patterns`, `flow` and `influence`:

- matrix_entropy  that visualisation's entropy, of A / T as one distribution: ln T + the mean
                  entropy of the rows of A, nats. `entropy` is the mean over rows and heads.
- causal split    of the rows of the text, in percent: keys before the row, itself, keys after it.
                  `consistency` = 1 / (1 + standard deviation over the steps of what goes to earlier
                  keys, in percent); `trend` is the sign of the least-squares slope over the steps.

Its `avg_incoming_influence` is the sum of a row, 1 for every token, and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.analysis.needs import Needs, find_lack
from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.result import Document, Result, WritableFile
from attn.analysis.texts.patterns import causal_split, measure
from attn.analysis.texts.texts import (
    BLOCK,
    PromptOptions,
    TextSelection,
    choose,
    mean_over_steps,
    read_heads,
    read_maps,
    read_measure,
)
from attn.errors import AnalysisError

if TYPE_CHECKING:
    from attn.trace.trace import Trace

NEEDS = Needs(
    written=True,
    stepwise=True,
    measures=(f"map.{BLOCK}", f"entropy.{BLOCK}", "mass.generated.all"),
)
WANTS = Needs(measures=(f"headmap.{BLOCK}",))
BUCKETS = ((80.0, "above 80 %"), (50.0, "50 to 80 %"), (40.0, "40 to 50 %"), (20.0, "20 to 40 %"))
LOWEST = "below 20 %"
MOST = 2_000_000
"""Numbers of raw matrices in one report; more would fill the memory of who reads it."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class TextReportOptions(PromptOptions):
    """Options of the reports, with how much of a text they cover."""

    max_tokens: int | None = field(
        default=None, metadata={"help": "report only this many tokens, the first"}
    )
    raw: bool = field(default=False, metadata={"help": "add the matrices themselves to the report"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1; got {self.max_tokens}")


@dataclass(frozen=True)
class Measured:
    """What was measured of one sample.

    Attributes:
        shape: by the names in `patterns.MEASURES` and `matrix_entropy`, (layer, step).
        read: mass of the rows of each segment (prompt, text) on the keys of each, (row segment,
            layer, step, key segment).
        received: mean mass of every token, (layer, token).
        heads: causal split of single heads, each (layer, head); empty without head maps.
    """

    shape: Mapping[str, Numbers]
    read: Numbers
    received: Numbers
    heads: Mapping[str, Numbers]


def run(trace: Trace, options: TextReportOptions) -> Result:
    """Write the reports; of several texts each has a folder of its own.

    Raises:
        AnalysisError: a layer, step or branch is not there, or the raw matrices are too many.
    """
    choice = choose(trace, options)
    files: dict[str, WritableFile] = {}
    tokens = min(choice.length, options.max_tokens or choice.length)
    numbers = len(choice.layers) * len(choice.steps) * tokens**2
    if options.raw and numbers > MOST:
        raise AnalysisError(
            f"report: the raw matrices are {numbers:,} numbers, more than {MOST:,}; choose fewer "
            "with --set report.layers, report.steps or report.max_tokens"
        )
    samples = _measure(trace, choice)
    raw = _read_raw(trace, choice, tokens) if options.raw else None
    for sample, measured in enumerate(samples):
        folder = "report" if len(samples) == 1 else f"report/sample-{sample}"
        about = _describe(trace, choice, sample)
        causal, influence = _causal(measured, choice), _influence(measured, choice, tokens)
        report = {
            "metadata": about,
            "statistics": _statistics(trace, choice),
            "attention_patterns": _patterns(measured, choice),
            "token_influence": influence,
            "causal_attention": causal,
            "summary": _summarise(measured, choice),
        }
        if raw is not None:
            report["raw_data"] = {name: maps[sample] for name, maps in raw.items()}
        documents = {
            "attention_analysis_report": report,
            "token_analysis": influence,
            "attention_summary": {"metadata": about, "layers": _over_steps(measured, choice)},
            "causal_attention_analysis": {"metadata": about, **causal},
        }
        files |= {f"{folder}/{name}.json": Document(facts) for name, facts in documents.items()}
    return Result({}, files=files)


def _measure(trace: Trace, choice: TextSelection) -> list[Measured]:
    count, length = trace.manifest.samples, choice.length
    grid = (count, len(choice.layers), len(choice.steps))
    shape: dict[str, Numbers] = {}
    read = np.zeros((2, *grid, 2))
    for step, layer, maps in read_maps(trace, choice):
        rows = mean_present(-(maps * np.log(np.where(maps > 0, maps, 1))).sum(-1), 1)
        measures = measure(maps, choice.prompt, choice.keys[step])
        measures["matrix_entropy"] = np.log(length) + rows
        for name, values in measures.items():
            shape.setdefault(name, np.empty(grid))[:, layer, step] = values
        for index, part in enumerate((maps[:, : choice.prompt], maps[:, choice.prompt :])):
            for keys, of_keys in enumerate((slice(choice.prompt), slice(choice.prompt, None))):
                read[index, :, layer, step, keys] = mean_present(part[..., of_keys].sum(-1), 1)
    mass = read_measure(trace, choice, "mass", BLOCK)
    received = mean_present(mean_over_steps(mass, choice.rows), 2)
    entropy = mean_present(read_measure(trace, choice, "entropy", BLOCK), 3)
    shape["entropy"] = np.moveaxis(entropy, 2, 0)
    heads = _split_heads(trace, choice)
    return [
        Measured(
            {name: values[sample] for name, values in shape.items()},
            read[:, sample],
            received[:, sample],
            {name: values[:, sample] for name, values in heads.items()},
        )
        for sample in range(count)
    ]


def _split_heads(trace: Trace, choice: TextSelection) -> dict[str, Numbers]:
    """Return the causal split of single heads, mean over steps, each (layer, sample, head)."""
    if find_lack(WANTS, trace.manifest) is not None:
        return {}
    by_name: dict[str, list[Numbers]] = {}
    for layer in choice.layers:
        splits = [
            causal_split(read_heads(trace, choice, layer, step), choice.prompt)
            for step in choice.steps
        ]
        for name in splits[0]:
            over = mean_present(np.stack([split[name] for split in splits]), 0)
            by_name.setdefault(name, []).append(over)
    return {name: np.stack(values) for name, values in by_name.items()}


def _read_raw(trace: Trace, choice: TextSelection, tokens: int) -> dict[str, list[Facts]]:
    """Return the matrices by layer, then sample, as lists by step."""
    raw: dict[str, list[Facts]] = {
        layer.path: [{} for _ in range(trace.manifest.samples)] for layer in choice.layers
    }
    for step, layer, maps in read_maps(trace, choice):
        for sample, matrix in enumerate(maps[:, :tokens, :tokens]):
            values = _listed(np.round(matrix, 6))
            raw[choice.layers[layer].path][sample][f"step_{choice.steps[step]}"] = values
    return raw


def _describe(trace: Trace, choice: TextSelection, sample: int) -> Facts:
    manifest = trace.manifest
    return {
        "attn": manifest.environment.get("attn", ""),
        "backend": manifest.backend,
        "model": manifest.model,
        "prompt": manifest.request.prompt,
        "seed": manifest.request.seed,
        "sample": sample,
        "branch": choice.branch,
        "options": manifest.request.options,
        "prompt_length": choice.prompt,
        "length": choice.length,
        "steps": list(choice.steps),
        "layers": [layer.path for layer in choice.layers],
        "units": "probabilities 0 to 1; entropies in nats; distances in positions",
    }


def _statistics(trace: Trace, choice: TextSelection) -> Facts:
    manifest, layers, steps = trace.manifest, len(choice.layers), len(choice.steps)
    heads = sum(layer.num_heads for layer in choice.layers)
    written = sum(shard.bytes for shard in manifest.shards)
    return {
        "layers": layers,
        "steps": steps,
        "matrices": layers * steps,
        "heads": heads,
        "positions": choice.length,
        "prompt_positions": choice.prompt,
        "generated_positions": choice.length - choice.prompt,
        "bytes_on_disk": written,
        "bytes_of_all_heads_in_float32": 4 * heads * steps * choice.length**2,
        "cost": dict(manifest.cost),
    }


def _spread(values: Numbers) -> Facts:
    statistics: dict[str, float] = {
        "mean": _mean(values),
        "std": float(np.nanstd(values)),
        "min": float(np.nanmin(values)),
        "max": float(np.nanmax(values)),
    }
    return dict(statistics)


def _mean(values: Numbers) -> float:
    """Return the mean of the steps (and layers) that have a number."""
    return float(mean_present(values.ravel(), 0))


def _listed(values: Numbers) -> Any:
    """Return numbers as JSON has them: null is what a step does not have."""
    numbers = values.astype(object)
    numbers[np.isnan(values)] = None
    return numbers.tolist()


def _by_layer(choice: TextSelection) -> Iterator[tuple[int, str]]:
    return ((index, layer.path) for index, layer in enumerate(choice.layers))


def _patterns(measured: Measured, choice: TextSelection) -> Facts:
    names = ("density", "entropy", "matrix_entropy", "focus", "distance")
    return {
        path: {name: _spread(measured.shape[name][index]) for name in names}
        for index, path in _by_layer(choice)
    }


def _over_steps(measured: Measured, choice: TextSelection) -> Facts:
    facts = {}
    for index, path in _by_layer(choice):
        read = {
            "prompt_to_generated": _listed(measured.read[1, index, :, 0]),
            "generated_to_prompt": _listed(measured.read[0, index, :, 1]),
        }
        shape = {name: _listed(values[index]) for name, values in sorted(measured.shape.items())}
        facts[path] = {"steps": list(choice.steps), **read, **shape}
    return facts


def _influence(measured: Measured, choice: TextSelection, tokens: int) -> Facts:
    mean = measured.received.mean(0)
    entries: dict[str, Facts] = {"prompt": {}, "generated": {}}
    for position in range(tokens):
        entries[choice.segment(position)][f"token_{position}"] = {
            "position": position,
            "token": choice.tokens[position].text,
            "incoming_mass": float(mean[position]),
            "avg_outgoing_influence": float(mean[position] * choice.length),
            "total_steps": len(choice.steps),
            "total_layers": len(choice.layers),
        }
    return {
        "prompt_tokens": entries["prompt"],
        "generated_tokens": entries["generated"],
        "cross_attention": _cross(measured, choice),
    }


def _cross(measured: Measured, choice: TextSelection) -> Facts:
    """Return the mass between prompt and text both ways, per row and as upstream sums it."""
    lengths = (choice.length - choice.prompt, choice.prompt)
    masses = tuple(mean_present(measured.read[at, :, :, 1 - at], 1) for at in (1, 0))

    def describe(to_generated: float, to_prompt: float) -> Facts:
        sums = (to_generated * lengths[0], to_prompt * lengths[1])
        return {
            "prompt_to_generated": to_generated,
            "generated_to_prompt": to_prompt,
            "prompt_to_generated_sum": sums[0],
            "generated_to_prompt_sum": sums[1],
            "ratio": sums[0] / sums[1] if sums[1] > 0 else None,
        }

    layers = {
        path: describe(float(masses[0][index]), float(masses[1][index]))
        for index, path in _by_layer(choice)
    }
    return {**describe(_mean(masses[0]), _mean(masses[1])), "layers": layers}


def _causal(measured: Measured, choice: TextSelection) -> Facts:
    layers = {}
    for index, path in _by_layer(choice):
        split = {name: 100 * measured.shape[name][index] for name in ("earlier", "own", "later")}
        earlier = split["earlier"]
        there = ~np.isnan(earlier)
        steps, known = np.array(choice.steps)[there], earlier[there]
        slope = float(np.polyfit(steps, known, 1)[0]) if len(known) > 1 else 0.0
        facts: Facts = {f"{name}_percent": _mean(values) for name, values in split.items()}
        facts |= {
            "bucket": bucket(_mean(earlier)),
            "consistency": float(1 / (1 + known.std())),
            "slope_percent_per_step": slope,
            "trend": {1: "increasing", -1: "decreasing", 0: "flat"}[int(np.sign(slope))],
        }
        if measured.heads:
            facts["heads"] = _causal_heads(measured, index)
        layers[path] = facts
    ranking = sorted(layers, key=lambda path: -layers[path]["earlier_percent"])
    return {"layers": layers, "ranking": ranking}


def _causal_heads(measured: Measured, layer: int) -> list[Facts]:
    """Return the split of every head, what reads most backwards first."""
    split = {name: 100 * values[layer] for name, values in measured.heads.items()}
    order = np.argsort(-split["earlier"], kind="stable").tolist()
    return [
        {
            "head": head,
            **{f"{name}_percent": float(values[head]) for name, values in split.items()},
            "bucket": bucket(float(split["earlier"][head])),
        }
        for head in order
    ]


def bucket(percent: float) -> str:
    """Return the class of a share of earlier keys, as upstream sorts layers."""
    return next((name for least, name in BUCKETS if percent >= least), LOWEST)


def _summarise(measured: Measured, choice: TextSelection) -> Facts:
    mean = measured.received.mean(0)
    names = [layer.path for layer in choice.layers]
    focus, earlier = (mean_present(measured.shape[name], 1) for name in ("focus", "earlier"))
    return {
        "most_read_tokens": [
            {
                "position": position,
                "token": choice.tokens[position].text,
                "mass": float(mean[position]),
            }
            for position in np.argsort(-mean, kind="stable")[:10].tolist()
        ],
        "most_focused_layer": names[int(focus.argmax())],
        "most_causal_layer": names[int(earlier.argmax())],
        "mass_of_the_text_on_the_prompt": _mean(measured.read[1, :, :, 0]),
        "even": choice.prompt / choice.length,
        "mean_entropy": _mean(measured.shape["entropy"]),
    }
