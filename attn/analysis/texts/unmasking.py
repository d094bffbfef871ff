"""How the text was written: when each position was decided, and what it read at that moment.

At every step each position is *prompt*, *masked* (the model read a mask there) or *decided*. On A
as in `attn.analysis.texts.texts`:

- states     mean over the rows of one state of Σ over the keys of one state of A[i, j]; the three
             keys of a row sum to 1. `even` is what the keys would get if every key got the same:
             their number divided by T.
- decisions  for every position that was decided, of its row at that step: the mass on `prompt`,
             `masked` (without itself), `decided` and `own`, which sum to 1; and the confidence.
- r          Pearson's correlation, over all decided positions, of the confidence and the mass on
             the prompt: does the model get surer where it reads the question?
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.analysis.numbers import Numbers
from attn.analysis.result import Result
from attn.analysis.texts.texts import (
    NEEDS_MAPS,
    PromptOptions,
    TextSelection,
    choose,
    read_maps,
    read_written,
    stack_rows,
)

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = replace(NEEDS_MAPS, written=True, decided=True)
STATES = ("prompt", "masked", "decided")
ROUNDING = 1e-5
"""What differs by less than this does not vary: a sure model's confidences are all 1."""
FEWEST = 3
"""Fewer decisions have no correlation worth a number."""

Options = PromptOptions
Row = dict[str, Any]


def run(trace: Trace, options: PromptOptions) -> Result:
    """Analyse how the text was written.

    Returns:
        `unmasking/states.csv`, `unmasking/decisions.csv`, `unmasking/correlation.csv`; the arrays
        `confidence`, (sample, step, position), `states` and `even`, (sample, rows, keys, step), the
        first mean over the layers, and `on_prompt`, (sample, step, position), what each position
        read of the prompt when it was decided, mean over the layers.

    Raises:
        AnalysisError: a layer, step or branch is not there, or nothing was decided in these steps.
    """
    choice = choose(trace, options)
    written = {
        name: read_written(trace, choice, name)
        for name in ("tokens", "masked", "finalised", "confidence")
    }
    states, decisions = [], []
    for index, number, maps in read_maps(trace, choice):
        layer, step = choice.layers[number].index, choice.steps[index]
        for sample, matrix in enumerate(maps):
            moment = {name: array[index, sample] for name, array in written.items()}
            labels = {"layer": layer, "step": step, "sample": sample}
            kinds = kinds_of(moment["masked"], choice.prompt)
            states += [labels | row for row in _states(matrix, kinds)]
            decisions += [labels | row for row in _decisions(matrix, kinds, moment, choice)]
    tables = {"unmasking/states.csv": stack_rows(states)}
    if decisions:
        tables["unmasking/decisions.csv"] = stack_rows(decisions)
        tables["unmasking/correlation.csv"] = stack_rows(list(_correlate(decisions, choice)))
    arrays = {"confidence": _confidence(written, choice)}
    arrays |= _curves(states, choice, trace.manifest.samples)
    arrays["on_prompt"] = _on_prompt(decisions, arrays["confidence"], len(choice.layers))
    return Result(tables, arrays)


def kinds_of(masked: np.ndarray, prompt: int) -> np.ndarray:
    """Return the state of every position as its place in `STATES`."""
    kinds = np.where(masked.astype(bool), 1, 2)
    kinds[:prompt] = 0
    return kinds


def _states(matrix: Numbers, kinds: np.ndarray) -> list[Row]:
    rows = []
    for row, rows_of in enumerate(STATES):
        queries = matrix[kinds == row]
        for key, keys_of in enumerate(STATES):
            if len(queries):
                mass = float(queries[:, kinds == key].sum(1).mean())
                even = float((kinds == key).mean())
                rows.append({"rows": rows_of, "keys": keys_of, "mass": mass, "even": even})
    return rows


