"""Figures of how a word's map forms: frames as a grid and as a GIF, correlations, balance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.analysis.result import Result
from attn.analysis.words.curves import ending
from attn.viz.charts import new_charts, show_names
from attn.viz.figures import (
    AnimationFile,
    FigureFile,
    Pixels,
    Subject,
    in_shared_colours,
    new_figure,
    shrink,
)
from attn.viz.labels import ranges, short
from attn.viz.lines import (
    dress,
    layer_room,
    line_handles,
    mark_layers,
    mark_time,
    name_time,
    read_time,
    style,
)
from attn.viz.overlay import (
    colour_scale,
    name_scale,
    range_scale,
    show_bar,
    show_ends,
    show_heat,
    show_image,
)
from attn.viz.page import (
    GAP,
    LETTER,
    LINE,
    MARGIN,
    TITLE,
    add_axes,
    arrange,
    write_heading,
    write_title,
)
from attn.viz.strokes import show_strokes

if TYPE_CHECKING:
    import xarray as xr

    from attn.viz.overlay import ColourScale

START = "evolution/attention_evolution"
SIDE = 4.6  # inches of a frame of the GIF
FOOTER, BAR = 0.72, 0.13
LAST = 4
"""So many times as long as the others the GIF's last frame is shown."""
CURVES = (7.35, 3.9)  # inches of a chart
UNIT = "attention probability{}"


def draw(result: Result, subject: Subject) -> Iterator[FigureFile | AnimationFile]:
    """Draw `attention_evolution.gif` and `…_grid.png`, `correlation.png`, and the balance.

    The balance is `text_vs_sketch_attention.png` where a model reads sketch tokens, else
    `segments.png`. With several samples the names end in `-sample-<number>`.
    """
    maps = result.arrays["maps"]
    samples = maps.sizes["sample"]
    for sample, generated in enumerate(subject.images):
        end = ending(sample, samples)
        of_sample = maps.isel(sample=sample)
        image = generated if generated is None else shrink(generated, SIDE, subject.dpi)
        texts = _texts(of_sample) | {"sample": str(sample)}
        told = f" · sample {sample}" if samples > 1 else ""
        yield FigureFile(
            f"{START}_grid{end}.png", draw_grid(of_sample, image, subject, told), texts
        )
        frames = in_shared_colours(draw_frames(of_sample, image, subject))
        each = round(1000 * float(of_sample.attrs["seconds"]))
        durations = [*[each] * (of_sample.sizes["step"] - 1), LAST * each]
        yield AnimationFile(f"{START}{end}.gif", frames, durations, texts)
        curves = result.arrays["correlation"].isel(sample=sample)
        title = f"Map of “{of_sample.attrs['word']}” against other steps"
        where = " + ".join(of_sample.attrs["segments"])
        heading = (title, f"Pearson's r of its cells · {where}{told} · {_named(subject)}")
        yield FigureFile(
            f"evolution/correlation{end}.png",
            draw_curves(curves.rename(against="series"), heading),
            texts,
        )
        if "balance" in result.arrays:
            balance = result.arrays["balance"].isel(sample=sample)
            yield FigureFile(
                f"evolution/{_balance_name(balance)}{end}.png",
                draw_balance(balance, subject, told),
                texts,
            )


def draw_grid(maps: xr.DataArray, image: Pixels | None, subject: Subject, told: str = "") -> Figure:
    """Draw every step on one page and one scale.

    Args:
        maps: step, row, column.
        image: the generated picture, or None.
        subject: for the heading.
        told: what else the heading says, such as the sample's number.
    """
    aspect = _aspect(maps, image)
    heading = (subject.prompt, _subtitle(maps, subject) + told)
    offset = 0 if image is None else 1
    sheet = arrange(maps.sizes["step"] + offset, aspect, heading, narrowest=SIDE, footer=FOOTER)
    figure = new_figure(*sheet.size)
    write_heading(figure, sheet.heading)
    common, is_own = colour_scale(maps.values), maps.attrs["scale"] == "own"
    if image is not None:
        axes = add_axes(figure, *sheet.corner(0), *sheet.cell)
        show_image(axes, image)
        write_title(axes, "result", size=9.5)
    for number, step_map in enumerate(maps, start=offset):
        axes = add_axes(figure, *sheet.corner(number), *sheet.cell)
        scale = range_scale(step_map.values) if is_own else common
        show_heat(axes, step_map.values, image, scale)
        show_strokes(axes, subject.strokes)
        step = f"step {int(step_map['step'])}"
        title, remark = (step, name_scale(scale)) if is_own else (_noise(step_map), step)
        write_title(axes, title, remark, size=9.5)
    if is_own:
        show_ends(figure, _bar(figure), f"{_unit(maps)}, each step on its own scale")
    else:
        _write_bar(figure, common, f"{_unit(maps)}, the same scale in every step")
    return figure


