"""Videos as animated PNGs: every frame as it is, none left out, shown by every browser."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from attn.files.images import MOST_PIXELS, UndecodableImageError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

MOST_FRAMES = 2**12
"""Frames beyond which a video is not decoded."""
MOST_VIDEO_PIXELS = 2**27
"""Pixels of all frames together beyond which it is not either, and none is drawn."""


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes that are refused below
            video = Image.open(BytesIO(data), formats=("PNG",))
            count, (width, height) = getattr(video, "n_frames", 1), video.size
            _require_moderate(count, width * height)
            return [_frame(video, number) for number in range(count)]
    except UndecodableImageError:
        raise
    except Exception as exc:  # decoders raise whatever they stumble over
        raise UndecodableImageError(f"it is no whole animated PNG: {exc}") from exc


def _require_moderate(count: int, pixels: int) -> None:
    if count > MOST_FRAMES or pixels > MOST_PIXELS or count * pixels > MOST_VIDEO_PIXELS:
        raise UndecodableImageError(
            f"it has {count} frames of {pixels} pixels, expected at most {MOST_FRAMES} of "
            f"{MOST_PIXELS}, and {MOST_VIDEO_PIXELS} in all"
        )


def _frame(video: Image, number: int) -> Image:
    video.seek(number)
    return video.convert("RGB")
