"""Pictures of written texts: how they were unmasked, who read whom, and how layers differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from attn.analysis.result import Result
from attn.viz.labels import printable
from attn.viz.page import (
    FAINT,
    FAMILY,
    GAP,
    INK,
    LINE,
    MARGIN,
    TITLE,
    place,
    write_heading,
    write_title,
)
from attn.viz.picture import Picture, Subject, new_figure

if TYPE_CHECKING:
    import xarray as xr

HEAT, LINES = "viridis", "plasma"
MASKED, DECIDED = "#e3e5e8", "#ffffff"
SIZE = 7.0
"""Points of a label."""
CELL = 0.13
"""Inches of a position, so that its label fits."""
LABELS = 1.0
"""Inches for the tokens below a picture."""
BAR, BAR_SPACE = 0.14, 0.75
PANEL = (3.4, 1.7)
LEFT = 0.55
"""Inches for the numbers at the left of axes."""
COLUMNS = 3
TOP = MARGIN + 2 * LINE + GAP + TITLE


def draw_unmasking(result: Result, subject: Subject) -> Iterator[Picture]:
    """Draw a row per step and a column per position: masks, and when and how surely they fell."""
    for sample, confidence in enumerate(result.arrays["confidence"]):
        values = confidence.values
        decided = ~np.isnan(values)
        before = np.cumsum(decided, axis=0) - decided
        wide, high = max(4.5, CELL * values.shape[1]), min(8.0, max(1.5, CELL * values.shape[0]))
        figure, axes = _page(wide, high, LABELS + BAR_SPACE, subject, "how the text was unmasked")
        axes.imshow(
            before > 0, cmap=ListedColormap([MASKED, DECIDED]), aspect="auto", vmin=0, vmax=1
        )
        axes.imshow(values, cmap=HEAT, norm=Normalize(0, 1), aspect="auto", interpolation="nearest")
        _label_tokens(axes, confidence["token"].values)
        _label_rows(axes, confidence["step"].values, "step")
        write_title(axes, "grey: masked · colour: decided in this step", size=9)
        _bar(figure, Normalize(0, 1), HEAT, "confidence of the token that was decided")
        yield _picture("unmasking/unmasking", sample, figure, subject)


def draw_flow(result: Result, subject: Subject) -> Iterator[Picture]:
    """Draw what the text reads of the prompt, a line per layer."""
    for sample, read in enumerate(result.arrays["read"]):
        figure, axes = _page(
            6.5, 3.2, BAR_SPACE + 0.4, subject, "what the text reads of the prompt"
        )
        _lines(axes, read)
        axes.set_ylim(0, max(1e-9, 1.05 * float(read.max())))
        axes.set_xlabel("step", fontsize=SIZE + 1, color=FAINT)
        write_title(axes, "mass on the prompt, mean over the text's rows", size=9)
        _bar(figure, _layers(read), LINES, "layer")
        yield _picture("flow/flow", sample, figure, subject)


def draw_patterns(result: Result, subject: Subject) -> Iterator[Picture]:
    """Draw every measure over the steps, a line per layer."""
    patterns = result.arrays["patterns"]
    names = [str(name) for name in patterns["measure"].values]
    rows = -(-len(names) // COLUMNS)
    step = (PANEL[0] + LEFT, PANEL[1] + TITLE + 2 * GAP)
    wide, high = COLUMNS * step[0] - LEFT, rows * step[1]
    for sample in range(patterns.sizes["sample"]):
        figure = _sheet(wide, high, BAR_SPACE, subject, "the shape of attention, step by step")
        for index, name in enumerate(names):
            row, column = divmod(index, COLUMNS)
            left, upper = MARGIN + LEFT + column * step[0], TOP + row * step[1]
            axes = place(figure, left, upper, *PANEL)
            one = patterns.sel(measure=name).isel(sample=sample)
            _lines(axes, one)
            write_title(axes, name, f"mean {float(one.mean()):.3g}", size=9)
        _bar(figure, _layers(patterns), LINES, "layer")
        yield _picture("patterns/patterns", sample, figure, subject)


def draw_influence(result: Result, subject: Subject) -> Iterator[Picture]:
    """Draw what every token receives in every layer."""
    for sample, mass in enumerate(result.arrays["mass"]):
        wide, high = max(4.5, CELL * mass.shape[1]), max(0.8, 0.2 * mass.shape[0])
        figure, axes = _page(wide, high, LABELS + BAR_SPACE, subject, "which tokens are read")
        scale = Normalize(0, float(mass.max()))
        axes.imshow(mass.values, cmap=HEAT, norm=scale, aspect="auto", interpolation="nearest")
        axes.axvline(mass.attrs["prompt"] - 0.5, color="white", linewidth=1.2)
        _label_tokens(axes, mass["token"].values)
        _label_rows(axes, mass["layer"].values, "layer")
        write_title(axes, "by layer; the white line is where the text begins", size=9)
        _bar(figure, scale, HEAT, str(result.arrays["mass"].attrs["unit"]))
        yield _picture("influence/influence", sample, figure, subject)


def draw_similarity(result: Result, subject: Subject) -> Iterator[Picture]:
    """Draw the cosine of every two layers."""
    for sample, similarity in enumerate(result.arrays["similarity"]):
        side = max(3.2, 0.2 * similarity.shape[0])
        figure, axes = _page(side, side, BAR_SPACE + 0.3, subject, "how alike layers are")
        axes.imshow(similarity.values, cmap=HEAT, norm=Normalize(0, 1), interpolation="nearest")
        _label_rows(axes, similarity["layer"].values, "layer")
        places, labels = _few(similarity["other"].values)
        axes.set_xticks(places, labels)
        write_title(axes, "layer against layer", size=9)
        _bar(figure, Normalize(0, 1), HEAT, "cosine of their maps")
        yield _picture("similarity/similarity", sample, figure, subject)


def _sheet(wide: float, high: float, below: float, subject: Subject, what: str) -> Figure:
    """Return a page with its heading and room for axes of a size in inches."""
    figure = new_figure(wide + LEFT + 2 * MARGIN, TOP + high + below + MARGIN)
    facts = f"{subject.backend} · seed {subject.seed} · {what}"
    write_heading(figure, (printable(subject.prompt)[:100], facts))
    return figure


def _page(
    wide: float, high: float, below: float, subject: Subject, what: str
) -> tuple[Figure, Axes]:
    figure = _sheet(wide, high, below, subject, what)
    axes = place(figure, MARGIN + LEFT, TOP, wide, high)
    _plain(axes)
    return figure, axes


def _lines(axes: Axes, array: xr.DataArray) -> None:
    """Draw (layer, step) as lines, early layers dark."""
    _plain(axes)
    scale, colours = _layers(array), colormaps[LINES]
    for one in array:
        colour = colours(float(scale(float(one["layer"]))))
        axes.plot(one["step"].values, one.values, color=colour, linewidth=1.0)
    axes.margins(x=0.01)


def _layers(array: xr.DataArray) -> Normalize:
    """Return the scale of the layers' colours; the brightest is too pale for a line."""
    layers = array["layer"].values
    return Normalize(float(layers.min()), float(layers.max()) + 0.15 * (1 + np.ptp(layers)))


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=SIZE, length=0, labelcolor=FAINT, labelfontfamily=FAMILY)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label_tokens(axes: Axes, tokens: Sequence[str]) -> None:
    labels = [printable(str(token))[:14] for token in tokens]
    axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False, color=INK)


