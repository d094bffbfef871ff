"""Which sizes of pictures a model draws."""

from __future__ import annotations

import math

from attn.errors import RequestError

LARGEST_SIDE = 16384
"""Beyond any model's reach; larger numbers are typing errors that would only fill the memory."""


def check_size(width: int, height: int, multiple: int) -> None:
    """Refuse a size that the model cannot draw.

    Raises:
        RequestError: it is too large, or not divisible by `multiple`.
    """
    if max(width, height) > LARGEST_SIDE:
        raise RequestError(f"size {width}x{height}: at most {LARGEST_SIDE} pixels a side")
    if width < multiple or height < multiple or width % multiple or height % multiple:
        near = [max(multiple, round(side / multiple) * multiple) for side in (width, height)]
        raise RequestError(
            f"size {width}x{height}: width and height must be divisible by {multiple}; "
            f"the nearest is {near[0]}x{near[1]}"
        )


def usual_size(size: tuple[int, int], side: int, multiple: int) -> tuple[int, int]:
    """Return the proportions of a picture at the model's usual number of pixels.

    Args:
        size: width and height of the picture.
        side: usual width and height.
        multiple: both are divisible by this.
    """
    factor = side / math.sqrt(size[0] * size[1])
    width, height = (max(multiple, round(of * factor / multiple) * multiple) for of in size)
    return width, height
