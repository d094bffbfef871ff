"""Figures as a report has them inside: copies of the size at which they are read, as WebP.

Colours of a copy may be off by a few of 255; the files beside the page are exact.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

WIDE, NARROW, MOVING = 1120, 800, 760
"""Most pixels across: of a figure that stands open, of one that is folded, of an animation."""
QUALITY, FOLDED_QUALITY, MOVING_QUALITY = 88, 78, 75
EFFORT = 2
"""Of the encoder, 0 to 6; more takes longer and gives a few per cent."""


def data_uri(path: Path, *, is_open: bool) -> str:
    """Return a figure as an address that has all of it.

    Args:
        path: a PNG or GIF that this program wrote.
        is_open: whether it is seen at once.
    """
    from PIL import Image

    data = BytesIO()
    with Image.open(path, formats=("PNG", "GIF")) as image:
        if getattr(image, "n_frames", 1) > 1:
            _save_frames(image, data)
        else:
            small = _shrink(image, WIDE if is_open else NARROW)
            quality = QUALITY if is_open else FOLDED_QUALITY
            small.save(data, "WEBP", quality=quality, method=EFFORT)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


def _save_frames(image: Image, data: BytesIO) -> None:
    durations = list(_durations(image))
    frames = _frames(image)
    next(frames).save(
        data,
        "WEBP",
        save_all=True,
        append_images=frames,
        duration=durations,
        loop=0,
        quality=MOVING_QUALITY,
        method=EFFORT,
    )


def _durations(image: Image) -> Iterator[int]:
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        yield int(image.info["duration"])


def _frames(image: Image) -> Iterator[Image]:
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        yield _shrink(image, MOVING)


def _shrink(image: Image, widest: int) -> Image:
    from PIL.Image import Resampling

    plain = image.convert("RGB")
    factor = widest / image.width
    if factor >= 1:
        return plain
    return plain.resize((widest, max(1, round(image.height * factor))), Resampling.LANCZOS)
