"""Who reads whom while each block is written: the prompt and the blocks of a text.

A text is written block after block. For each of them, A as in `texts.texts` is averaged
over the steps in which it was written, and summed up by parts: the prompt and every block. `mass`
is the mean over the rows of one part of the probability on the keys of a part, 0 to 1, in all 1;
`even` is what they would get if every key got the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.numbers import Numbers
from attn.analysis.result import Result
from attn.analysis.texts.texts import (
    NEEDS_MAPS,
    PromptOptions,
    TextSelection,
    choose,
    lay_out,
    read_maps,
    read_written,
)
from attn.shapes import TokenMaps

if TYPE_CHECKING:
    from attn.trace.trace import Trace

NEEDS = replace(NEEDS_MAPS, written=True, decided=True)
Options = PromptOptions


def run(trace: Trace, options: PromptOptions) -> Result:
    """Sum maps up by blocks.

    Returns:
        `blocks/blocks.csv`; the array `blocks`, (sample, written, rows, keys), mean over layers.

    Raises:
        AnalysisError: a layer, step or branch is not there.
    """
    import xarray as xr

    choice, samples = choose(trace, options), trace.manifest.samples
    length = int(trace.manifest.request.options.get("block_length") or choice.length)
    parts = parts_of(choice, length)
    writing = _blocks_of_steps(trace, choice, length)
    blocks = sorted({number for number in writing if number >= 0})
    masses = np.zeros((len(choice.layers), samples, len(blocks), len(parts), len(parts)))
    steps = np.bincount([blocks.index(number) for number in writing if number >= 0])
    for step, layer, maps in read_maps(trace, choice):
        if writing[step] >= 0:
            index = blocks.index(writing[step])
            masses[layer, :, index] += sum_parts(maps, parts) / steps[index]
    names = ["prompt", *(f"block {number}" for number in range(len(parts) - 1))]
    even = np.array([stop - start for start, stop in parts]) / choice.length
    axes = {
        "layer": [layer.index for layer in choice.layers],
        "sample": range(samples),
        "written": blocks,
        "rows": names,
        "keys": names,
    }
    table = lay_out(axes, {"mass": masses, "even": np.broadcast_to(even, masses.shape)})
    array = xr.DataArray(
        masses.mean(0),
        {"written": blocks, "rows": names, "keys": names},
        ("sample", "written", "rows", "keys"),
    )
    return Result({"blocks/blocks.csv": table}, {"blocks": array})


def parts_of(choice: TextSelection, block: int) -> list[tuple[int, int]]:
    """Return start and stop of the prompt and of every block."""
    starts = [0, *range(choice.prompt, choice.length, block)]
    return list(zip(starts, [*starts[1:], choice.length], strict=True))


def sum_parts(maps: TokenMaps, parts: list[tuple[int, int]]) -> Numbers:
    """Return the mass that a query of each part gives to each part, (sample, rows, keys).

    Args:
        maps: (sample, query, key), rows sum to 1.
        parts: start and stop of each; together all positions.
    """
    starts = [start for start, _ in parts]
    lengths = np.array([stop - start for start, stop in parts])
    sums = np.add.reduceat(np.add.reduceat(maps, starts, axis=1), starts, axis=2)
    return np.asarray(sums / lengths[:, None])


def _blocks_of_steps(trace: Trace, choice: TextSelection, length: int) -> list[int]:
    """Return the number of the block that each step writes, -1 where it writes none."""
    finalised = read_written(trace, choice, "finalised")[:, 0].astype(bool)
    first = np.where(finalised.any(1), finalised.argmax(1), -1)
    numbers = np.where(first >= 0, (first - choice.prompt) // length, -1)
    return [max(-1, int(number)) for number in numbers]
