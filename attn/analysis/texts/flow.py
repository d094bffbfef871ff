"""Who reads whom: what the rows of the prompt and of the text read of each other.

For the rows R of one segment and the keys K of another, per layer, head and step:

- mass    mean over the rows i in R of Σ_{j in K} probs[i, j], from the float32 measure `total`;
          probability, 0 to 1, over both K together 1, with a learned sink (`sink`) where the
          layer has one. It does not depend on the lengths.
- sum     mass · (number of rows in that step): what MMaDA's attention visualisation calls
          `prompt_to_generated` (rows of the text, keys of the prompt) and `generated_to_prompt`
          (the other way round).
- ratio   the former sum divided by the latter, as there without its 1e-8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attn.analysis.needs import Needs
from attn.analysis.numbers import Numbers, mean_present
from attn.analysis.result import Result
from attn.analysis.tables import Table
from attn.analysis.texts.texts import (
    PromptOptions,
    TextSelection,
    axes_of,
    choose,
    lay_out,
    mean_over_steps,
    read_measure,
)
from attn.trace.shapes import spans_of

if TYPE_CHECKING:
    from attn.trace.trace import Trace

Axes = Mapping[str, Sequence[Any]]
Rows = NDArray[np.bool_]
"""Which positions of a segment were computed as rows, (step, sample, position)."""

SEGMENTS = ("prompt", "generated")
BLOCKS = tuple(f"{rows}.all" for rows in SEGMENTS)
NEEDS = Needs(written=True, measures=tuple(f"mass.{block}" for block in BLOCKS))


@dataclass(frozen=True)
class FlowOptions(PromptOptions):
    """Options of the analysis of flow."""

    prompt_length: int | None = field(
        default=None, metadata={"help": "not read: masses are those of the run's own prompt"}
    )
    heads: bool = field(default=False, metadata={"help": "add a row per head to flow.csv"})


def run(trace: Trace, options: FlowOptions) -> Result:
    """Analyse who reads whom.

    Returns:
        `flow/flow.csv` and `flow/flow_summary.csv`; the array `read`, (sample, layer, step): what
        the text reads of the prompt.

    Raises:
        AnalysisError: a layer, step or branch is not there.
    """
    import xarray as xr

    choice = choose(trace, replace(options, prompt_length=None), BLOCKS)
    keys, totals = _read_totals(trace, choice)
    mean = mean_present(totals, 4)[:, :, :, :, None]
    split = np.concatenate([mean, totals], axis=4) if options.heads else mean
    spans = spans_of(trace.manifest)
    rows = [choice.rows[..., slice(*spans[name])] for name in SEGMENTS]
    axes = axes_of(choice, trace.manifest.samples)
    read = xr.DataArray(
        np.moveaxis(mean[1, :, :, :, 0, keys.index("prompt")], 2, 0),
        {"layer": list(axes["layer"]), "step": list(choice.steps)},
        ("sample", "layer", "step"),
        attrs={
            "unit": "attention of the text to the prompt, mean over its positions and all heads"
        },
    )
    tables = {
        "flow/flow.csv": _tabulate(split, rows, axes, keys),
        "flow/flow_summary.csv": _summarise(mean[..., 0, :], rows, axes, keys),
    }
    notes: tuple[str, ...] = ()
    if options.prompt_length not in (None, choice.prompt):
        notes = (
            f"'flow' does not read prompt_length: its masses were folded while capturing, over the "
            f"{choice.prompt} positions of the run's own prompt",
        )
    return Result(tables, {"read": read}, notes)


def _read_totals(trace: Trace, choice: TextSelection) -> tuple[list[str], Numbers]:
    """Return the segments of all keys, and (rows, layer, step, sample, head, key segment).

    What a layer does not have, a learned sink, is NaN.
    """
    keys = list(dict.fromkeys(part.name for layer in choice.layers for part in layer.keys))
    read = np.stack([read_measure(trace, choice, "total", rows) for rows in SEGMENTS])
    totals = np.full((*read.shape[:-1], len(keys)), np.nan)
    for number, layer in enumerate(choice.layers):
        has = [keys.index(part.name) for part in layer.keys]
        of_layer = totals[:, number]
        of_layer[..., has] = read[:, number, ..., : len(has)]
    return keys, totals


def _tabulate(split: Numbers, rows: Sequence[Rows], axes: Axes, keys: Sequence[str]) -> Table:
    """Lay out (rows, layer, step, sample, head, keys)."""
    heads = ["mean", *map(str, range(split.shape[4] - 1))]
    named = {"rows": SEGMENTS, **axes, "head": heads, "keys": keys}
    counts = np.stack([each.sum(-1) for each in rows])
    sums = split * counts[:, None, :, :, None, None]
    return lay_out(named, {"mass": split, "sum": sums})


def _summarise(mean: Numbers, rows: Sequence[Rows], axes: Axes, keys: Sequence[str]) -> Table:
    """Return one line per layer and sample, means over the steps."""
    of_prompt, of_text = map(mean_over_steps, mean, rows)
    to_generated = of_text[..., keys.index("prompt")]
    to_prompt = of_prompt[..., keys.index("generated")]
    lengths = [each.any(0).sum(-1) for each in rows]
    sums = (to_generated * lengths[1], to_prompt * lengths[0])
    ratio = np.divide(*sums, out=np.full_like(sums[0], np.nan), where=sums[1] > 0)
    named = {"layer": axes["layer"], "sample": axes["sample"]}
    values = {
        "prompt_to_generated": to_generated,
        "generated_to_prompt": to_prompt,
        "prompt_to_generated_sum": sums[0],
        "generated_to_prompt_sum": sums[1],
        "ratio": ratio,
    }
    return lay_out(named, values)
