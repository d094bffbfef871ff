"""Which layer shows what a picture shows: how concentrated words' maps are, and follow the picture.

Definitions, for the map M of a word on N places, with a = M/ΣM, on the finest grid of all layers:

- concentration  1 - H(a)/log N with H the entropy: 0 where it is even, 1 where it is one place.
- follows        R² of the linear fit of a by the picture's red, green and blue, as means over
                 places: 0 where the picture explains nothing of the map, 1 where all of it. A map
                 that is the same whatever the picture, however concentrated, does not follow it.
- focus          concentration · follows.

A layer's focus is the mean over the content words. The best layer has the largest. On
the demo models it is the layer that points best, where concentration alone is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.images import read_image
from attn.analysis.numbers import Numbers
from attn.errors import AnalysisError, TraceError
from attn.schema import Column, Layer, Plane, name_layers
from attn.shapes import GridMaps, Members
from attn.trace.grids import resample_values
from attn.trace.means import MapSums, MeanMaps, image_views
from attn.trace.words.prompts import Prompt
from attn.trace.words.sums import TOGETHER, lay_out, sum_tokens
from attn.words import is_content

if TYPE_CHECKING:
    from attn.trace.trace import Trace

BEST = "best"
"""Stands for the layer of largest focus among those that are selected by index or path."""
PROBED = 4
"""Steps of which the best layer is chosen, evenly spread."""
MUCH, LEAST = 2.0, 0.005
"""A layer is told if its focus is so many times that of the mean of layers, and not next to 0."""


@dataclass(frozen=True, eq=False)
class Focus:
    """What is measured of maps: arrays of one shape; NaN of a map that is 0 everywhere."""

    concentration: Numbers
    follows: Numbers

    @property
    def focus(self) -> Numbers:
        """The product of both."""
        return self.concentration * self.follows


def measure_focus(maps: GridMaps, basis: Numbers | None) -> Focus:
    """Measure maps of one picture.

    Args:
        maps: (…, row, column), not negative.
        basis: `colour_basis` of the picture on the same grid; None where there is none.
    """
    flat = maps.reshape(*maps.shape[:-2], -1)
    total = flat.sum(-1, keepdims=True)
    parts = np.divide(flat, total, out=np.full(flat.shape, np.nan), where=total > 0)
    logs = np.log(np.where(parts > 0, parts, 1.0))
    places = flat.shape[-1]
    concentration = 1 + (parts * logs).sum(-1) / np.log(max(places, 2))
    concentration = np.where(np.isnan(parts).any(-1), np.nan, concentration)
    if basis is None:
        return Focus(concentration, np.full_like(concentration, np.nan))
    fitted = (parts @ basis) @ basis.T
    spread = ((parts - parts.mean(-1, keepdims=True)) ** 2).sum(-1)
    rest = ((parts - fitted) ** 2).sum(-1)
    explained = 1 - np.divide(rest, spread, out=np.ones_like(rest), where=spread > 0)
    return Focus(concentration, np.where(np.isnan(concentration), np.nan, explained.clip(0, 1)))


def lay_out_words(columns: Sequence[Column], prompt: Prompt, segment: str) -> Members:
    """Return (key, word): 1 where a key is one of a word's tokens in a segment."""
    return lay_out(columns, [prompt.positions([word.index], segment) for word in prompt.words])


def word_focus(means: MeanMaps, members: Members, pictures: Pictures) -> Focus:
    """Measure the maps of all words of a segment: (sample, word).

    Args:
        means: of a layer, a head, or all layers.
        members: `lay_out_words` of their keys.
        pictures: on the grid on which all layers are measured.
    """
    sums = sum_tokens(means.values, members)
    maps = np.nan_to_num(np.moveaxis(sums, -1, 1))
    maps = resample_values(maps, pictures.grid).astype(np.float64)
    measured = [measure_focus(*both) for both in zip(maps, pictures.bases, strict=True)]
    return Focus(
        np.stack([of.concentration for of in measured]), np.stack([of.follows for of in measured])
    )


