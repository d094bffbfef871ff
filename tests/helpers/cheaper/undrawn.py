"""Figures that are laid out but not drawn, for tests that look at what stands beside them.

Drawing takes most of the time of an analysis. What figures look like, `viz/` tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

SIDE = 8  # pixels of a figure that is not drawn


_drawn: list[str] = []


@contextmanager
def undrawn(*drawn: str) -> Iterator[None]:
    """Write every figure as a white square within a block.

    Args:
        drawn: ends of the paths of figures that are drawn all the same.
    """
    from attn.viz import figures

    render, write = figures.render, figures.write

    def write_some(figure_file: Any, *arguments: Any) -> None:
        is_drawn = figure_file.path.endswith((*drawn, *_drawn))
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(figures, "render", render if is_drawn else blank)
            write(figure_file, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "render", blank)
        patch.setattr(figures, "write", write_some)
        yield


@contextmanager
def drawn() -> Iterator[None]:
    """Draw within a block of one in which figures are not drawn."""
    _drawn.append("")  # ends every path
    try:
        yield
    finally:
        _drawn.pop()


def blank(figure: Figure) -> Image.Image:
    """Return what stands for a figure.

    It is not emptied, as one that is drawn is: that takes a quarter of the time of laying it out.
    """
    from PIL import Image

    return Image.new("RGB", (SIDE, SIDE), "white")
