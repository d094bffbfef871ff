"""Images and videos of others: decoded in bounded memory, by Pillow's own decoders only.

Pillow chooses a decoder by what a file begins with, whatever it is called, and some of them start
other programs: PostScript is handed to Ghostscript. So the formats are named here. Videos are
animated PNGs: every frame as it is, none left out, shown by every browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from attn.errors import UsageError
from attn.files.outside import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

MOST_PIXELS = 16_000_000
"""Pixels beyond which a picture is not decoded."""
MOST_FRAMES = 2**12
"""Frames beyond which a video is not decoded."""
MOST_VIDEO_PIXELS = 2**27
"""Pixels of all frames together beyond which it is not either, and none is drawn."""
MOST_BYTES = 2**28
"""Most bytes of a file with a picture: 16 bytes a pixel."""
DRAWINGS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats of drawings that people bring along; a trace has PNG alone."""


class UndecodableImageError(ValueError):
    """Why an image is not decoded, without its file; whoever asked adds that."""


class UnknownFormatError(UndecodableImageError):
    """The file begins like none of the formats."""


def decode_image(data: bytes, formats: tuple[str, ...] = ("PNG",)) -> Image:
    """Return an image that is decoded already, with the texts that it carries in `info`.

    Args:
        data: the content of a file.
        formats: names of Pillow's formats; no other decoder is tried.

    Raises:
        UndecodableImageError: it is of none of these formats, damaged, larger than
            `MOST_PIXELS`, or several images in one.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - a command may need none

    try:
        image = Image.open(BytesIO(data), formats=formats)
        _require_moderate(image)
        image.load()
    except UndecodableImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise UndecodableImageError(
            f"it has more than the {MOST_PIXELS} pixels of a picture"
        ) from exc
    except UnidentifiedImageError as exc:
        begins = f"it begins with {data[:16]!r}" if data else "the file is empty"
        raise UnknownFormatError(begins) from exc
    except Exception as exc:  # decoders raise whatever they stumble over
        raise UndecodableImageError(f"it is damaged: {exc}") from exc
    return image


def read_content(path: Path) -> bytes:
    """Return the bytes of a drawing.

    Raises:
        UsageError: the file cannot be read, or is too large.
    """
    return read_bytes(path, limit=MOST_BYTES, error=UsageError, hint="Give a picture as --sketch.")


def read_drawing(path: Path) -> Image:
    """Return a drawing that somebody brings along, decoded.

    Raises:
        UsageError: it is no picture, damaged, too large, or several in one.
    """
    try:
        return decode_image(read_content(path), DRAWINGS)
    except UnknownFormatError as exc:
        raise UsageError(
            f"the sketch {path} is no picture that can be read ({exc}); give a PNG or JPEG"
        ) from exc
    except UndecodableImageError as exc:
        raise UsageError(f"the sketch {path} cannot be used: {exc}") from exc


def write_animation(frames: Sequence[Image], fps: float, info: PngInfo | None = None) -> bytes:
    """Return frames as an animated PNG; a single one is a plain PNG.

    Args:
        frames: without transparency, all of one size.
        fps: frames a second.
        info: texts of the file.
    """
    data = BytesIO()
    first, *others = (frame.convert("RGB") for frame in frames)
    first.save(
        data,
        "PNG",
        save_all=True,
        append_images=others,
        duration=1000 / fps,
        loop=0,
        # two frames that are equal would become one if they were blended alike
        blend=[number % 2 for number in range(len(frames))],
        pnginfo=info,
    )
    return data.getvalue()


def read_animation(data: bytes) -> list[Image]:
    """Return the frames of an animated PNG, decoded, without transparency.

    Raises:
        UndecodableImageError: it is no PNG, damaged, or larger than is believed.
    """
    from PIL import Image  # noqa: PLC0415 - a command may need none

    try:
        video = Image.open(BytesIO(data), formats=("PNG",))
        count, (width, height) = getattr(video, "n_frames", 1), video.size
        _require_moderate_video(count, width * height)
        return [_frame(video, number) for number in range(count)]
    except UndecodableImageError:
        raise
    except Exception as exc:  # decoders raise whatever they stumble over
        raise UndecodableImageError(f"it is no whole animated PNG: {exc}") from exc


def _require_moderate(image: Image) -> None:
    """Refuse, by its header alone, a picture that is too large or an animation."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UndecodableImageError(
            f"it is {width}x{height}, expected at most {MOST_PIXELS} pixels: make it smaller"
        )
    if _has_more(image):
        raise UndecodableImageError("it has several frames, expected one picture")


def _has_more(image: Image) -> bool:
    """Whether there is a second frame; to count all of them can take minutes."""
    try:
        image.seek(1)
    except EOFError:
        return False
    finally:
        image.seek(0)
    return True


def _require_moderate_video(count: int, pixels: int) -> None:
    if count > MOST_FRAMES or pixels > MOST_PIXELS or count * pixels > MOST_VIDEO_PIXELS:
        raise UndecodableImageError(
            f"it has {count} frames of {pixels} pixels, expected at most {MOST_FRAMES} of "
            f"{MOST_PIXELS}, and {MOST_VIDEO_PIXELS} in all"
        )


def _frame(video: Image, number: int) -> Image:
    video.seek(number)
    return video.convert("RGB")
