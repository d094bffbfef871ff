"""Draw what one run of a comparison has by itself: its image, and the maps of its words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from attn.files.digests import LARGEST_OUTPUT
from attn.files.disk import copy_atomic
from attn.trace.trace import open_trace
from attn.verbs.compare.scenes import ShownRun, shared_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from attn.analysis.compare.pairs import PairOptions
    from attn.analysis.compare.terms import Term
    from attn.viz.compare.comparison_scene import SceneSide
    from attn.viz.figures import FigureFile
    from attn.viz.words.run_figures import RunWords


def draw_run(
    shown: ShownRun, folder: Path, name: str, options: PairOptions, vocabulary: Sequence[str] = ()
) -> list[str]:
    """Write what one run has by itself: its image, and what is in `<name>_analysis/`.

    Args:
        shown: the run.
        folder: of the comparison.
        name: how the files begin.
        options: which words are looked at, and on what scale.
        vocabulary: words of all runs, which have one colour in all figures.
    """
    from attn.analysis.compare.changes import named
    from attn.analysis.tables import write_table
    from attn.analysis.words.maps.cells import GRIDS, cell_masses, tabulate_cells
    from attn.analysis.words.maps.dominance import dominance, rivals

    files = []
    trace = open_trace(shown.member.folder)
    if trace.manifest.outputs:
        target = folder / f"{name}_image.png"
        copy_atomic(trace.image(0), target, LARGEST_OUTPUT)
        files.append(f"{name}_image.png")
    words = shared_words([shown.variant])
    words = [words[index] for index in named(words, options.words)]
    side = shown.side(words)
    if side.maps is None:
        return files
    where, maps = f"{name}_analysis/", np.asarray(side.maps, np.float64)
    among = rivals(words, options.words)
    for count in GRIDS:
        masses = cell_masses(maps, count)
        winners = dominance(masses[np.newaxis], among, options.dominance)[0]
        table = tabulate_cells(masses, words, words[0].segment, winners)
        files.append(f"{where}grid_analysis_{count}x{count}.csv")
        write_table(table, folder / files[-1])
    return files + write_figures(_of_run(shown, side, words, options, vocabulary), folder, where)


def _of_run(
    shown: ShownRun,
    side: SceneSide,
    words: Sequence[Term],
    options: PairOptions,
    vocabulary: Sequence[str],
) -> Iterator[FigureFile]:
    """Draw what one run has by itself, of the words that are looked at."""
    from attn.analysis.numbers import mean_present
    from attn.analysis.words.maps.dominance import dominance, rivals
    from attn.viz.figures import FigureFile
    from attn.viz.words.run_figures import RunWords, draw_run
    from attn.viz.words.word_colours import colour_words

    manifest = open_trace(shown.member.folder).manifest
    keys = [term.key for term in shown.reading.terms]
    mass = mean_present(shown.reading.mass[0, :, :, 0], -1)
    among = rivals(words, options.words)
    maps = np.asarray(side.maps, np.float64)
    run = RunWords(
        side,
        [word.label for word in words],
        [float(mass[keys.index(word.key)]) for word in words],
        dominance(maps[np.newaxis], among, options.dominance)[0],
        among,
        options.dominance,
        f"{shown.label}: {manifest.request.prompt}",
        f"{manifest.backend} · seed {shown.member.seed} · {words[0].segment}",
        "own" if options.scale == "own" else "shared",
        colour_words([word.label for word in words], vocabulary),
    )
    texts = {
        "prompt": manifest.request.prompt,
        "seed": str(shown.member.seed),
        "backend": manifest.backend,
        "run": shown.label,
    }
    yield from draw_run(run, texts)
    yield FigureFile("token_attention_gallery.png", _gallery(run, run.scale), texts)
    if options.scale == "auto":
        figure = _gallery(run, "own")
        yield FigureFile("token_attention_gallery-own-scale.png", figure, texts)


def _gallery(run: RunWords, scale: Literal["shared", "own"]) -> Figure:
    """Draw words beside the image, as `attn analyze` does."""
    import xarray as xr

    from attn.viz.words.sheets import draw_sheet

    maps = xr.DataArray(
        np.asarray(run.side.maps),
        dims=("word", "row", "column"),
        coords={"label": ("word", list(run.labels))},
        attrs={"unit": "attention probability"},
    )
    heading = run.title, run.about_images
    return draw_sheet(maps, run.side.image, heading, scale, run.side.strokes)


def write_figures(figure_files: Iterable[FigureFile], folder: Path, prefix: str = "") -> list[str]:
    """Write figures, one at a time in memory.

    Returns:
        Their files, relative to the folder, below which `prefix` is theirs.
    """
    from attn.viz.figures import write

    files = []
    for figure_file in figure_files:
        write(figure_file, folder / prefix)
        files.append(f"{prefix}{figure_file.path}")
    return files
