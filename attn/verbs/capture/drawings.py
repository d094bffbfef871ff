"""Drawings and pictures that a request names: files, and images in memory, which become files."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from attn.errors import RequestError, UsageError
from attn.files.cache import cache_folder
from attn.files.disk import is_there, write_atomic
from attn.verbs import checks

if TYPE_CHECKING:
    from PIL.Image import Image

    from attn.schema import ExistingPicture
    from attn.verbs.capture.options import CaptureOptions
else:
    Image = object  # importing it would double the time of --help

LEVELS = (0.6, 0.3)
"""Parts of noise at which a picture is shown if none are named."""
HALF = 128
"""Levels of a mask from which it is white."""
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
    path = drawings_folder() / f"drawing-{name}.png"
    if not is_there(path):
        write_atomic(path, data.getvalue())
    return str(path)


def drawings_folder() -> Path:
    """Return where files of images are."""
    return cache_folder() / "drawings"


def read_picture(options: CaptureOptions) -> ExistingPicture | None:
    """Return the picture that is shown to the model, or None.

    Raises:
        UsageError: there is none to do something with, or two things are to be done with it.
        RequestError: a file is no picture, or the mask does not fit.
    """
    from attn.schema import ExistingPicture

    noise, strength, mask = options.noise, options.strength, options.mask_picture
    if options.picture is None:
        for name in ("noise", "strength", "mask_picture"):
            if getattr(options, name) is not None:
                raise UsageError(f"{name}: of which picture? give it with --picture")
        return None
    if noise is not None and (strength is not None or mask is not None):
        raise UsageError(
            "noise shows the picture as it is; to draw it further, give --strength or "
            "--mask-picture without --noise"
        )
    if strength is not None and not 0 < strength <= 1:
        raise UsageError(f"strength: expected a number above 0, up to 1; got {strength:g}")
    image, digest = _decode("picture", options.picture)
    file, drawn = str(options.picture), 1.0 if strength is None else strength
    if mask is not None:
        masked, mask_digest = _decode("mask_picture", mask)
        _require_mask(str(mask), masked, image)
        return ExistingPicture(file, digest, (), drawn, str(mask), mask_digest)
    if strength is not None:
        return ExistingPicture(file, digest, (), drawn)
    if options.steps is not None:
        raise UsageError("steps: each level of --noise is a step; leave --steps out")
    return ExistingPicture(file, digest, checks.levels("noise", noise or LEVELS))


def _decode(name: str, path: str | Path) -> tuple[Image, str]:
    """Return an image of a file, and the digest of the file.

    Raises:
        RequestError: it is none.
    """
    from attn.files.images import DRAWINGS, MOST_BYTES, UndecodableImageError, decode_image
    from attn.files.outside import read_bytes

    data = read_bytes(Path(path), limit=MOST_BYTES)
    try:
        return decode_image(data, DRAWINGS), sha256(data).hexdigest()
    except UndecodableImageError as error:
        raise RequestError(f"{name}: {path} is no picture: {error}") from error


def _require_mask(name: str, mask: Image, image: Image) -> None:
    """Refuse a mask of another size, and one that is white nowhere.

    Raises:
        RequestError: says what it is.
    """
    if mask.size != image.size:
        sizes = [f"{of.width}x{of.height}" for of in (mask, image)]
        raise RequestError(
            f"mask_picture: {name} is {sizes[0]}, the picture {sizes[1]}; give one of its size"
        )
    if not mask.convert("L").point(lambda level: 255 * (level >= HALF)).getbbox():
        raise RequestError(f"mask_picture: {name} is white nowhere, so nothing would be drawn anew")
