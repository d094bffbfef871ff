"""Where in the picture words are read most, in words."""

from __future__ import annotations

import numpy as np

from attn.analysis.sketch.shapes import (
    name_ninth,
)
from attn.analysis.sketch.strokes import Drawn
from attn.analysis.words.selection import Selection
from attn.shapes import Region, WordMaps
from attn.wording import percent

HIGHEST = 0.1
"""Part of the cells, those with the largest values, that a word's place is told from."""


def describe_regions(selection: Selection, maps: WordMaps, drawn: Drawn) -> str:
    """Describe, per sample and word, where its map peaks and which strokes lie there."""
    cells = drawn.strokes.size
    count = max(1, round(HIGHEST * cells))
    lines = [
        f"Of each word, the {count} of {cells} cells where its map is highest: what they "
        "hold of the map, their centre of mass, the part of them in its ninth of the picture, "
        f"and the part that strokes cover, which of all cells is {percent(drawn.strokes.mean())}.",
    ]
    for sample, sample_maps in enumerate(maps):
        lines += ["", *([f"sample {sample}"] if len(maps) > 1 else [])]
        for word, word_map in zip(selection.words, sample_maps, strict=True):
            told = (
                _describe_largest(word_map, count, drawn.strokes)
                if word_map.sum() > 0
                else "not read by the model"
            )
            lines.append(f"{word.label}: {told}")
    return "\n".join(lines) + "\n"


def _describe_largest(map_: Region, count: int, strokes: Region) -> str:
    """Describe the `count` largest cells of a map; ties in order of the cells."""
    cells = np.unravel_index(np.argsort(-map_, axis=None, kind="stable")[:count], map_.shape)
    mass = map_[cells]
    centres = [(at + 0.5) / size for at, size in zip(cells, map_.shape, strict=True)]
    ninths = [np.minimum((3 * at).astype(int), 2) for at in centres]
    down, across = (float((mass * at).sum() / mass.sum()) for at in centres)
    row, column = (min(int(3 * at), 2) for at in (down, across))
    there = (ninths[0] == row) & (ninths[1] == column)
    return (
        f"{percent(mass.sum() / map_.sum())} of the map; {percent(across)} from the left, "
        f"{percent(down)} from the top ({name_ninth(down, across)}, {percent(there.mean())} of "
        f"them there); strokes cover {percent(strokes[cells].mean())}"
    )
