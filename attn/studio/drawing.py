"""Drawings: what the pad holds, and shapes that are typed instead of drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attn.errors import UsageError
from attn.verbs.capture.drawings import drawing_file

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 384
"""Pixels of the pad."""
WIDTH = 6
NUMBERS = {"circle": 3, "box": 4, "line": 4}
SHAPES = "circle X Y RADIUS, box LEFT TOP RIGHT BOTTOM, line X Y X Y"


def pad_file(held: Mapping[str, Any] | None) -> str | None:
    """Return the file of what the pad holds, on white; None where there is nothing on it."""
    image = None if held is None else held["composite"]
    if image is None:
        return None
    from PIL.Image import new
    from PIL.ImageChops import invert

    if "A" in image.getbands():
        image = _without_bars(image)
    flat = new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
    is_blank = invert(flat).getbbox() is None  # cleared, or erased
    return None if is_blank else drawing_file(flat)


def _without_bars(image: Image) -> Image:
    """Return a picture that was sent without the empty bars beside it, whose edges are no edges."""
    box = image.getchannel("A").getbbox()
    if box is None:
        return image
    left, top, right, bottom = box
    fills = right - left == image.width or bottom - top == image.height
    return image.crop(box) if fills else image


def draw_shapes(text: str) -> Image:
    """Return a drawing of typed shapes, one a line, in hundredths of its side.

    Raises:
        UsageError: a line is no shape.
    """
    from PIL import ImageDraw
    from PIL.Image import new

    image = new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    for line in filter(None, map(str.strip, text.splitlines())):
        name, numbers = _read(line)
        if name == "circle":
            x, y, radius = numbers
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), None, "black", WIDTH)
        elif name == "box":
            left, top, right, bottom = numbers
            box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
            pen.rectangle(box, None, "black", WIDTH)
        else:
            pen.line(numbers, "black", WIDTH)
    return image


def _read(line: str) -> tuple[str, list[float]]:
    name, *words = line.split()
    try:
        numbers = [float(word) * SIDE / 100 for word in words]
    except ValueError:
        numbers = []
    is_near = all(abs(number) <= SIDE for number in numbers)  # NaN is not
    if len(numbers) != NUMBERS.get(name) or not is_near:
        raise UsageError(f"shapes: expected {SHAPES}, in hundredths of the side; got '{line}'")
    return name, numbers
