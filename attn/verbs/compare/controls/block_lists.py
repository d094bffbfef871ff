"""Block weights of a LoRA as other tools read them: made of what each block gives."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attn.lora.block_weights import Blocks, a1111_weights, comfyui_weights

A1111, COMFYUI = "block_weights_a1111.txt", "block_weights_comfyui.txt"
"""Presets, one a line, as `NAME:WEIGHT,WEIGHT,…`."""
IDLE = 0.05
"""A block is left out if it is shown to give, and to take away, less than this part of all."""

Row = Mapping[str, Any]


def write_block_lists(rows: Sequence[Row], backend: str, folder: Path) -> list[str]:
    """Write presets of every LoRA whose blocks were swept, where a tool has such lists.

    Args:
        rows: of `parts.csv`.
        backend: of the model.
        folder: where the files go.

    Returns:
        The files, relative to the folder.
    """
    wholes = dict.fromkeys(row["whole_name"] for row in rows if row["kind"] == "alone")
    swept = [[row for row in rows if row["whole_name"] == name] for name in wholes]
    lines: dict[str, list[str]] = {A1111: [], COMFYUI: []}
    for of_whole in swept:
        blocks = _blocks(of_whole)
        for name, weights, rest in _presets(of_whole, blocks):
            lists = {
                A1111: a1111_weights(blocks, weights, rest, backend),
                COMFYUI: comfyui_weights(blocks, weights, rest),
            }
            for file, told in lists.items():
                lines[file] += [f"{name}:{told}"] if told else []
    written = [file for file, of in lines.items() if of]
    for file in written:
        (folder / file).write_text("\n".join(lines[file]) + "\n", encoding="utf-8")
    return written


def _blocks(rows: Sequence[Row]) -> Blocks:
    return {row["kohya"] or row["part"]: tuple(row["part"].split(",")) for row in rows}


def _presets(rows: Sequence[Row], blocks: Blocks) -> Iterator[tuple[str, dict[str, float], float]]:
    """Yield the name of each preset, its weights, and that of blocks which the LoRA has not."""
    name = re.sub(r"[^\w.+-]+", "-", rows[0]["whole_name"])
    kept = _kept(rows, blocks)
    if kept is not None:
        yield f"{name}-kept", kept, 1.0
    for block in blocks:
        yield f"{name}-only-{block}", {of: float(of == block) for of in blocks}, 0.0
    for block in blocks:
        yield f"{name}-without-{block}", {of: float(of != block) for of in blocks}, 1.0


def _kept(rows: Sequence[Row], blocks: Blocks) -> dict[str, float] | None:
    """Return 0 for blocks that are shown to do next to nothing, else 1; None without intervals."""
    if any(math.isnan(row["low"]) for row in rows):
        return None
    idle = {
        block
        for block, names in blocks.items()
        if all(_is_idle(row) for row in rows if row["part"] == ",".join(names))
    }
    return {block: float(block not in idle) for block in blocks}


def _is_idle(row: Row) -> bool:
    middle = 1.0 if row["kind"] == "without" else 0.0
    return bool(max(abs(row["low"] - middle), abs(row["high"] - middle)) < IDLE)
