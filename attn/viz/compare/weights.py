"""A LoRA's change of weights against the change of attention, layer by layer."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from attn.analysis.compare.weights import WeightsAgainstAttention
from attn.viz.charts import new_charts
from attn.viz.compare.comparison_scene import POINTS, VARIANT, style
from attn.viz.figures import FigureFile
from attn.viz.page import FAMILY
from attn.viz.style import FAINT, GRID
from attn.wording import digits

SIZE = (7.2, 5.0)  # inches
NEAR = 0.3, 0.05
"""Parts of the axes within which names of points would lie over each other."""
NAMED = 5
"""So many layers are named: those whose attention changed most."""


def draw_weights(
    weights: WeightsAgainstAttention, heading: tuple[str, str], texts: dict[str, str]
) -> FigureFile:
    """Draw `lora_weights.png`: one point per layer.

    Args:
        weights: the table.
        heading: of the page: the prompt, and what was compared, such as the LoRA's name.
        texts: what the PNG says of itself.
    """
    columns = weights.table
    norms, change = columns["norm"], 100 * columns["change"]
    r = "" if np.isnan(weights.correlation) else f" · correlation {digits(weights.correlation)}"
    title, compared = heading
    changed = [at for at in np.argsort(-change, kind="stable") if change[at] > 0]
    few = f" · named: the {NAMED} that changed most" if len(changed) > NAMED else ""
    subtitle = f"{compared} · one point per attention layer{few}{r}"
    figure, (axes,) = new_charts((title, subtitle), SIZE)
    axes.scatter(norms, change, s=26, color=VARIANT, alpha=0.75, linewidths=0, clip_on=False)
    named: list[int] = []
    for at in changed[:NAMED]:
        is_near = any(
            abs(norms[at] - norms[other]) < NEAR[0] * norms.max()
            and abs(change[at] - change[other]) < NEAR[1] * change.max()
            for other in named
        )
        named.append(at)
        is_right = norms[at] > norms.max() * 0.7
        axes.annotate(
            " ".join(filter(None, (columns["layer_name"][at], columns["kohya"][at]))),
            (norms[at], change[at]),
            (-6 if is_right else 6, -10 if is_near else 3),
            textcoords="offset points",
            ha="right" if is_right else "left",
            fontsize=8.5,
            color=FAINT,
            fontfamily=FAMILY,
        )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    style(axes, across=True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    about = {"fontsize": 9, "color": FAINT, "fontfamily": FAMILY}
    axes.set_xlabel("|scale| · ‖ΔW‖ of the layer's modules", about)
    axes.set_ylabel(f"mean absolute change of a word's mass, {POINTS}", about)
    return FigureFile("lora_weights.png", figure, texts)
