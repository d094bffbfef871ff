"""The style sheet of figures: colours, and what matplotlib gives new axes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from matplotlib import rc_context

from attn.viz.fonts import FAMILY

INK, FAINT = "#1a1a1a", "#6b6b6b"
RULE, GRID = "#9aa0a8", "#e4e6ea"
TICK, LABEL = 7.5, 8.5
"""Points of the numbers at an axis, and of what says what they are."""

STYLE: dict[str, Any] = {
    "font.family": FAMILY,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.labelsize": LABEL,
    "axes.labelpad": 3,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "xtick.labelsize": TICK,
    "ytick.labelsize": TICK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
"""Settings of matplotlib; axes keep what was set when they were made."""


LEGEND: dict[str, Any] = {
    "frameon": False,
    "borderpad": 0,
    "borderaxespad": 0,
    "labelcolor": INK,
}
"""What legends of pages have in common."""


def styled() -> AbstractContextManager[None]:
    """Make axes in the style sheet within a block; matplotlib's own settings come back."""
    return rc_context(STYLE)  # type: ignore[arg-type]  # expects a literal type of every name