def draw_frames(maps: xr.DataArray, image: Pixels | None, subject: Subject) -> Iterator[Figure]:
    """Yield a figure for every step, all alike but for the map, its noise and its mean."""
    aspect = _aspect(maps, image)
    wide, high = (SIDE, SIDE * aspect) if aspect <= 1 else (SIDE / aspect, SIDE)
    scale = colour_scale(maps.values)
    last = int(maps["step"].values[-1])
    heading = tuple(short(line, int(SIDE / LETTER)) for line in (subject.prompt, _facts(subject)))
    top = MARGIN + 2 * LINE + GAP + TITLE
    for step_map in maps:
        figure = new_figure(SIDE + 2 * MARGIN, top + high + FOOTER + MARGIN)
        write_heading(figure, heading)
        axes = add_axes(figure, MARGIN + (SIDE - wide) / 2, top, wide, high)
        show_heat(axes, step_map.values, image, scale)
        show_strokes(axes, subject.strokes)
        remark = f"{_noise(step_map)} · step {int(step_map['step'])} of {last}"
        write_title(axes, str(maps.attrs["word"]), remark, size=12)
        _write_bar(figure, scale, f"{_unit(maps)}, the same scale in every step")
        yield figure


def draw_balance(balance: xr.DataArray, subject: Subject, told: str = "") -> Figure:
    """Draw what each segment gets: over the steps, mean over layers, and for every layer.

    Args:
        balance: segment, layer, step.
        subject: for the heading, and the names of layers.
        told: what else the heading says, such as the sample's number.
    """
    steps = balance.mean("layer", keep_attrs=True)
    names = [str(name) for name in balance["segment"].values]
    heading = (
        "Text and sketch" if "sketch" in names else "Segments",
        f"part of the attention{told} · {_named(subject)}",
    )
    width, height = CURVES
    size = (width, 2 * height + layer_room(subject.layers))
    figure, (over, axes) = new_charts(heading, size, legend=names, nrows=2)
    _plot(over, steps, "segment", 1.0)
    write_title(over, "by step", "mean over layers and heads", size=10)
    layers = balance.mean("step")
    for number, curve in enumerate(layers):
        colour, dashes = style(number)
        axes.plot(np.arange(len(curve)), curve, dashes, color=colour, marker=".", linewidth=1.3)
    dress(axes, 1.0)
    mark_layers(axes, [int(layer) for layer in layers["layer"].values], subject.layers)
    write_title(axes, "by layer", "mean over steps and heads", size=10)
    show_names(figure, line_handles(len(names)), names)
    return figure


def draw_curves(curves: xr.DataArray, heading: tuple[str, str]) -> Figure:
    """Draw curves over the time of a generation.

    Args:
        curves: series, step; one line for each of the series.
        heading: title and subtitle.
    """
    names = [str(name) for name in curves["series"].values]
    figure, (axes,) = new_charts(heading, CURVES, legend=names)
    plot_curves(axes, curves)
    show_names(figure, line_handles(len(names)), names)
    return figure


def plot_curves(axes: Axes, curves: xr.DataArray) -> None:
    """Plot (series, step) over the time of a generation, from 0 or the lowest value."""
    values = curves.values[~np.isnan(curves.values)]
    _plot(axes, curves, "series", 1.05 * float(values.max(initial=0.0)))
    axes.set_ylim(bottom=min(0.0, 1.05 * float(values.min(initial=0.0))))


def _plot(axes: Axes, curves: xr.DataArray, series: str, highest: float) -> None:
    time = read_time(curves)
    for number, curve in enumerate(curves.transpose(series, "step").values):
        colour, dashes = style(number)
        axes.plot(time.x, curve, dashes, color=colour, linewidth=1.3, marker=".")
    dress(axes, highest)
    mark_time(axes, time)
    name_time(axes, time)


def _write_bar(figure: Figure, scale: ColourScale, unit: str) -> None:
    show_bar(figure, _bar(figure), scale, unit)


def _bar(figure: Figure) -> Axes:
    """Return the axes of the colour bar."""
    width, height = figure.get_size_inches()
    return add_axes(figure, (width - SIDE) / 2, height - MARGIN - FOOTER + 1.5 * GAP, SIDE, BAR)


def _aspect(maps: xr.DataArray, image: Pixels | None) -> float:
    height, width = maps.shape[1:] if image is None else image.shape[:2]
    return float(height / width)


def _noise(step_map: xr.DataArray) -> str:
    noise = float(step_map["noise"])
    return "noise unknown" if np.isnan(noise) else f"noise {noise:.0%}"


def _balance_name(balance: xr.DataArray) -> str:
    return "text_vs_sketch_attention" if "sketch" in balance["segment"].values else "segments"


def _unit(maps: xr.DataArray) -> str:
    """Return the label of the colour bar, with a remark if tokens of several encoders are added."""
    segments = maps.attrs["segments"]
    return UNIT.format(f" of {' + '.join(segments)}" if len(segments) > 1 else "")


def _facts(subject: Subject) -> str:
    return f"{subject.backend} · seed {subject.seed}"


def _named(subject: Subject) -> str:
    """Name the generation behind what a chart is about."""
    return f"{_facts(subject)} · {subject.prompt}"


def _subtitle(maps: xr.DataArray, subject: Subject) -> str:
    attrs = maps.attrs
    branch = "" if attrs["branch"] == "cond" else f" · {attrs['branch']}"
    facts = f"{_facts(subject)} · {' + '.join(attrs['segments'])}{branch}"
    return f"{facts} · “{attrs['word']}” at every step"


def _texts(maps: xr.DataArray) -> dict[str, str]:
    return {
        "word": str(maps.attrs["word"]),
        "branch": str(maps.attrs["branch"]),
        "segment": " + ".join(maps.attrs["segments"]),
        "unit": _unit(maps),
        "layers": ranges(maps.attrs["layers"]),
        "shown_steps": ranges(int(step) for step in maps["step"].values),
    }
