"""What a LoRA changes with its trigger words in the prompt and without them, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence

from attn.viz.charts import new_charts
from attn.viz.compare.pair_sheet import IMAGE, ShownPair, beside
from attn.viz.figures import FigureFile
from attn.viz.page import TITLE, write_title

MOST = 4
"""So many seeds are drawn, the first ones; `leak.csv` is of all."""
LARGER = 1.5
"""So many times the width of the images of `pairs.png`."""


def draw_leak(
    rows: Sequence[tuple[ShownPair, ShownPair]],
    heading: tuple[str, str],
    path: str,
    texts: dict[str, str],
) -> FigureFile:
    """Draw the images of some seeds: at the left with the words, at the right without them.

    Args:
        rows: of each seed the pair with the words, and the pair without them.
        heading: title and subtitle.
        path: of the figure.
        texts: what the PNG says of itself.
    """
    aspect = max(float(pair.base.shape[0] / pair.base.shape[1]) for row in rows for pair in row)
    wide = LARGER * IMAGE / max(aspect, 1.0)
    size = (2 * (2 * wide + 0.3), len(rows) * (wide * aspect + TITLE + 0.1))
    figure, panels = new_charts(heading, size, nrows=len(rows), ncols=2)
    for axes, pair in zip(panels, (pair for row in rows for pair in row), strict=True):
        axes.set_axis_off()
        axes.imshow(beside(pair.base, pair.variant), interpolation="antialiased")
        write_title(axes, pair.title, pair.remark, size=8.5)
    return FigureFile(path, figure, texts)
