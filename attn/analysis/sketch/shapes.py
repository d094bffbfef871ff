"""The closed shapes of a drawing, and which word reads which of them.

Definitions, for one word, with `M` its mean map divided by its sum, and `R` the part of each cell
that lies inside of a shape:

- mass  Σ M · R, the part of the map inside of the shape. 0 to 1.
- area  mean of R, the part of the image inside of it. 0 to 1.
- lift  mass / area: 1 is what an even map has.
- chance  of all places to which the shape can be moved over the image, its own among them, the part
        at which the mass is as large: a torus translation test. What leaves the image comes in on
        the other side, so that the map keeps its own unevenness. 0 to 1.

A shape is what strokes surround, connected by edges of pixels. A ring within a ring is two shapes.
Those smaller than a cell of the grid are none, since a map cannot tell them apart.

Source: ours; the test as in Harms et al. 2001, doi:10.1111/j.1365-2745.2001.00615.x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.compare.reading import regrid
from attn.analysis.sketch.strokes import surrounded
from attn.analysis.tables import Table, make_table
from attn.shapes import ShapeLifts, ShapeNumbers, ShapeRegions, Strokes, WordMaps
from attn.wording import digits, percent
from attn.words import is_content

if TYPE_CHECKING:
    from attn.trace.words.occurrences import Occurrence

MOST = 12
"""ClosedShapes that are looked at, the largest; more cannot be told apart in a figure."""
LEAST_LIFT = 1.2
"""From this lift on a word is said to read a shape."""
MOST_CHANCE = 0.05
"""Up to this chance; a shape in the right place by accident is as likely elsewhere."""
ROUNDING = 1e-9
"""Masses that differ by less are equal."""
LEAST_LEAD = 1.5
"""So many times the lift of the next shape a word's shape has, where two words look swapped."""
PARTS = (("top", "middle", "bottom"), ("left", "centre", "right"))


@dataclass(frozen=True)
class ClosedShapes:
    """The closed shapes of a drawing, from left to right.

    Attributes:
        numbers: of the shape at each pixel, from 1; 0 is none.
        names: such as `2 (right)`.
        regions: part of each cell that lies inside of each shape.
        left_out: how many more there are.
    """

    numbers: ShapeNumbers
    names: tuple[str, ...]
    regions: ShapeRegions
    left_out: int

    @property
    def areas(self) -> list[float]:
        """The part of the image inside of each."""
        return [float(region.mean()) for region in self.regions]


def find_shapes(pixels: Strokes, grid: tuple[int, int]) -> ClosedShapes:
    """Find what strokes enclose.

    Args:
        pixels: True where a stroke is, (row, column).
        grid: rows and columns of cells.
    """
    from scipy.ndimage import center_of_mass, label

    labels, count = label(surrounded(pixels))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = [at for at in range(1, count + 1) if sizes[at] * grid[0] * grid[1] >= pixels.size]
    kept = sorted(large, key=lambda at: -sizes[at])[:MOST]
    centres = dict(zip(kept, center_of_mass(labels > 0, labels, kept), strict=True))
    kept.sort(key=lambda at: (centres[at][1], centres[at][0]))
    numbers = np.zeros(count + 1, np.intp)
    numbers[kept] = np.arange(1, len(kept) + 1)
    numbered = numbers[labels]
    masks = [numbered == number for number in range(1, len(kept) + 1)]
    regions = [regrid(mask.astype(np.float64), grid) for mask in masks]
    parts = [tuple(np.array(centres[at]) / pixels.shape) for at in kept]
    return ClosedShapes(
        numbered,
        _name(parts),
        np.stack(regions) if regions else np.zeros((0, *grid)),
        len(large) - len(kept),
    )