def colour_basis(colours: Numbers) -> Numbers:
    """Return an orthonormal basis of what a linear fit by colours can be: (place, rank).

    Args:
        colours: (channel, row, column).
    """
    flat = colours.reshape(len(colours), -1)
    columns = np.vstack([np.ones(flat.shape[1]), flat])
    basis, sizes, _ = np.linalg.svd(columns.T, full_matrices=False)
    least = sizes.max() * max(columns.shape) * np.finfo(sizes.dtype).eps  # as matrix_rank has it
    return np.asarray(basis[:, sizes > least])


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of a trace, as maps are held against them.

    Attributes:
        grid: rows and columns, the finest of all layers.
        bases: `colour_basis` of each picture on this grid; None where there is none.
    """

    grid: Plane
    bases: tuple[Numbers | None, ...]

    def __bool__(self) -> bool:
        return any(basis is not None for basis in self.bases)


def read_pictures(trace: Trace, block: str, layers: Sequence[Layer]) -> Pictures:
    """Read the pictures of a trace, on the finest grid of layers.

    Raises:
        TraceError: there are no maps, or the trace names a picture that cannot be read.
    """
    grids = [view.grid or (1, 1) for view in image_views(trace, block, layers)]
    finest = max(grids, key=lambda sizes: sizes[0] * sizes[1])

    def basis_of(sample: int) -> Numbers | None:
        image = read_image(trace, sample)
        if image is None:
            return None
        channels = np.moveaxis(image, -1, 0).astype(np.float32)
        return colour_basis(resample_values(channels, finest).astype(np.float64))

    return Pictures(finest, tuple(map(basis_of, range(trace.manifest.samples))))


@dataclass(frozen=True)
class BestLayer:
    """The layer of largest focus, and that of the mean over all layers."""

    layer: Layer
    focus: float
    of_mean: float

    @property
    def times(self) -> float:
        """How many times as focused the layer is."""
        return self.focus / self.of_mean if self.of_mean > 0 else float("inf")

    @property
    def is_telling(self) -> bool:
        """Whether this layer shows much more clearly than the mean over layers."""
        return self.focus >= LEAST and MUCH <= self.times < float("inf")


def find_best_layer(
    trace: Trace,
    block: str,
    layers: Sequence[Layer],
    steps: Sequence[int],
    prompt: tuple[str, Prompt],
    pictures: Pictures,
) -> BestLayer:
    """Return the layer of largest focus, on a few of the steps.

    Args:
        trace: with maps.
        block: of the maps.
        layers: to choose from, of one tower.
        steps: to choose from.
        prompt: guidance row, and its words.
        pictures: of `read_pictures`, of the same layers.

    Raises:
        AnalysisError: there is no picture, or no layer that reads a word.
        TraceError: there are no maps.
    """
    branch, text = prompt
    spread = np.linspace(0, len(steps) - 1, min(PROBED, len(steps))).round().astype(int)
    views = image_views(trace, block, layers)
    probed = [steps[at] for at in spread] if views[0].is_stepwise else None
    telling = [is_content(word.text) for word in text.words]
    members = lay_out_words(views[0].columns, text, TOGETHER)

    def focus_of(sums: MapSums) -> float:
        values = word_focus(sums.means(), members, pictures).focus[:, telling]
        return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

    row = trace.branches.index(branch)
    total, each = MapSums(views, row), {}
    for view in views if pictures else ():
        sums = MapSums([view], row)
        for lead in view.leads(probed):
            sums.add(lead)
        each[view.layer.index] = focus_of(sums)
        total.merge(sums)
    known = {index: focus for index, focus in each.items() if not np.isnan(focus)}
    if not known:
        raise AnalysisError(
            f"layers={BEST} needs a picture, and content words, which "
            f"{trace.folder} has not; name layers by index or path"
        )
    best = max(known, key=lambda index: known[index])
    layer = next(layer for layer in layers if layer.index == best)
    return BestLayer(layer, known[best], focus_of(total))


def tell_best_layer(
    trace: Trace,
    block: str,
    layers: Sequence[Layer],
    steps: Sequence[int],
    prompt: tuple[str, Prompt],
) -> str:
    """Say if one layer shows much more clearly than the mean over all; nothing where none does.

    Where that cannot be known because a picture is damaged or gone, this is said.

    Args:
        trace: see `find_best_layer`, likewise the others.
        block: of the maps.
        layers: of the mean.
        steps: of the mean.
        prompt: guidance row, and its words.
    """
    if len(layers) < 2:  # noqa: PLR2004 - nothing is averaged
        return ""
    try:
        pictures = read_pictures(trace, block, layers)
    except TraceError as error:
        return f"no layer is held against the image: {error}"
    try:
        best = find_best_layer(trace, block, layers, steps, prompt, pictures)
    except (AnalysisError, TraceError):
        return ""
    if not best.is_telling:
        return ""
    name = name_layers(trace.layers)[best.layer.index]
    return (
        f"maps of the layer {name} follow the image {best.times:.0f} times as clearly as the mean "
        f"of all layers does: --set words.layers={BEST} draws it alone"
    )
