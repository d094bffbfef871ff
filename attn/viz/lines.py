"""Line plots over the time of a generation, which runs from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from attn.viz.labels import letter_count
from attn.viz.page import FAMILY, MARGIN
from attn.viz.style import FAINT, GRID, INK, LEGEND, RULE

if TYPE_CHECKING:
    import xarray as xr

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7b4b94",
    "#4a4e57",
)
"""Those of Okabe and Ito that are seen on white, and two more; then the dashes change."""
Dashes = Literal["-", "--", ":", "-."]
DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")
Look = tuple[str, Dashes]
"""Colour and dashes of a line."""
SIZE = 7.5  # points of a tick's label
NOISE_DIGITS = 4
APART = 0.42  # inches between labelled steps
UPRIGHT, NARROW = 0.14, 0.062  # inches between labels that are written upwards; of their letters
SAMPLE, LETTER = 0.42, 0.082  # inches of a line, and of a letter, in the legend


@dataclass(frozen=True)
class Time:
    """The axis of time: `x` grows to the right on the page, in the order of the generation.

    Steps are as far apart as their numbers. By the noise that is left, the first ten of 30 would
    lie on each other, since samplers begin with many steps of nearly the same noise.

    Attributes:
        x: where each step is.
        steps: their numbers.
        noise: what is left at each step, or None.
    """

    x: NDArray[np.float64]
    steps: tuple[int, ...]
    noise: NDArray[np.float64] | None


def read_time(array: xr.DataArray) -> Time:
    """Take the axis of time from the coordinates `step` and `noise` of an array."""
    steps = tuple(int(step) for step in array["step"].values)
    return lay_out_time(steps, array["noise"].values)


def lay_out_time(steps: tuple[int, ...], noise: ArrayLike) -> Time:
    """Lay out steps; their noise is written below them where it falls with every step."""
    noise = np.asarray(noise, np.float64)
    falls = len(steps) > 1 and bool((np.diff(noise) < 0).all())
    return Time(np.asarray(steps, np.float64), steps, noise if falls else None)


def style(index: int) -> Look:
    """Return colour and dashes of the line with that number."""
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def look_handles(looks: Sequence[Look]) -> list[Line2D]:
    """Return lines of some looks, for a legend."""
    return [Line2D([], [], color=colour, linestyle=dashes) for colour, dashes in looks]


def line_handles(numbers: int | Sequence[int]) -> list[Line2D]:
    """Return the lines of `style` with these numbers, or the first ones, for a legend."""
    return look_handles(
        [style(at) for at in (range(numbers) if isinstance(numbers, int) else numbers)]
    )


def dress(axes: Axes, highest: float, *, ticks: int = 4) -> None:
    """Give axes a scale from 0 to a value, faint lines and no frame."""
    axes.set_ylim(0, highest if highest > 0 else 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.tick_params(labelsize=SIZE, length=0, labelcolor=FAINT, labelfontfamily=FAMILY)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)


def mark_time(axes: Axes, time: Time, *, is_labelled: bool = True) -> None:
    """Mark steps: their noise below the axes, and below that their number."""
    margin = 0.03 * (time.x[-1] - time.x[0]) or 0.5
    axes.set_xlim(time.x[0] - margin, time.x[-1] + margin)
    labels = [_name(time, index) if is_labelled else "" for index in range(len(time.x))]
    _mark(axes, time.x, labels)


def mark_steps(axes: Axes) -> None:
    """Mark an axis of steps by whole numbers alone; what has one step only is a point, no line."""
    for line in axes.lines:
        if np.isfinite(np.asarray(line.get_ydata(), np.float64)).sum() == 1:
            line.set_marker("o")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def name_time(axes: Axes, time: Time) -> None:
    """Write the meaning of the tick labels at their left."""
    names = "step" if time.noise is None else "noise\nstep"
    axes.annotate(
        names,
        (0, 0),
        (-6, -3.5),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=SIZE,
        color=INK,
        fontfamily=FAMILY,
    )


def mark_layers(
    axes: Axes, layers: Sequence[int], names: Mapping[int, str] = MappingProxyType({})
) -> None:
    """Mark layers, in numeric order, by their names and numbers, or by numbers alone.

    Args:
        axes: with a place for each layer across.
        layers: their indices.
        names: of layers, by index; `layer_room` is the height that they take.
    """
    axes.set_xlim(-0.6, len(layers) - 0.4)
    labels = [f"{names[layer]}  {layer}" if layer in names else str(layer) for layer in layers]
    _mark(axes, np.arange(len(layers), dtype=np.float64), labels, UPRIGHT if names else APART)
    if names:
        axes.tick_params(axis="x", labelrotation=90)


def layer_room(names: Mapping[int, str]) -> float:
    """Return the height that the names of layers take below axes, in inches."""
    return NARROW * max(map(len, names.values()), default=0)


class _Spread(Locator):
    """Ticks at some of the places, as many as the axis has room for when it is drawn."""

    def __init__(self, axes: Axes, x: NDArray[np.float64], apart: float) -> None:
        self.axes, self.x, self.apart = axes, x, apart

    def __call__(self) -> list[float]:
        inches = self.axes.get_window_extent().width / self.axes.figure.dpi
        return [float(self.x[index]) for index in spread(self.x, inches, self.apart)]

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the ticks, whatever is in sight."""
        return self()


