"""Figures of written texts: how they were unmasked, who read whom, and how layers differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray

from attn.analysis.result import Result
from attn.analysis.texts.decisions import tell_certainty, tell_states, tell_unmasking
from attn.analysis.texts.findings import (
    tell_blocks,
    tell_flow,
    tell_patterns,
    tell_received,
    tell_similarity,
    tell_sinks,
)
from attn.analysis.texts.unmasking import correlate
from attn.viz.charts import new_charts, show_names, show_scale
from attn.viz.figures import AnimationFile, FigureFile, Subject
from attn.viz.labels import shown_token
from attn.viz.lines import mark_steps
from attn.viz.page import FAMILY, GAP, LINE, MARGIN, TITLE, write_title
from attn.viz.style import FAINT, GRID, INK, RULE
from attn.viz.texts.animation import animate
from attn.viz.texts.heading import head
from attn.wording import digits

if TYPE_CHECKING:
    import xarray as xr

HEAT, LINES = "viridis", "plasma"
MASKED, DECIDED = "#e3e5e8", "#ffffff"
PALEST = 0.87
"""Part of the colours up to which lines are seen on white."""
SIZE = 7.5
"""Points of a label."""
CELL = 0.13
"""Inches of a position, so that its label fits."""
LABELS = 1.2
"""Inches for the tokens below a picture."""
BAR, BAR_SPACE = 0.14, 0.75
PANEL = (3.4, 1.7)
LEFT = 0.55
"""Inches for the numbers at the left of axes."""
COLUMNS = 3
UNITS = dict.fromkeys(("focus", "earlier", "own", "later"), "of a row") | {
    "entropy": "nats",
    "density": "× even",
    "distance": "positions",
}
"""Of the measures of the shape of attention."""
STRIP = 60
"""Most positions of a strip."""
NUMBERED = 9
"""Parts of a text up to which the cells of its matrices bear numbers."""
LABEL_BELOW = 0.62
STATE_COLOURS = ("#b2182b", "#8c929c", "#2166ac")
"""Of prompt, masked, decided."""
TOP = MARGIN + 2 * LINE + GAP + TITLE


def draw_unmasking(result: Result, subject: Subject) -> Iterator[FigureFile | AnimationFile]:
    """Draw when and how surely each mask fell, what was read meanwhile, and the text as a film."""
    yield from _draw_steps(result, subject)
    yield from _draw_states(result, subject)
    yield from _draw_certainty(result, subject)
    for sample, confidence in enumerate(result.arrays["confidence"]):
        frames, durations = animate(confidence, subject.prompt)
        name = _named("unmasking/unmasking", ".gif", sample, subject)
        yield AnimationFile(name, frames, durations, {"sample": str(sample)})


def _draw_steps(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw a row per step and a column per position: masks, and when and how surely they fell."""
    for sample, confidence in enumerate(result.arrays["confidence"]):
        values = confidence.values
        decided = ~np.isnan(values)
        before = np.cumsum(decided, axis=0) - decided
        wide, high = max(4.5, CELL * values.shape[1]), min(8.0, max(1.5, CELL * values.shape[0]))
        figure, axes = _page(
            wide, high + LABELS, head(tell_unmasking(confidence), subject, "how it was unmasked")
        )
        axes.imshow(
            before > 0, cmap=ListedColormap([MASKED, DECIDED]), aspect="auto", vmin=0, vmax=1
        )
        axes.imshow(values, cmap=HEAT, norm=Normalize(0, 1), aspect="auto", interpolation="nearest")
        _label_tokens(axes, confidence["token"].values)
        _label_rows(axes, confidence["step"].values, "step")
        write_title(axes, "grey: masked · colour: decided in this step", size=_letters(wide))
        label = "confidence of the token that was decided"
        show_scale(figure, [axes], (HEAT, Normalize(0, 1)), label)
        yield _figure_file("unmasking/unmasking", sample, figure, subject)


