"""The style sheet of figures: colours, and what matplotlib gives new axes."""

from __future__ import annotations

from typing import Any

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
"""For `matplotlib.rc_context`: axes keep what was set when they were made."""
