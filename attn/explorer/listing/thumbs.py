"""Small pictures for the index, made when they are looked at."""

from __future__ import annotations

import warnings
from functools import lru_cache
from io import BytesIO
from pathlib import Path

SIDE = 192
"""Pixels of the longer side of a small picture."""
LARGEST = 64 * 2**20
"""Bytes of a file that is made small."""
KEPT = 2_000


def thumbnail(path: Path, side: int = SIDE) -> bytes | None:
    """Return a picture as a small JPEG; None of a file that is no picture, or too large for one.

    Args:
        path: of the picture.
        side: pixels of the result, at most.
    """
    from PIL import Image

    try:
        about = path.stat()
        if about.st_size > LARGEST:
            return None
        return _make(path, side, about.st_mtime_ns, about.st_size)
    except (OSError, ValueError, SyntaxError):  # what Pillow says of damaged files
        return None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


@lru_cache(maxsize=KEPT)
def _make(path: Path, side: int, *stamp: int) -> bytes:
    from PIL import Image

    del stamp  # only part of the key
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            image.draft("RGB", (2 * side, 2 * side))
            small = image.convert("RGB")
    small.thumbnail((side, side))
    stream = BytesIO()
    small.save(stream, "JPEG", quality=85)
    return stream.getvalue()
