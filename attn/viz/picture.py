"""What pictures are about, and how a figure becomes a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

DPI = 150
LAST = 4  # so many times as long as the others an animation's last figure is shown
COMPRESSION = 3  # of 9: three times as fast as the default, a tenth larger

Pixels = NDArray[np.uint8]
"""A picture: row, column, channel (red, green, blue); 0–255."""


@dataclass(frozen=True)
class Subject:
    """The generation that pictures are about.

    `pictures` has the generated picture of every sample, or None where there is none; `facts` say
    how they were made, by name.
    """

    prompt: str
    seed: int
    backend: str
    pictures: tuple[Pixels | None, ...]
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str]:
        """What every picture about this generation says of it."""
        own = {"prompt": self.prompt, "seed": str(self.seed), "backend": self.backend}
        return own | dict(self.facts)


@dataclass(frozen=True)
class Picture:
    """A figure, where it belongs below `analysis/`, and what its PNG says about itself."""

    path: str
    figure: Figure
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Animation:
    """Figures of one size that follow each other, made one by one as they are written."""

    path: str
    figures: Iterable[Figure]
    texts: Mapping[str, str]
    seconds: float


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of a size in inches, at `DPI` pixels per inch."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine("none")
    FigureCanvasAgg(figure)  # so that texts can be measured before they are drawn
    return figure


def shrink(picture: Pixels, inches: float) -> Pixels:
    """Return a picture with no more pixels than its long side has on the page."""
    height, width = picture.shape[:2]
    factor = inches * DPI / max(height, width)
    if factor >= 1:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def write(
    picture: Picture | Animation,
    folder: Path,
    about: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a picture as PNG, or an animation as GIF, below `folder`.

    Its texts, and those of `about`, become tEXt chunks (iTXt beyond Latin-1) or the comment, with
    the version. Figures are empty afterwards.
    """
    texts = {**about, **picture.texts, "Software": software()}
    path = folder / picture.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, Animation):
        _write_gif(picture, path, texts)
        return
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    _render(picture.figure).save(path, pnginfo=info, compress_level=COMPRESSION)


def _write_gif(animation: Animation, path: Path, texts: Mapping[str, str]) -> None:
    """Write all figures in the colours of the first; the last stays longer than the others."""
    frames: list[Image.Image] = []
    for figure in animation.figures:
        rendered = _render(figure)
        palette = frames[0] if frames else rendered.quantize(256)
        frames.append(rendered.quantize(palette=palette, dither=Image.Dither.NONE))
    milliseconds = round(1000 * animation.seconds)
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=[*[milliseconds] * (len(frames) - 1), LAST * milliseconds],
        loop=0,
        comment="\n".join(f"{key}: {text}" for key, text in texts.items()).encode(),
    )


def _render(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels).convert("RGB")
    figure.clear()  # what refers to itself would wait for the garbage collector
    return image


def software() -> str:
    """Name this program and its version."""
    try:
        return f"attn {version('attn')}"
    except PackageNotFoundError:  # run from a checkout
        return "attn"
