"""Figures of how a word's map forms: frames as a grid and as a GIF, correlations, balance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attn.analysis.result import Result
from attn.analysis.words.curves import ending
from attn.viz.charts import new_charts, show_names
from attn.viz.figures import AnimationFile, FigureFile, Frames, Subject, in_shared_colours, shrink
from attn.viz.labels import ranges
from attn.viz.lines import (
    Look,
    dress,
    layer_room,
    line_handles,
    mark_layers,
    mark_time,
    name_time,
    read_time,
    style,
)
from attn.viz.page import write_title
from attn.viz.words.evolution_frames import (
    SIDE,
    Formation,
    bar_colours,
    draw_frames,
    draw_page,
    facts,
)

if TYPE_CHECKING:
    import xarray as xr

START = "evolution/attention_evolution"
LAST = 4
"""So many times as long as the others the GIF's last frame is shown."""
CURVES = (7.35, 3.9)  # inches of a chart


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
        told = f" · sample {sample}" if samples > 1 else ""
        formation = Formation(of_sample, image, _frames(of_sample, subject, sample), subject, told)
        texts = _texts(formation) | {"sample": str(sample)}
        yield FigureFile(f"{START}_grid{end}.png", draw_page(formation), texts)
        frames = in_shared_colours(draw_frames(formation), bar_colours())
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


def draw_curves(curves: xr.DataArray, heading: tuple[str, str], unit: str = "") -> Figure:
    """Draw curves over the time of a generation.

    Args:
        curves: series, step; one line for each of the series.
        heading: title and subtitle.
        unit: of the values, if the title does not say it.
    """
    names = [str(name) for name in curves["series"].values]
    figure, (axes,) = new_charts(heading, CURVES, legend=names)
    plot_curves(axes, curves)
    axes.set_ylabel(unit)
    show_names(figure, line_handles(len(names)), names)
    return figure


def plot_curves(axes: Axes, curves: xr.DataArray, looks: Sequence[Look] = ()) -> None:
    """Plot (series, step) over the time of a generation, from 0 or the lowest value.

    Args:
        axes: where.
        curves: what is plotted.
        looks: of the lines; empty are those of `style`.
    """
    values = curves.values[~np.isnan(curves.values)]
    _plot(axes, curves, "series", 1.05 * float(values.max(initial=0.0)), looks)
    axes.set_ylim(bottom=min(0.0, 1.05 * float(values.min(initial=0.0))))


def _plot(
    axes: Axes, curves: xr.DataArray, series: str, highest: float, looks: Sequence[Look] = ()
) -> None:
    time = read_time(curves)
    for number, curve in enumerate(curves.transpose(series, "step").values):
        colour, dashes = looks[number] if looks else style(number)
        axes.plot(time.x, curve, dashes, color=colour, linewidth=1.3, marker=".")
    dress(axes, highest)
    mark_time(axes, time)
    name_time(axes, time)


def _balance_name(balance: xr.DataArray) -> str:
    return "text_vs_sketch_attention" if "sketch" in balance["segment"].values else "segments"


def _named(subject: Subject) -> str:
    """Name the generation behind what a chart is about."""
    return f"{facts(subject)} · {subject.prompt}"


def _frames(maps: xr.DataArray, subject: Subject, sample: int) -> Frames | None:
    """Return what the sampler expected at the steps of maps, if that is known."""
    frames = subject.forming(sample)
    return None if frames is None else frames[maps["step"].values.astype(int)]


def _texts(formation: Formation) -> dict[str, str]:
    maps = formation.maps
    return {
        "word": str(maps.attrs["word"]),
        "branch": str(maps.attrs["branch"]),
        "segment": " + ".join(maps.attrs["segments"]),
        "unit": formation.unit,
        "layers": ranges(maps.attrs["layers"]),
        "shown_steps": ranges(int(step) for step in maps["step"].values),
    }