def _name(centres: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    """Name shapes by number and by where they are; of two, only which is which."""
    places = [name_ninth(*centre) for centre in centres]
    if len(centres) == 2:  # noqa: PLR2004 - a pair
        down, across = np.abs(np.subtract(centres[0], centres[1]))
        places = ["left", "right"] if across >= down else ["upper", "lower"]
        if across < down and centres[0][0] > centres[1][0]:
            places.reverse()
    return tuple(f"{number} ({place})" for number, place in enumerate(places, 1))


def name_ninth(down: float, across: float) -> str:
    """Name the ninth of an image at a point, given in parts of its height and width."""
    row, column = (min(int(3 * at), 2) for at in (down, across))
    return f"{PARTS[0][row]}-{PARTS[1][column]}"


def measure_lifts(maps: WordMaps, shapes: ClosedShapes) -> ShapeLifts:
    """Return how much more each word reads each shape than an even map; NaN for unread words."""
    with np.errstate(invalid="ignore"):
        parts = maps / maps.sum((-2, -1), keepdims=True)
    mass = np.einsum("swrc,krc->swk", parts, shapes.regions)
    return np.asarray(mass / np.array(shapes.areas))


def measure_chance(maps: WordMaps, shapes: ClosedShapes) -> ShapeLifts:
    """Return in which part of all places each shape would hold as much; NaN for unread words."""
    from scipy.fft import irfft2, rfft2

    size = maps.shape[-2:]
    regions = np.conj(rfft2(shapes.regions))
    chances = np.full((*maps.shape[:2], len(shapes.names)), np.nan)
    for at in np.ndindex(*maps.shape[:2]):
        if maps[at].sum() > 0:
            masses = irfft2(rfft2(maps[at] / maps[at].sum()) * regions, size)
            chances[at] = (masses >= masses[:, :1, :1] - ROUNDING).mean((-2, -1))
    return chances


def tabulate_shapes(
    words: Sequence[Occurrence], shapes: ClosedShapes, lifts: ShapeLifts, chances: ShapeLifts
) -> Table:
    """Tabulate mass, lift and chance by word and shape."""
    sample, word, shape = np.indices(lifts.shape).reshape(3, -1)
    area = np.array(shapes.areas)
    places = np.array([name.partition("(")[2].rstrip(")") for name in shapes.names], object)
    return make_table(
        {
            "word": np.array([entry.text for entry in words], object)[word],
            "occurrence": np.array([entry.number for entry in words])[word],
            "sample": sample,
            "shape": shape + 1,
            "where": places[shape],
            "area": area[shape],
            "mass": (lifts * area).ravel(),
            "lift": lifts.ravel(),
            "chance": chances.ravel(),
        }
    )


def describe_word(label: str, lifts: np.ndarray, chances: np.ndarray, names: Sequence[str]) -> str:
    """Say of one word which shape it reads most and which least.

    Args:
        label: of the word.
        lifts: of each shape.
        chances: of each shape.
        names: of the shapes.
    """
    if np.isnan(lifts).any():
        return f"{label} is not read by the model"
    most, least = int(lifts.argmax()), int(lifts.argmin())
    if lifts[most] < LEAST_LIFT:
        return f"{label} reads no shape: at most {digits(lifts[most], LEAST_LIFT)}× an even map"
    told = f"shape {names[most]} {digits(lifts[most], LEAST_LIFT)}×"
    if chances[most] > MOST_CHANCE:
        return (
            f"{label} is not shown to read a shape: {told} is no more than in "
            f"{percent(chances[most], MOST_CHANCE)} of all places"
        )
    other = f", shape {names[least]} {digits(lifts[least], LEAST_LIFT)}×" if len(names) > 1 else ""
    return f"{label} reads {told}{other}"


def headline(
    words: Sequence[Occurrence], lifts: np.ndarray, chances: np.ndarray, names: Sequence[str]
) -> str:
    """Say what the word that reads one shape most reads; `lifts`, `chances` are (word, shape)."""
    telling = [at for at, word in enumerate(words) if is_content(word.text)] or range(len(words))
    read = [at for at in telling if not np.isnan(lifts[at]).any()]
    if not read:
        return "no word of these is read by the model"
    shown = [at for at in read if chances[at, lifts[at].argmax()] <= MOST_CHANCE] or read
    best = max(shown, key=lambda at: float(lifts[at].max()))
    return describe_word(words[best].label, lifts[best], chances[best], names)


def find_swapped(
    prompt: str,
    words: Sequence[Occurrence],
    lifts: np.ndarray,
    chances: np.ndarray,
    names: Sequence[str],
) -> list[str]:
    """Say which words look swapped: two neighbours read each other's shapes.

    Words that follow each other in the prompt belong together, as `red square`. Where the first of
    one such pair reads the shape of the second of another pair, and the other way round, the image
    may have `purple` where it should have `red`.

    Args:
        prompt: the text that the words are of.
        words: those that are looked at.
        lifts: (word, shape).
        chances: (word, shape).
        names: of the shapes.
    """
    shapes = {
        word.index: shape
        for word, *row in zip(words, lifts, chances, strict=True)
        if is_content(word.text) and (shape := _clear_shape(*row)) is not None
    }
    pairs = [
        (first, second)
        for first, second in pairwise(sorted(words, key=lambda word: word.index))
        if first.index in shapes
        and second.index in shapes
        and not prompt[first.stop : second.start].strip()
    ]
    return [
        f"{a.label} and {c.label} look swapped: {a.label} reads shape {names[shapes[a.index]]} as "
        f"{d.label} does, {c.label} reads shape {names[shapes[c.index]]} as {b.label} does"
        for (a, b), (c, d) in combinations(pairs, 2)
        if shapes[a.index] == shapes[d.index] != shapes[b.index] == shapes[c.index]
    ]


def _clear_shape(lifts: np.ndarray, chances: np.ndarray) -> int | None:
    """Return the shape that a word reads, if it clearly reads one."""
    if lifts.size < 2 or np.isnan(lifts).any():  # noqa: PLR2004 - nothing to swap
        return None
    most = int(lifts.argmax())
    following = float(np.delete(lifts, most).max())
    is_clear = lifts[most] >= max(LEAST_LIFT, LEAST_LEAD * following)
    return most if is_clear and chances[most] <= MOST_CHANCE else None
