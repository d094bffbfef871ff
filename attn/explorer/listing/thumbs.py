"""Small pictures for the index, made when they are looked at."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from pathlib import Path

from attn.errors import TraceError
from attn.files.images import UndecodableImageError, decode_image
from attn.files.outside import read_bytes

SIDE = 192
"""Pixels of the longer side of a small picture."""
LARGEST = 64 * 2**20
"""Bytes of a file that is made small."""
SHOWN = ("PNG", "JPEG", "WEBP")
"""Formats of pictures that are made small."""
KEPT = 2_000


def thumbnail(path: Path, side: int = SIDE) -> bytes | None:
    """Return a picture as a small JPEG; None of a file that is no picture, or too large for one.

    Args:
        path: of the picture.
        side: pixels of the result, at most.
    """
    try:
        about = path.stat()
        return _make(path, side, about.st_mtime_ns, about.st_size)
    except (OSError, TraceError, UndecodableImageError):
        return None


@lru_cache(maxsize=KEPT)
def _make(path: Path, side: int, *stamp: int) -> bytes:
    del stamp  # only part of the key
    small = decode_image(read_bytes(path, limit=LARGEST), SHOWN).convert("RGB")
    small.thumbnail((side, side))
    stream = BytesIO()
    small.save(stream, "JPEG", quality=85)
    return stream.getvalue()
