"""How the text was written: when each position was decided, and what it read at that moment.

At every step each position is *prompt*, *masked* (the model read a mask there) or *decided*. On A
as in `attn.analysis.texts`:

- states     mean over the rows of one state of Σ over the keys of one state of A[i, j]; the three
             keys of a row sum to 1. `even` is what the keys would get if every key got the same:
             their number divided by T.
- decisions  for every position that was decided, of its row at that step: the mass on `prompt`,
             `masked` (without itself), `decided` and `own`, which sum to 1; and the confidence.
- r          Pearson's correlation, over all decided positions, of the confidence and the mass on
             the prompt: does the model get surer where it reads the question?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attn.analysis.pool import Numbers
from attn.analysis.result import Result
from attn.analysis.texts import NEEDS_MAPS, Choice, TextOptions, choose, read_maps, stack_rows

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace import Trace

NEEDS = NEEDS_MAPS
STATES = ("prompt", "masked", "decided")
FEWEST = 3
"""Fewer decisions have no correlation worth a number."""

Options = TextOptions
Row = dict[str, Any]


def run(trace: Trace, options: TextOptions) -> Result:
    """Analyse how the text was written.

    Returns:
        `unmasking/states.csv`, `unmasking/decisions.csv`, `unmasking/correlation.csv`; the arrays
        `confidence` and `decided_at`, (sample, step, position) and (sample, position).

    Raises:
        AnalysisError: a layer, step or branch is not there, or nothing was decided in these steps.
    """
    choice = choose(trace, options)
    written = {
        name: _read(trace, choice, name) for name in ("tokens", "masked", "finalised", "confidence")
    }
    states, decisions = [], []
    for place, number, maps in read_maps(trace, choice):
        layer, step = choice.layers[number].index, choice.steps[place]
        for sample, one in enumerate(maps):
            moment = {name: array[place, sample] for name, array in written.items()}
            labels = {"layer": layer, "step": step, "sample": sample}
            kinds = kinds_of(moment["masked"], choice.prompt)
            states += [labels | row for row in _states(one, kinds)]
            decisions += [labels | row for row in _decisions(one, kinds, moment, choice)]
    tables = {"unmasking/states.csv": stack_rows(states)}
    if decisions:
        tables["unmasking/decisions.csv"] = stack_rows(decisions)
        tables["unmasking/correlation.csv"] = stack_rows(list(_correlate(decisions, choice)))
    return Result(tables, _arrays(written, choice))


def kinds_of(masked: np.ndarray, prompt: int) -> np.ndarray:
    """Return the state of every position as its place in `STATES`."""
    kinds = np.where(masked.astype(bool), 1, 2)
    kinds[:prompt] = 0
    return kinds


def _read(trace: Trace, choice: Choice, name: str) -> np.ndarray:
    """Return what was written, (step, sample, position)."""
    array = trace.written(name).sel(branch=choice.branch, step=list(choice.steps))
    return np.asarray(array.values)


def _states(one: Numbers, kinds: np.ndarray) -> list[Row]:
    rows = []
    for row, rows_of in enumerate(STATES):
        queries = one[kinds == row]
        for key, keys_of in enumerate(STATES):
            if len(queries):
                mass = float(queries[:, kinds == key].sum(1).mean())
                even = float((kinds == key).mean())
                rows.append({"rows": rows_of, "keys": keys_of, "mass": mass, "even": even})
    return rows


def _decisions(
    one: Numbers, kinds: np.ndarray, moment: dict[str, np.ndarray], choice: Choice
) -> list[Row]:
    rows = []
    for position in np.flatnonzero(moment["finalised"]).tolist():
        read = one[position]
        own = float(read[position])
        mass = {name: float(read[kinds == kind].sum()) for kind, name in enumerate(STATES)}
        mass["masked"] -= own
        rows.append(
            {
                "position": position,
                "id": int(moment["tokens"][position]),
                "token": _text(choice, position, int(moment["tokens"][position])),
                "confidence": float(moment["confidence"][position]),
                **mass,
                "own": own,
            }
        )
    return rows


def _text(choice: Choice, position: int, number: int) -> str:
    """Return a token's text where the trace knows it: of several texts it knows the ids alone."""
    token = choice.tokens[position]
    return token.text if token.id == number else ""


def _correlate(decisions: list[Row], choice: Choice) -> list[Row]:
    found = []
    for layer in choice.layers:
        own = [row for row in decisions if row["layer"] == layer.index]
        confidence, prompt = (
            np.array([row[name] for row in own]) for name in ("confidence", "prompt")
        )
        varies = len(own) >= FEWEST and confidence.std() > 0 and prompt.std() > 0
        value = float(np.corrcoef(confidence, prompt)[0, 1]) if varies else np.nan
        found.append({"layer": layer.index, "decisions": len(own), "r": value})
    return found


def _arrays(written: dict[str, np.ndarray], choice: Choice) -> dict[str, xr.DataArray]:
    """Return what the picture shows of the text alone."""
    import xarray as xr

    finalised = written["finalised"][..., choice.prompt :].astype(bool)
    confidence = np.where(finalised, written["confidence"][..., choice.prompt :], np.nan)
    at = np.where(finalised.any(0), finalised.argmax(0), -1)
    tokens = [token.text for token in choice.tokens[choice.prompt :]]
    coords = {
        "step": list(choice.steps),
        "position": list(range(choice.prompt, choice.length)),
        "token": ("position", np.array(tokens, object)),
    }
    dims = ("sample", "step", "position")
    return {
        "confidence": xr.DataArray(np.moveaxis(confidence, 1, 0), coords, dims),
        "decided_at": xr.DataArray(
            at, {name: coords[name] for name in ("position", "token")}, ("sample", "position")
        ),
    }