def _mark(axes: Axes, x: NDArray[np.float64], labels: Sequence[str], apart: float = APART) -> None:
    """Label places on the axis across."""
    axes.xaxis.set_major_locator(_Spread(axes, x, apart))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: labels[int(np.abs(x - value).argmin())])
    )


def spread(x: NDArray[np.float64], inches: float, apart: float = APART) -> list[int]:
    """Return places that are far enough apart to be labelled, the first and last among them."""
    span = float(x[-1] - x[0]) or 1.0
    selected = [0]
    for index in range(1, len(x)):
        if (x[index] - x[selected[-1]]) / span * inches >= apart:
            selected.append(index)
    if selected[-1] != len(x) - 1:
        if len(selected) > 1:
            selected.pop()
        selected.append(len(x) - 1)
    return selected


def show_legend(
    figure: Figure, handles: Sequence[Line2D | Patch], names: Sequence[str], rows: int
) -> None:
    """Name lines or areas at the foot of a page, row by row.

    Args:
        figure: the page.
        handles: one per name.
        names: already printable.
        rows: over which they are spread; see `legend_rows`.
    """
    width, height = figure.get_size_inches()
    figure.legend(
        list(handles),
        list(names),
        loc="lower left",
        bbox_to_anchor=(MARGIN / width, MARGIN / 2 / height),
        ncols=int(np.ceil(len(names) / rows)),
        handlelength=1.4,
        handletextpad=0.5,
        columnspacing=1.3,
        prop={"family": FAMILY, "size": 8.5},
        **LEGEND,
    )


def legend_rows(names: Sequence[str], width: float) -> int:
    """Return over how many rows names are spread on a page of that width between margins."""
    columns = max(1, int(width / (SAMPLE + LETTER * max(map(letter_count, names)))))
    return int(np.ceil(len(names) / columns))


def name_axes(axes: Axes, across: str, down: str) -> None:
    """Label the two axes."""
    axes.set_xlabel(across, fontsize=8.5, color=INK, fontfamily=FAMILY)
    axes.set_ylabel(down, fontsize=8.5, color=INK, fontfamily=FAMILY)


def _name(time: Time, index: int) -> str:
    step = str(time.steps[index])
    return step if time.noise is None else f"{_spell_noise(time.noise)[index]}\n{step}"


def _spell_noise(noise: NDArray[np.float64]) -> list[str]:
    """Return noise in so few digits that no two steps are written alike, up to `NOISE_DIGITS`."""
    for digits in range(2, NOISE_DIGITS + 1):
        texts = [f"{value:.{digits}g}" for value in noise]
        if len({*texts}) == len(texts):
            break
    return texts