def _decisions(
    matrix: Numbers, kinds: np.ndarray, moment: dict[str, np.ndarray], choice: TextSelection
) -> list[Row]:
    rows = []
    for position in np.flatnonzero(moment["finalised"]).tolist():
        read = matrix[position]
        diagonal = float(read[position])
        mass = {name: float(read[kinds == kind].sum()) for kind, name in enumerate(STATES)}
        mass["masked"] -= diagonal
        rows.append(
            {
                "position": position,
                "id": int(moment["tokens"][position]),
                "token": _text(choice, position, int(moment["tokens"][position])),
                "confidence": float(moment["confidence"][position]),
                **mass,
                "own": diagonal,
            }
        )
    return rows


def _text(choice: TextSelection, position: int, number: int) -> str:
    """Return a token's text where the trace knows it: of several texts it knows the ids alone."""
    token = choice.tokens[position]
    return token.text if token.id == number else ""


def _correlate(decisions: list[Row], choice: TextSelection) -> list[Row]:
    rows = []
    for layer in choice.layers:
        of_layer = [row for row in decisions if row["layer"] == layer.index]
        confidence, prompt = (
            np.array([row[name] for row in of_layer]) for name in ("confidence", "prompt")
        )
        value = correlate(confidence, prompt)
        rows.append({"layer": layer.index, "decisions": len(of_layer), "r": value})
    return rows


def correlate(confidence: np.ndarray, prompt: np.ndarray) -> float:
    """Return r, or NaN where there are too few decisions, or one of the two does not vary.

    Args:
        confidence: of each decision.
        prompt: its mass on the prompt.
    """
    if len(confidence) < FEWEST or min(confidence.std(), prompt.std()) <= ROUNDING:
        return float("nan")
    return float(np.corrcoef(confidence, prompt)[0, 1])


def _confidence(written: dict[str, np.ndarray], choice: TextSelection) -> xr.DataArray:
    """Return how sure each decision was, NaN where nothing was decided."""
    import xarray as xr

    finalised = written["finalised"][..., choice.prompt :].astype(bool)
    confidence = np.where(finalised, written["confidence"][..., choice.prompt :], np.nan)
    tokens = [token.text for token in choice.tokens[choice.prompt :]]
    coords = {
        "step": list(choice.steps),
        "position": list(range(choice.prompt, choice.length)),
        "token": ("position", np.array(tokens, object)),
    }
    return xr.DataArray(np.moveaxis(confidence, 1, 0), coords, ("sample", "step", "position"))


def _curves(states: list[Row], choice: TextSelection, samples: int) -> dict[str, xr.DataArray]:
    """Lay the masses between states out by step, mean over the layers; NaN where there are none."""
    import xarray as xr

    steps = {step: index for index, step in enumerate(choice.steps)}
    dims = ("sample", "rows", "keys", "step")
    shape = (samples, len(STATES), len(STATES), len(steps))
    coords = {"rows": list(STATES), "keys": list(STATES), "step": list(steps)}
    curves = {}
    for name, column in (("states", "mass"), ("even", "even")):
        total, count = np.zeros(shape), np.zeros(shape)
        for row in states:
            cell = (
                row["sample"],
                STATES.index(row["rows"]),
                STATES.index(row["keys"]),
                steps[row["step"]],
            )
            total[cell] += row[column]
            count[cell] += 1
        mean = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
        curves[name] = xr.DataArray(mean, coords, dims)
    return curves


def _on_prompt(decisions: list[Row], confidence: xr.DataArray, layers: int) -> xr.DataArray:
    steps = {step: index for index, step in enumerate(confidence["step"].values.tolist())}
    first = int(confidence["position"][0])
    values = np.where(np.isnan(confidence.values), np.nan, 0.0)
    for row in decisions:
        if row["position"] >= first:
            cell = (row["sample"], steps[row["step"]], row["position"] - first)
            values[cell] += row["prompt"] / layers
    return confidence.copy(data=values)
