"""Which tokens are read most, and which are sinks.

Definitions, for one layer, head and step, from the float32 measure `mass` of the block `all.all`:

- mass        mean over all rows of the probability that the token receives; over all tokens 1.
- column_sum  T · mass, the sum over the rows: what MMaDA's attention visualisation calls outgoing
              influence. 1 where all tokens get the same. Of a step that reads only a part of a text
              T is the number of its keys.
- sink        column_sum > mean of the other T - 1 column sums + epsilon. With epsilon = 3 the rule
              of Rulli et al. 2025 (https://arxiv.org/abs/2510.15731) for masked diffusion language
              models.
- stay        of every two steps that follow each other and have a sink between them: how many
              tokens are sinks in both, divided by how many are in either; the mean. 1 where sinks
              never move, 0 where no sink is one in the next step.

That visualisation's incoming influence is the sum of a whole row, 1 for every token, and left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.needs import Needs
from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.result import Result
from attn.analysis.tables import Table, make_table
from attn.analysis.texts.texts import (
    BLOCK,
    PromptOptions,
    TextSelection,
    choose,
    lay_out,
    mean_over_steps,
    read_measure,
    stack_rows,
)

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(texts=True, measures=(f"mass.{BLOCK}",))


@dataclass(frozen=True)
class InfluenceOptions(PromptOptions):
    """Options of the analysis of influence, with the threshold of a sink."""

    max_tokens: int | None = field(
        default=None, metadata={"help": "only this many tokens in table and picture, the first"}
    )
    epsilon: float = field(
        default=3.0, metadata={"help": "excess of a sink's column sum over the others' mean"}
    )
    heads: bool = field(default=False, metadata={"help": "look for sinks in every head"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1; got {self.max_tokens}")


def run(trace: Trace, options: InfluenceOptions) -> Result:
    """Analyse which tokens are read.

    Returns:
        `influence/tokens.csv` (means over steps and heads), `influence/sinks.csv` where there are
        sinks, and `influence/sink_moves.csv`; the arrays `mass`, (sample, layer, position), and
        `sinks`, (sample, step, position), the share of layers in which a token is a sink.

    Raises:
        AnalysisError: a layer, step or branch is not there.
    """
    import xarray as xr

    choice, samples = choose(trace, options), trace.manifest.samples
    mass = read_measure(trace, choice, "mass", BLOCK)
    over = mean_present(mean_over_steps(mass, choice.rows), 2)[..., : options.max_tokens]
    tables = {"influence/tokens.csv": _tabulate(over, choice, samples)}
    heads = mass if options.heads else mean_present(mass, 3)[:, :, :, None]
    keys = np.array(choice.keys, np.float64).reshape(1, -1, 1, 1, 1)
    sinks = is_sink(heads * keys, options.epsilon, keys)
    tables["influence/sink_moves.csv"] = _tabulate_moves(sinks, choice, options.heads)
    notes: tuple[str, ...] = ()
    if sinks.any():
        tables["influence/sinks.csv"] = _list_sinks(heads, sinks, choice, options.heads)
    else:
        notes = (f"no token is a sink by the rule of epsilon {options.epsilon:g}",)
    array = xr.DataArray(
        np.moveaxis(over, 1, 0),
        {
            "layer": [layer.index for layer in choice.layers],
            "token": choice.labels("position", options.max_tokens),
        },
        ("sample", "layer", "position"),
        attrs={"unit": "attention that a token receives, mean over rows, heads and steps"},
    )
    array.attrs["prompt"] = choice.prompt
    return Result(tables, {"mass": array, "sinks": _sinks_by_step(sinks, choice, options)}, notes)


def _sinks_by_step(
    sinks: np.ndarray, choice: TextSelection, options: InfluenceOptions
) -> xr.DataArray:
    """Return in which share of the layers (and heads) a token is a sink."""
    import xarray as xr

    share = np.moveaxis(sinks.mean(axis=(0, 3)), 1, 0)[..., : options.max_tokens]
    return xr.DataArray(
        share,
        {
            "step": list(choice.steps),
            "token": choice.labels("position", options.max_tokens),
        },
        ("sample", "step", "position"),
        attrs={"prompt": choice.prompt, "epsilon": options.epsilon},
    )


def is_sink(sums: Numbers, epsilon: float, keys: Numbers | int) -> np.ndarray:
    """Flag column sums that exceed the mean of the others by more than epsilon.

    Args:
        sums: (…, key); those of keys that are not there yet are 0.
        epsilon: the excess.
        keys: how many are there, as a number or for each row of `sums`, (…, 1).
    """
    others = (sums.sum(-1, keepdims=True) - sums) / np.maximum(np.asarray(keys) - 1, 1)
    return np.asarray(sums > others + epsilon)


def how_still(sinks: np.ndarray) -> float:
    """Return `stay`: the mean overlap of the sinks of consecutive steps, NaN without sinks.

    Args:
        sinks: (step, key), which keys are sinks.
    """
    before, after = sinks[:-1], sinks[1:]
    either = (before | after).sum(1)
    seen = either > 0
    if not seen.any():
        return float("nan")
    return float(((before & after).sum(1)[seen] / either[seen]).mean())


def _tabulate_moves(sinks: np.ndarray, choice: TextSelection, single: bool) -> Table:
    """Count the sinks of every layer (and head), and how stable they are over the steps."""
    rows = []
    for layer, sample, head in np.ndindex(len(sinks), *sinks.shape[2:4]):
        is_sink = sinks[layer, :, sample, head]
        rows.append(
            {
                "layer": choice.layers[layer].index,
                "sample": sample,
                "head": str(head) if single else "mean",
                "steps": len(is_sink),
                "steps_with_sinks": int(is_sink.any(1).sum()),
                "sinks_per_step": float(is_sink.sum(1).mean()),
                "positions": int(is_sink.any(0).sum()),
                "always": int(is_sink.all(0).sum()),
                "stay": how_still(is_sink),
            }
        )
    return stack_rows(rows)


def _tabulate(over: Numbers, choice: TextSelection, samples: int) -> Table:
    table = lay_out(
        {
            "layer": [layer.index for layer in choice.layers],
            "sample": range(samples),
            "position": range(over.shape[-1]),
        },
        {"mass": over, "column_sum": over * choice.length},
    )
    places = zip(table["position"].tolist(), table["sample"].tolist(), strict=True)
    tokens = [choice.text(position, sample) for position, sample in places]
    segments = [choice.segment(position) for position in table["position"].tolist()]
    return make_table({**table, "token": tokens, "segment": segments})


def _list_sinks(heads: Numbers, sinks: np.ndarray, choice: TextSelection, single: bool) -> Table:
    rows = [
        {
            "layer": choice.layers[layer].index,
            "step": choice.steps[step],
            "sample": sample,
            "head": str(head) if single else "mean",
            "position": position,
            "token": choice.text(position, sample),
            "segment": choice.segment(position),
            "column_sum": heads[layer, step, sample, head, position] * choice.keys[step],
        }
        for layer, step, sample, head, position in np.argwhere(sinks).tolist()
    ]
    return stack_rows(rows)
