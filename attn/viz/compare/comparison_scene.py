"""What the pictures of a comparison are about: the baseline and its variants, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from attn.analysis.compare.changes import TermChange
from attn.analysis.compare.terms import Key, Term
from attn.viz.figures import Pixels
from attn.viz.labels import short
from attn.viz.overlay import ColourScale, show_heat, show_image
from attn.viz.page import FAMILY
from attn.viz.strokes import Lines, say_strokes, show_strokes
from attn.viz.style import FAINT, GRID, INK, RULE
from attn.wording import count_noun

BASE = "#5d6570"
"""Colour of the baseline."""
VARIANTS = ("#a583e3", "#7d4fcb", "#552a9c", "#2a0f57")
"""Colours of up to four variants, from light to dark, as scales rise; no word is violet."""
VARIANT, RANDOM = VARIANTS[1], "#8d949d"
"""Colours of a single variant, and of a random control."""
DIVERGING = "RdBu_r"
POINTS = "percentage points of all attention"
"""Unit of a change of mass; a change in % is a part of what the word has in the baseline."""

TINY = 1e-9
"""Below this a number is written as 0."""

MASK, HATCH = "#c3c7cd", "////"
"""Colour and kind of the thin lines on bare paper where an interval holds 0."""
HATCHED = "hatched: the 95 % interval holds 0"
FEW_PAIRS = "too few pairs for intervals"

Heat = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SceneSide:
    """One generation: the baseline or a variant.

    Attributes:
        label: what it is called.
        image: what it painted, or None.
        maps: (word, row, column), or None; the words are the same for all sides.
        note: what sets it apart from the other sides, such as its seed.
        strokes: lines of the drawing that it was given, if it was given one.
        difference: level and SSIM of the images against the baseline's, mean over all pairs; None
            of the baseline, without images, and where there are several variants.
    """

    label: str
    image: Pixels | None
    maps: Heat | None
    note: str = ""
    strokes: Lines = ()
    difference: tuple[float, float] | None = None

    def remark(self, role: str) -> str:
        """Return the remark beside its name: whether it is the baseline, and its note."""
        return " · ".join(filter(None, (role, self.note)))

    @property
    def aspect(self) -> float:
        """Height divided by width."""
        if self.image is not None:
            return float(self.image.shape[0] / self.image.shape[1])
        return 1.0 if self.maps is None else float(self.maps.shape[1] / self.maps.shape[2])


@dataclass(frozen=True)
class ComparisonScene:
    """A baseline, its variants and what changed.

    Attributes:
        prompt: of the baseline; of all sides if they differ.
        subtitle: what is compared, in words.
        words: of one segment, those that the maps are of.
        sides: the baseline, then the variants.
        changes: of mass, the largest first; one list per variant.
        texts: what a PNG says of itself.
        shown: of which pair pictures and maps are, in words.
        others: prompts of pairs that only charts are of.
    """

    prompt: str
    subtitle: str
    words: Sequence[Term]
    sides: Sequence[SceneSide]
    changes: Sequence[Sequence[TermChange]]
    texts: dict[str, str]
    shown: str = ""
    others: int = 0

    @property
    def title_of_charts(self) -> str:
        """The prompt, and how many more there are: charts are of all pairs."""
        more = f" and {count_noun(self.others, 'more prompt')}" if self.others else ""
        return f"{self.prompt}{more}"

    @property
    def subtitle_of_images(self) -> str:
        """What is compared, and what of it is in sight."""
        strokes = next((side.strokes for side in self.sides if side.strokes), ())
        return " · ".join(filter(None, (self.subtitle, self.shown))) + say_strokes(strokes)


def variant_colours(count: int) -> tuple[str, ...]:
    """Return the colours of so many variants, up to four; those of two are apart."""
    return {1: (VARIANT,), 2: VARIANTS[1::2]}.get(count, VARIANTS[:count])


def show_side(axes: Axes, side: SceneSide) -> None:
    """Show what was painted, with the strokes below it, or a frame that says there is nothing."""
    if side.image is not None:
        show_image(axes, side.image)
        show_strokes(axes, side.strokes)
        return
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(GRID)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(0.5, 0.5, "no image", transform=axes.transAxes, ha="center", color=FAINT)


def show_map(axes: Axes, side: SceneSide, word: int, scale: ColourScale) -> None:
    """Show where a word is attended to."""
    if side.maps is not None:
        show_heat(axes, side.maps[word], side.image, scale)
        show_strokes(axes, side.strokes)


def is_masked(entry: TermChange) -> NDArray[np.bool_]:
    """Return which cells have an interval that holds 0; none where there are no intervals."""
    low, high = np.asarray(entry.change.low), np.asarray(entry.change.high)
    return np.asarray((low <= 0) & (high >= 0))


def say_hatched(changes: Sequence[TermChange]) -> str:
    """Say what hatched cells are, or why there are none."""
    has_intervals = any(np.isfinite(entry.change.low).any() for entry in changes)
    return HATCHED if has_intervals else FEW_PAIRS


def show_changes(
    axes: Axes, values: NDArray[np.float64], masked: NDArray[np.bool_], end: float, aspect: float
) -> None:
    """Draw cells of change between -end and end; masked ones are paler than any that is shown.

    Args:
        axes: where.
        values: (row, column).
        masked: which of them are hatched.
        end: of the scale, which is symmetric about 0.
        aspect: height of a cell divided by its width; 0 fills the axes.
    """
    axes.imshow(
        np.ma.masked_array(values, masked),
        cmap=colormaps[DIVERGING].with_extremes(bad="white"),
        norm=Normalize(-end, end),
        aspect=aspect or "auto",
        interpolation="nearest",
    )
    squares = [
        Path.unit_rectangle().transformed(Affine2D().translate(column - 0.5, row - 0.5))
        for row, column in np.argwhere(masked)
    ]
    if squares:
        lines = PathPatch(Path.make_compound_path(*squares), facecolor="none", linewidth=0)
        lines.set(hatch=HATCH, edgecolor=MASK, hatch_linewidth=0.5)
        axes.add_patch(lines)
    rows, columns = masked.shape
    frame = Rectangle((-0.5, -0.5), columns, rows, fill=False, edgecolor=MASK, linewidth=0.8)
    axes.add_patch(frame)


def say_shown(shown: int, total: int, noun: str = "words") -> str:
    """Return an addition to a heading if not all words are drawn; the tables have all."""
    return "" if shown == total else f" · {shown} of {total} {noun} shown"


def name_terms(terms: Sequence[Term], letters: int) -> dict[Key, str]:
    """Return the labels of terms in a figure; with several segments they name them too."""
    segments = {term.segment for term in terms}
    endings = {name: f" · {name}" if len(segments) > 1 else "" for name in segments}
    return {
        term.key: short(term.label, letters - len(endings[term.segment])) + endings[term.segment]
        for term in terms
    }


def signed(number: float, digits: int = 3) -> str:
    """Return a number with its sign and so many digits; nothing has none."""
    text = f"{number:+.{digits}g}" if abs(number) < 10**digits else f"{number:+.0f}"
    return "0" if abs(number) < TINY else text


def style(axes: Axes, *, across: bool) -> None:
    """Give a chart its quiet look.

    Args:
        axes: of the chart.
        across: whether values run across, so that their grid lines stand upright.
    """
    axes.tick_params(labelsize=8.5, length=0, color=RULE, labelcolor=INK)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontfamily(FAMILY)
        label.set_parse_math(False)
    axes.grid(axis="x" if across else "y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