def _draw_states(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw what the rows of each state read of the keys of each, against an even share."""
    states, even = result.arrays["states"], result.arrays["even"]
    rows = states["rows"].values.tolist()
    lines = [Line2D([], [], color=colour, linewidth=2.2) for colour in STATE_COLOURS]
    lines.append(Line2D([], [], color=INK, linewidth=1.2, linestyle=":"))
    names = [*(f"mass on {key}" for key in states["keys"].values), "if every key got the same"]
    for sample in range(states.sizes["sample"]):
        what = "what positions read, by their state, mean over layers"
        heading = head(tell_states(states.isel(sample=sample)), subject, what)
        size = (len(rows) * (PANEL[0] + LEFT), PANEL[0] + LEFT)
        figure, panels = new_charts(heading, size, legend=names, ncols=len(rows))
        for row, axes in zip(rows, panels, strict=True):
            for key, colour in zip(states["keys"].values, STATE_COLOURS, strict=True):
                cell = {"rows": row, "keys": key}
                mass, share = (array.isel(sample=sample).sel(cell) for array in (states, even))
                axes.plot(states["step"], mass, color=colour, linewidth=2.2)
                dotted: dict[str, Any] = {"linewidth": 1.2, "linestyle": ":", "fillstyle": "none"}
                axes.plot(states["step"], share, color=colour, **dotted)
            axes.set_ylim(0, 1)
            _over_steps(axes)
            write_title(axes, f"{row} rows", size=10)
        show_names(figure, lines, names)
        yield _figure_file("unmasking/states", sample, figure, subject)


def _draw_certainty(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw a point per decision: how sure it was, and what it read of the prompt."""
    confidence, read = result.arrays["confidence"], result.arrays["on_prompt"]
    for sample, array in enumerate(confidence):
        steps, positions = np.nonzero(~np.isnan(array.values))
        if not len(steps):
            continue
        sure, prompt = array.values[steps, positions], read.values[sample, steps, positions]
        numbers = array["step"].values[steps]
        together = correlate(sure, prompt)
        constant = "confidence" if np.ptp(sure) <= np.ptp(prompt) else "the mass on the prompt"
        finding = tell_certainty(together, len(sure), constant)
        figure, axes = _page(4.5, 3.6, head(finding, subject, "confidence and the prompt"))
        scale = Normalize(float(numbers.min()), max(float(numbers.max()), numbers.min() + 1.0))
        axes.scatter(sure, prompt, c=numbers, norm=scale, cmap=LINES, s=16, linewidths=0)
        axes.set_xlabel("confidence of the token", fontsize=SIZE + 1, color=FAINT)
        axes.set_ylabel("mass on the prompt", fontsize=SIZE + 1, color=FAINT)
        _rule(axes)
        axes.set_xlim(-0.02, 1.02)
        remark = f"r {digits(together)}" if np.isfinite(together) else "r undefined"
        write_title(axes, "a point per decision, mean over layers", remark, size=9)
        show_scale(figure, [axes], (LINES, scale), "step", ticks=_whole())
        yield _figure_file("unmasking/confidence", sample, figure, subject)


def draw_flow(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw what the text reads of the prompt, a line per layer."""
    for sample, read in enumerate(result.arrays["read"]):
        heading = head(tell_flow(read), subject, "what the text reads of the prompt")
        figure, axes = _page(6.5, 3.6, heading)
        _lines(axes, read)
        axes.set_ylim(0, max(1e-9, 1.05 * float(read.max())))
        write_title(axes, "mass on the prompt, mean over the text's rows", size=9)
        _show_layers(figure, [axes], read)
        yield _figure_file("flow/flow", sample, figure, subject)


def draw_patterns(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw every measure over the steps, a line per layer."""
    patterns = result.arrays["patterns"]
    names = [str(name) for name in patterns["measure"].values]
    rows = -(-len(names) // COLUMNS)
    size = (COLUMNS * (PANEL[0] + LEFT), rows * (PANEL[1] + LEFT) + BAR_SPACE)
    for sample in range(patterns.sizes["sample"]):
        finding = tell_patterns(patterns.isel(sample=sample))
        heading = head(finding, subject, "the shape of attention, step by step")
        figure, panels = new_charts(heading, size, nrows=rows, ncols=COLUMNS)
        for name, axes in zip(names, panels, strict=False):
            array = patterns.sel(measure=name).isel(sample=sample)
            _lines(axes, array)
            write_title(axes, name, f"mean {float(array.mean()):.3g} {UNITS[name]}", size=9)
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        _show_layers(figure, panels, patterns)
        yield _figure_file("patterns/patterns", sample, figure, subject)


def draw_influence(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw what every token receives in every layer, and where the sinks are in every step."""
    for sample, mass in enumerate(result.arrays["mass"]):
        yield _figure_file("influence/influence", sample, _strips(mass, subject), subject)
    for sample, share in enumerate(result.arrays["sinks"]):
        wide, high = max(4.5, CELL * share.shape[1]), min(8.0, max(1.5, CELL * share.shape[0]))
        heading = head(tell_sinks(share), subject, "where the sinks are")
        figure, axes = _page(wide, high + LABELS, heading)
        axes.imshow(share, cmap="Blues", norm=Normalize(0, 1), aspect="auto")
        axes.axvline(share.attrs["prompt"] - 0.5, color=INK, linewidth=0.8)
        _label_tokens(axes, share["token"].values)
        _label_rows(axes, share["step"].values, "step")
        title = f"column sum above the others' mean by more than {share.attrs['epsilon']:g}"
        write_title(axes, title, size=_letters(wide))
        label = "share of the layers in which a token is a sink"
        show_scale(figure, [axes], ("Blues", Normalize(0, 1)), label)
        yield _figure_file("influence/sinks", sample, figure, subject)


def _strips(mass: xr.DataArray, subject: Subject) -> Figure:
    """Draw (layer, position), in several strips where the tokens are many."""
    count = mass.sizes["position"]
    strips = -(-count // STRIP)
    each = -(-count // strips)
    wide, high = max(4.5, CELL * each), max(0.8, 0.2 * mass.shape[0])
    size = (wide + LEFT, strips * (high + LABELS) + BAR_SPACE)
    heading = head(tell_received(mass), subject, "what tokens receive")
    figure, panels = new_charts(heading, size, nrows=strips)
    scale = Normalize(0, float(mass.max()))
    for row, axes in enumerate(panels):
        strip = mass[:, row * each : (row + 1) * each]
        _plain(axes)
        axes.imshow(strip.values, cmap=HEAT, norm=scale, aspect="auto", interpolation="nearest")
        axes.set_xlim(-0.5, each - 0.5)
        begin = mass.attrs["prompt"] - row * each
        if 0 <= begin <= strip.shape[1]:
            axes.axvline(begin - 0.5, color="white", linewidth=1.2)
        _label_tokens(axes, strip["token"].values.tolist())
        _label_rows(axes, strip["layer"].values.tolist(), "layer")
        if row == 0:
            write_title(axes, "by layer; the white line is where the text begins", size=10)
    show_scale(figure, panels, (HEAT, scale), str(mass.attrs["unit"]))
    return figure


def draw_blocks(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw, for every block, what the parts of the text read of each other while it is written."""
    blocks = result.arrays["blocks"]
    names = [str(name) for name in blocks["rows"].values]
    side = max(1.6, 0.34 * len(names))
    for sample, matrices in enumerate(blocks):
        columns = min(4, len(matrices))
        rows = -(-len(matrices) // columns)
        across, down = side + LEFT + GAP, side + TITLE + LABEL_BELOW
        wide = max(4.5, columns * across - GAP)
        what = "who reads whom while each block is written, mean over layers"
        size = (wide + LEFT, rows * down + BAR_SPACE)
        heading = head(tell_blocks(matrices), subject, what)
        figure, panels = new_charts(heading, size, nrows=rows, ncols=columns)
        for axes in panels[len(matrices) :]:
            axes.set_axis_off()
        for index, (matrix, axes) in enumerate(zip(matrices, panels, strict=False)):
            _draw_parts(axes, matrix, names, labelled=index % columns == 0)
            write_title(axes, f"block {int(matrix['written'])} is written", size=9)
        label = "mass of a row (rows read columns)"
        show_scale(figure, panels, ("Reds", Normalize(0, 1)), label)
        yield _figure_file("blocks/blocks", sample, figure, subject)


def _draw_parts(axes: Axes, matrix: xr.DataArray, names: Sequence[str], *, labelled: bool) -> None:
    """Draw a small matrix with its numbers in it."""
    _plain(axes)
    axes.imshow(matrix.values, cmap="Reds", norm=Normalize(0, 1), interpolation="nearest")
    axes.set_xticks(range(len(names)), names, rotation=90, color=INK)
    axes.set_yticks(range(len(names)), names if labelled else [], color=INK)
    if len(names) <= NUMBERED:
        for (row, column), value in np.ndenumerate(matrix.values):
            ink = "white" if value > 0.6 else INK  # noqa: PLR2004
            text = f"{value:.2f}".removeprefix("0")
            axes.text(column, row, text, color=ink, fontsize=SIZE, ha="center", va="center")


def draw_similarity(result: Result, subject: Subject) -> Iterator[FigureFile]:
    """Draw the cosine of every two layers."""
    for sample, similarity in enumerate(result.arrays["similarity"]):
        side = max(3.2, 0.2 * similarity.shape[0])
        heading = head(tell_similarity(similarity), subject, "how alike layers are")
        figure, axes = _page(side, side, heading)
        axes.imshow(similarity.values, cmap=HEAT, norm=Normalize(0, 1), interpolation="nearest")
        _label_rows(axes, similarity["layer"].values, "layer")
        ticks, labels = _few(similarity["other"].values)
        axes.set_xticks(ticks, labels)
        write_title(axes, "layer against layer", size=9)
        show_scale(figure, [axes], (HEAT, Normalize(0, 1)), "cosine of their maps")
        yield _figure_file("similarity/similarity", sample, figure, subject)


def _page(wide: float, high: float, heading: tuple[str, str]) -> tuple[Figure, Axes]:
    """Return a page with one chart and room for its colour bar."""
    size = (wide + LEFT, high + BAR_SPACE)
    figure, (axes,) = new_charts(heading, size)
    _plain(axes)
    return figure, axes


def _lines(axes: Axes, array: xr.DataArray) -> None:
    """Draw (layer, step) as lines, early layers dark."""
    for curve, colour in zip(array, _colours(array.sizes["layer"]), strict=True):
        axes.plot(curve["step"].values, curve.values, color=colour, linewidth=1.2)
    _over_steps(axes)


def _colours(count: int) -> NDArray[np.float64]:
    """Return a colour for each layer; the brightest is too pale for a line."""
    return np.asarray(colormaps[LINES](np.linspace(0, PALEST, count)))


def _show_layers(figure: Figure, axes: Sequence[Axes], array: xr.DataArray) -> None:
    """Draw a bar with a field for each layer, in the colour of its line."""
    layers = array["layer"].values.tolist()
    look = ListedColormap(_colours(len(layers))), Normalize(-0.5, len(layers) - 0.5)
    ticks, names = _few(layers)
    labels = dict(zip(ticks, names, strict=True))
    show_scale(
        figure, axes, look, "layer", ticks=FixedLocator(ticks), spell=lambda at: labels[round(at)]
    )


def _over_steps(axes: Axes) -> None:
    """Dress a plot over the steps."""
    _rule(axes)
    mark_steps(axes)
    axes.set_xlabel("step", fontsize=SIZE + 1, color=FAINT)


def _rule(axes: Axes) -> None:
    """Give a plot faint lines to read it by."""
    _plain(axes)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines["bottom"].set(visible=True, color=RULE)


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=SIZE, length=0, labelcolor=FAINT, labelfontfamily=FAMILY)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label_tokens(axes: Axes, tokens: Sequence[str]) -> None:
    labels = [shown_token(str(token)) for token in tokens]
    axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False, color=INK)


def _label_rows(axes: Axes, labels: Sequence[int], what: str) -> None:
    ticks, texts = _few(labels)
    axes.set_yticks(ticks, texts)
    axes.set_ylabel(what, fontsize=SIZE + 1, color=FAINT)


def _few(labels: Sequence[int], most: int = 12) -> tuple[list[int], list[str]]:
    """Return places and texts of at most some labels, evenly spread."""
    every = -(-len(labels) // most)
    indices = list(range(0, len(labels), every))
    return indices, [str(labels[index]) for index in indices]


def _whole() -> MaxNLocator:
    """Return ticks at whole numbers, for layers and steps."""
    return MaxNLocator(6, integer=True, min_n_ticks=1)


def _letters(wide: float) -> float:
    """Return points of a title that can be read where a wide picture is shown small."""
    return float(np.clip(wide, 9, 18))


def _named(stem: str, suffix: str, sample: int, subject: Subject) -> str:
    ending = f"-sample-{sample}" if len(subject.images) > 1 else ""
    return f"{stem}{ending}{suffix}"


def _figure_file(stem: str, sample: int, figure: Figure, subject: Subject) -> FigureFile:
    texts: Mapping[str, str] = {
        "prompt": subject.prompt,
        "seed": str(subject.seed),
        "backend": subject.backend,
        "sample": str(sample),
    }
    return FigureFile(_named(stem, ".png", sample, subject), figure, texts)
