"""Drawings that come as images in memory, from Python: kept as files that a request can name."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from attn.errors import UsageError
from attn.files.cache import cache_folder
from attn.files.disk import is_there, write_atomic
from attn.verbs import checks

if TYPE_CHECKING:
    from PIL.Image import Image
else:
    Image = object  # importing it would double the time of --help

Drawing: TypeAlias = str | Path | Image
"""A file, a word that stands for one, or an image of Pillow."""


def drawing(name: str, value: Any) -> Any:
    """Return what names a drawing, or the drawing itself: a check of an option."""
    return value if is_image(value) else checks.source(name, value)


def is_image(value: object) -> bool:
    """Whether something is an image of Pillow."""
    if isinstance(value, str | Path):
        return False
    from PIL.Image import Image

    return isinstance(value, Image)


def drawing_file(value: Drawing) -> str:
    """Return the name of a drawing's file.

    An image goes to the user's cache, named by its content: the same image is the same file, so
    that a run can be resumed with it.

    Raises:
        UsageError: the image is of a mode that no PNG has.
        TraceError: the cache cannot be written.
    """
    if isinstance(value, str | Path):
        return str(value)
    data = BytesIO()
    try:
        value.save(data, "PNG")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"sketch: an image of {value.width}x{value.height} pixels in mode {value.mode} cannot "
            'be kept as PNG; give image.convert("RGB")'
        ) from error
    name = sha256(data.getvalue()).hexdigest()[:16]
    path = cache_folder() / "drawings" / f"drawing-{name}.png"
    if not is_there(path):
        write_atomic(path, data.getvalue())
    return str(path)
