"""Drawings of one shape in every form in which people have them."""

import numpy as np
from PIL import Image, ImageDraw

SIZE = (97, 71)
"""Width and height."""


def ring(size=SIZE, *, ground=255, stroke=0, width=3):
    """Draw an ellipse left of the middle, in grey levels."""
    image = Image.new("L", size, ground)
    wide, high = size
    box = (wide // 9, high // 5, wide // 2, high * 4 // 5)
    ImageDraw.Draw(image).ellipse(box, outline=stroke, width=width)
    return image


def transparent(image, *, drawn_white=False):
    """Make the ground of a drawing transparent."""
    strokes = np.asarray(image) < 128
    pixels = np.full((*strokes.shape, 4), 255 if drawn_white else 0, np.uint8)
    pixels[..., 3] = np.where(strokes, 255, 0)
    return Image.fromarray(pixels)


def erased(image):
    """Make the strokes of a drawing transparent holes in white."""
    pixels = np.full((*image.size[::-1], 4), 255, np.uint8)
    pixels[..., 3] = np.asarray(image)
    return Image.fromarray(pixels)


def sixteen_bit(image):
    """Store a drawing in 16 bits."""
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


FORMS = {
    "dark on light": (ring, "light", ".png"),
    "light on dark": (lambda: ring(ground=0, stroke=255), "dark", ".png"),
    "faint": (lambda: ring(ground=250, stroke=210), "light", ".png"),
    "colour": (lambda: ring().convert("RGB"), "light", ".png"),
    "palette": (lambda: ring().convert("P"), "light", ".png"),
    "1 bit": (lambda: ring().convert("1"), "light", ".png"),
    "16 bits": (lambda: sixteen_bit(ring()), "light", ".png"),
    "transparent ground": (lambda: transparent(ring()), "light", ".png"),
    "white on transparent": (lambda: transparent(ring(), drawn_white=True), "dark", ".png"),
    "transparent strokes": (lambda: erased(ring()), "light", ".png"),
    "CMYK JPEG": (lambda: ring().convert("RGB").convert("CMYK"), "light", ".jpg"),
}
"""How to make each, the ground that is to be found, and the ending of its file."""


def save(folder, name="ring", image=None, ending=".png", **options):
    """Save a drawing and return its path."""
    path = folder / f"{name}{ending}"
    (ring() if image is None else image).save(path, **options)
    return path
