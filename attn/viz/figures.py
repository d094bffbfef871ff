"""What pictures are about, and how a figure becomes a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from attn.files.disk import as_utf8
from attn.versions import attn_version
from attn.viz.fonts import BOX, FAMILY, NOTE, boxed, families
from attn.viz.page import MARGIN, fit_title
from attn.viz.sizes import DPI, USUAL, FigureSize
from attn.viz.strokes import Lines
from attn.viz.style import FAINT

COMPRESSION = 3  # of 9: three times as fast as the default, a tenth larger
SAMPLED = 3
NOTE_SIZE = 6.5  # points

Pixels = NDArray[np.uint8]
"""An image: row, column, channel (red, green, blue); 0–255."""
Frames = NDArray[np.uint8]
"""Images of one size: step, row, column, channel (red, green, blue); 0–255."""


def no_frames(sample: int) -> Frames | None:
    """Return nothing, as of a generation of which no frames are known."""


@dataclass(frozen=True)
class Subject:
    """The generation that figures are about.

    `images` has the generated image of every sample, or None where there is none; `facts` say
    how they were made, by name; `dpi` is the resolution at which they will be drawn; `layers` are
    the names of layers by their index; `strokes` are the lines of the drawing that the model was
    given, if it was given one; `forming` reads what the sampler expected of a sample's image at
    every step, where that is known, and `video` the frames of a sample's video, if it is one;
    `vocabulary` has the folded words of all prompts of which
    figures are made together, so that a word has one colour in all of them.
    """

    prompt: str
    seed: int
    backend: str
    images: tuple[Pixels | None, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    dpi: int = DPI
    strokes: Lines = ()
    layers: Mapping[int, str] = field(default_factory=dict)
    forming: Callable[[int], Frames | None] = no_frames
    video: Callable[[int], Frames | None] = no_frames
    vocabulary: Sequence[str] = ()

    @property
    def texts(self) -> dict[str, str]:
        """What every figure about this generation says of it."""
        texts = {"prompt": self.prompt, "seed": str(self.seed), "backend": self.backend}
        return texts | dict(self.facts)


@dataclass(frozen=True)
class FigureFile:
    """A figure, where it belongs below `analysis/`, and what its PNG says about itself."""

    path: str
    figure: Figure
    texts: Mapping[str, str]


@dataclass(frozen=True)
class AnimationFile:
    """An animation, where it belongs below `analysis/`, and what it says about itself.

    Attributes:
        path: ends in `.gif`.
        frames: all of one size.
        durations: milliseconds of each frame.
        texts: of its comment.
    """

    path: str
    frames: Iterable[Image.Image]
    durations: Sequence[int]
    texts: Mapping[str, str]


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of a size in inches, at `DPI` pixels per inch."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine("none")
    FigureCanvasAgg(figure)  # so that texts can be measured before they are drawn
    return figure


def shrink(image: Pixels, inches: float, dpi: int) -> Pixels:
    """Return an image with no more pixels than its long side has on the page."""
    height, width = image.shape[:2]
    factor = inches * dpi / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def write(
    figure_file: FigureFile | AnimationFile,
    folder: Path,
    about: Mapping[str, str] = MappingProxyType({}),
    size: FigureSize = USUAL,
) -> None:
    """Write a figure as PNG, or an animation as GIF, below `folder`.

    Its texts, and those of `about`, become tEXt chunks (iTXt beyond Latin-1) or the comment, with
    the version. A figure is empty afterwards. Animations keep their own size.
    """
    texts = {**about, **figure_file.texts, "Software": software()}
    texts = {key: as_utf8(text) for key, text in texts.items()}  # names of folders may be bytes
    path = folder / figure_file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(figure_file, AnimationFile):
        _write_gif(figure_file, path, texts)
        return
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    figure_file.figure.set_dpi(size.resolution(*figure_file.figure.get_size_inches()))
    dpi = (size.dpi, size.dpi)
    render(figure_file.figure).save(path, pnginfo=info, dpi=dpi, compress_level=COMPRESSION)


def _write_gif(animation: AnimationFile, path: Path, texts: Mapping[str, str]) -> None:
    frames = iter(animation.frames)
    first = next(frames)
    first.save(
        path,
        save_all=True,
        append_images=frames,
        duration=list(animation.durations),
        loop=0,
        comment="\n".join(f"{key}: {text}" for key, text in texts.items()).encode(),
    )


def in_shared_colours(
    figures: Iterable[Figure], kept: NDArray[np.uint8] | None = None
) -> list[Image.Image]:
    """Return figures of one size as frames with one palette, so that equal colours stay equal.

    The palette is that of all frames, of every `SAMPLED`-th row and column of each.

    Args:
        figures: of one size.
        kept: colours that the palette has in any case (colour, channel; 0-255), such as a bar's.
    """
    frames = [render(figure) for figure in figures]
    sampled = [np.asarray(frame)[::SAMPLED, ::SAMPLED] for frame in frames]
    together = Image.fromarray(np.concatenate(sampled))
    # median cut, the default, spends its colours on what is frequent: misses up to 60 of 255
    certain = [] if kept is None else kept.ravel().tolist()
    palette = together.quantize(256 - len(certain) // 3, Image.Quantize.FASTOCTREE)
    palette.putpalette([*(palette.getpalette() or []), *certain])
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def render(figure: Figure) -> Image.Image:
    """Return a figure in red, green and blue; it is empty afterwards."""
    choose_fonts(figure)
    canvas = FigureCanvasAgg(figure)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # which lays the axes out
        for axes in figure.axes:
            fit_title(axes)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels).convert("RGB")
    figure.clear()  # what refers to itself would wait for the garbage collector
    return image


def choose_fonts(figure: Figure) -> None:
    """Give every text of a figure the fonts that have its letters, and say if there are none."""
    for axes in figure.axes:
        if axes.axison:
            axes.get_xticklabels(), axes.get_yticklabels()  # which are made when they are asked for
        else:
            axes.set(xticks=[], yticks=[])  # looking for texts would make a dozen that nobody sees
    texts = [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]
    for text in texts:
        text.set_text(boxed(text.get_text()))
        names = families(text.get_text())
        if names != [FAMILY]:
            text.set_fontfamily(names)
    if any(BOX in text.get_text() for text in texts):
        width, height = figure.get_size_inches()
        about = {"fontsize": NOTE_SIZE, "fontfamily": FAMILY, "color": FAINT}
        figure.text(MARGIN / width, MARGIN / 6 / height, NOTE, about)


def software() -> str:
    """Name this program and its version."""
    return f"attn {attn_version()}"