def _label_rows(axes: Axes, labels: Sequence[int], what: str) -> None:
    places, texts = _few(labels)
    axes.set_yticks(places, texts)
    axes.set_ylabel(what, fontsize=SIZE + 1, color=FAINT)


def _few(labels: Sequence[int], most: int = 12) -> tuple[list[int], list[str]]:
    """Return places and texts of at most some labels, evenly spread."""
    every = -(-len(labels) // most)
    places = list(range(0, len(labels), every))
    return places, [str(labels[place]) for place in places]


def _bar(figure: Figure, scale: Normalize, colours: str, label: str) -> None:
    """Draw a colour bar at the foot of a page."""
    width, height = figure.get_size_inches()
    axes = place(
        figure, MARGIN + LEFT, height - MARGIN - 0.45, min(4.0, width - 2 * MARGIN - LEFT), BAR
    )
    ticks = MaxNLocator(6, integer=colours == LINES)  # lines are coloured by layer
    bar = figure.colorbar(
        ScalarMappable(scale, colours), cax=axes, orientation="horizontal", ticks=ticks
    )
    bar.outline.set_visible(False)
    axes.tick_params(labelsize=SIZE, color=FAINT, labelcolor=INK, length=2.5)
    axes.set_xlabel(label, fontsize=SIZE + 1, color=INK, fontfamily=FAMILY, parse_math=False)


def _picture(stem: str, sample: int, figure: Figure, subject: Subject) -> Picture:
    ending = f"-sample-{sample}" if len(subject.pictures) > 1 else ""
    texts: Mapping[str, str] = {
        "prompt": subject.prompt,
        "seed": str(subject.seed),
        "backend": subject.backend,
        "sample": str(sample),
    }
    return Picture(f"{stem}{ending}.png", figure, texts)
