"""Read a drawing, whatever its size, mode and polarity, as the strokes that a model is given."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from attn.errors import RequestError, UsageError
from attn.schema import SKETCH_GROUND

Ground = Literal["auto", "light", "dark"]
Fit = Literal["pad", "stretch"]
Strokes = npt.NDArray[np.bool_]
Grey = npt.NDArray[np.float64]

FAINTEST = 16
"""Grey levels, of 255, that strokes must at least differ from their ground."""
THRESHOLD = 0.5
"""Share of the strongest stroke's difference from the ground above which a pixel is a stroke."""
MUCH = 0.5
"""Share of the picture beyond which strokes are probably the ground."""
THINNEST = 8
"""Pixels of the drawing's shorter side in the picture: one latent pixel."""
OTHER_SHAPE = 0.02
"""Relative difference of aspect ratios that is worth a word."""
CANNY = (50, 150)
"""Thresholds of Canny's hysteresis, as ScribbleDiffusion has them."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """A drawing that was read.

    Attributes:
        path: the file.
        sha256: of the file.
        strokes: (row, column) of the drawing's own size; True where a stroke is.
        ground: `light` if the strokes are darker than what they are drawn on, else `dark`.
        known: how that was known: by looking, from the user, or because edges were looked for.
    """

    path: Path
    sha256: str
    strokes: Strokes
    ground: Literal["light", "dark"]
    known: Literal["detected", "told", "edges"]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.strokes.shape
        return width, height


def read_sketch(path: str | Path, ground: Ground = "auto", *, edges: bool = False) -> Sketch:
    """Read a drawing; the same file is read once.

    Transparent pixels are given the colour, white or black, that the opaque ones differ most from.
    The ground is the (lower) median of the outermost pixels; a stroke is what differs from it by
    more than half as much as the pixel that differs most.

    Args:
        path: a picture in a format that Pillow reads.
        ground: what the strokes are drawn on; `auto` looks.
        edges: the picture is a photo, of which Canny's edges are the strokes.

    Raises:
        UsageError: no such file, no picture, or several in one.
        RequestError: there is no stroke in it.
    """
    file = Path(path).expanduser()
    try:
        data = file.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read the sketch {file}: {exc.strerror or exc}") from exc
    return _read(file, hashlib.sha256(data).hexdigest(), ground, edges)


def place_strokes(sketch: Sketch, width: int, height: int, fit: Fit) -> tuple[Strokes, str]:
    """Lay the strokes out in a picture; none vanishes by shrinking.

    Args:
        sketch: from `read_sketch`.
        width: of the picture in pixels.
        height: of the picture in pixels.
        fit: `pad` keeps the drawing's proportions, in the middle; `stretch` does not.

    Returns:
        the strokes (row, column), and what the user should know, or nothing.

    Raises:
        RequestError: the drawing is so long that next to nothing of it would be left.
    """
    wide, high = sketch.size
    scale = min(width / wide, height / high)
    inner = (round(wide * scale), round(high * scale)) if fit == "pad" else (width, height)
    if min(inner) < min(THINNEST, width, height):
        raise RequestError(
            f"the sketch {sketch.path} is {wide}x{high}: inside {width}x{height} it would be "
            f"{inner[0]}x{inner[1]} pixels; crop it, ask for another --size, or stretch it with "
            "--set fit=stretch"
        )
    drawn = _resized(sketch.strokes, *inner)
    placed = np.zeros((height, width), np.bool_)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    placed[top : top + inner[1], left : left + inner[0]] = drawn
    if abs(wide / high * height / width - 1) <= OTHER_SHAPE:
        return placed, ""
    how = "padded" if fit == "pad" else "stretched"
    other = "stretch" if fit == "pad" else "pad"
    return placed, (
        f"the sketch is {wide}x{high}, the picture {width}x{height}: it is {how} to its shape "
        f"(--set fit={other} for the other way, or give a --size of the sketch's shape)"
    )


def describe(sketch: Sketch) -> str:
    """Say what was found in a drawing."""
    share = float(sketch.strokes.mean())
    tone = other = "dark" if sketch.ground == "light" else "light"
    how = {
        "detected": f"detected; --set ground={other} for the other way round",
        "told": "as told",
        "edges": "edges of the photo by Canny",
    }[sketch.known]
    text = f"sketch: {tone} strokes on {sketch.ground} ground, {share:.1%} of the picture ({how})"
    if share > MUCH:
        text += "; more strokes than ground: are they the wrong way round?"
    return text


def as_picture(strokes: Strokes, *, dark: bool = False) -> Image.Image:
    """Return strokes as an RGB picture, white on black, or black on white if `dark`.

    Its `info` says what they are drawn on.
    """
    pixels = np.where(strokes != dark, 255, 0).astype(np.uint8)
    picture = Image.fromarray(pixels).convert("RGB")
    picture.info[SKETCH_GROUND] = "light" if dark else "dark"
    return picture


@lru_cache(maxsize=8)
def _read(path: Path, sha256: str, ground: Ground, edges: bool) -> Sketch:
    grey = _canny(path, _grey(path)) if edges else _grey(path)
    asked: Ground = "dark" if edges else ground
    border = np.concatenate([grey[[0, -1]].ravel(), grey[:, [0, -1]].ravel()])
    median = float(np.quantile(border, 0.5, method="lower"))  # which is the level of a pixel
    level = {"auto": median, "light": 255.0, "dark": 0.0}[asked]
    ink = np.abs(grey - level)
    spread = float(grey.max() - grey.min())
    if spread < FAINTEST:
        shades = f"differ by at most {spread:.0f} of 255 grey levels" if spread else "are alike"
        raise RequestError(
            f"the sketch {path} is empty: its {grey.shape[1]}x{grey.shape[0]} pixels {shades}; "
            f"expected strokes that differ from their ground by {FAINTEST} grey levels or more"
        )
    strokes = ink > THRESHOLD * ink.max()
    if strokes.all():
        raise RequestError(
            f"the sketch {path} has no {asked} ground: its {grey.shape[1]}x{grey.shape[0]} pixels "
            f"have grey levels {grey.min():.0f} to {grey.max():.0f}, which are all strokes on it; "
            "leave --set ground out, or give the other one"
        )
    darker = float(grey[strokes].mean()) < float(grey[~strokes].mean())
    known: Literal["detected", "told", "edges"] = "detected" if ground == "auto" else "told"
    found: Literal["light", "dark"] = "light" if darker else "dark"
    return Sketch(path, sha256, strokes, found, "edges" if edges else known)


def _grey(path: Path) -> Grey:
    """Return a picture's grey levels, 0 to 255, upright and without transparency."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _refuse_frames(path, getattr(image, "n_frames", 1))
                return _levels(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise UsageError(f"the sketch {path} is too large to be a drawing: {exc}") from exc
    except UnidentifiedImageError as exc:
        begins = path.read_bytes()[:16]
        what = f"it begins with {begins!r}" if begins else "the file is empty"
        raise UsageError(
            f"the sketch {path} is no picture that can be read ({what}); give a PNG or JPEG"
        ) from exc
    except (OSError, SyntaxError, ValueError) as exc:  # cut off in the middle, …
        raise UsageError(f"the sketch {path} is no whole picture: {exc}") from exc


def _refuse_frames(path: Path, frames: int) -> None:
    if frames > 1:
        raise UsageError(
            f"the sketch {path} has {frames} frames, expected one picture: save the frame that is "
            "meant as a PNG"
        )


def _levels(image: Image.Image) -> Grey:
    if image.mode[0] in "IF":  # 16 bits and more, which Pillow would cut off at 255
        deep = np.asarray(image, np.float64)
        return np.asarray(255 * (deep - deep.min()) / (np.ptp(deep) or 1))
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB").convert("L"), np.float64)
    layered = image.convert("RGBA")
    grey = np.asarray(layered.convert("RGB").convert("L"), np.float64)
    opacity = np.asarray(layered.getchannel("A"), np.float64) / 255
    if not opacity.any():
        return np.zeros_like(grey)
    below = 255.0 if np.average(grey, weights=opacity) < 128 else 0.0  # noqa: PLR2004 - mid-grey
    return np.asarray(opacity * grey + (1 - opacity) * below)


def _canny(path: Path, grey: Grey) -> Grey:
    if find_spec("cv2") is None:
        raise UsageError(
            f"edges of the photo {path} need OpenCV, which is not here: pip install 'attn[sketch]'"
        )
    import cv2  # type: ignore[import-not-found, unused-ignore]

    found: Any = cv2.Canny(np.rint(grey).astype(np.uint8), *CANNY)
    if not found.any():
        raise RequestError(f"the photo {path} has no edges: it is too even for Canny {CANNY}")
    return np.asarray(found, np.float64)


def _resized(strokes: Strokes, width: int, height: int) -> Strokes:
    """Shrink so that a cell with any stroke is a stroke; enlarge by repeating pixels."""
    for axis, length in enumerate((height, width)):
        first = np.arange(length) * strokes.shape[axis] // length
        strokes = np.logical_or.reduceat(strokes, first, axis=axis)
    return strokes
