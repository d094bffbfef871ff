"""The figures of one run's words, as LoRA Attention Analyzer has them in its `base_analysis`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attn.analysis.words.maps.cells import GRIDS
from attn.viz.compare.change_bars import draw_distribution
from attn.viz.compare.comparison_scene import SceneSide
from attn.viz.figures import FigureFile
from attn.viz.overlay import Scale
from attn.viz.strokes import say_strokes
from attn.viz.words.cells import draw_cells
from attn.viz.words.dominant import draw_dominant


@dataclass(frozen=True)
class RunWords:
    """What one run says of the words that are looked at.

    Attributes:
        side: its label, image, and the maps of these words.
        labels: of the words.
        masses: of the words, probability.
        winners: (row, column): the index of the dominant word, `NO_WORD`, or one beyond the
            last for words that are not drawn.
        among: indices of the words that compete.
        measure: what decides which word is dominant, `lift` or `mass`.
        title: of every page.
        about: the beginning of every subtitle.
        scale: of the cells' colours: one for all words, or one for each.
        colours: of the words, where each has one of its own.
    """

    side: SceneSide
    labels: Sequence[str]
    masses: Sequence[float]
    winners: NDArray[np.int64]
    among: Sequence[int]
    measure: str
    title: str
    about: str
    scale: Scale = "shared"
    colours: Sequence[str] = ()

    @property
    def about_images(self) -> str:
        """The beginning of subtitles where the image is shown."""
        return f"{self.about}{say_strokes(self.side.strokes)}"


def draw_run(
    run: RunWords, texts: dict[str, str], folder: str = "", ending: str = ""
) -> Iterator[FigureFile]:
    """Draw the dominant words, the cells, and how attention is distributed over words.

    Files: `pixel_dominant_tokens.png`, `grid_analysis_NxN.png`, `token_attention_distribution.png`.

    Args:
        run: what is drawn.
        texts: of every PNG.
        folder: of the files, below that of the results.
        ending: of every name, such as the sample's number.
    """
    start = f"{folder}/" if folder else ""
    every = range(len(run.labels))
    contest = run.winners, run.among, (run.title, run.about_images), run.measure, run.colours
    figure = draw_dominant(run.side, run.labels, *contest)
    yield FigureFile(f"{start}pixel_dominant_tokens{ending}.png", figure, texts)
    for count in GRIDS:
        heading = run.title, f"{run.about_images} · parts of a word's attention"
        figure = draw_cells(run.side, run.labels, every, count, heading, run.scale)
        yield FigureFile(f"{start}grid_analysis_{count}x{count}{ending}.png", figure, texts)
    heading = run.title, f"{run.about} · mass: attention probability"
    figure = draw_distribution(run.labels, run.masses, every, heading)
    yield FigureFile(f"{start}token_attention_distribution{ending}.png", figure, texts)
