"""Pictures of others are decoded in bounded memory, by decoders that are named."""

import os
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from attn.files.images import DRAWINGS, UndecodableImageError, UnknownFormatError, decode_image


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    """Return the content of a file with a picture."""
    data = BytesIO()
    image.save(data, name, **options)
    return data.getvalue()


SMALL = Image.new("RGB", (7, 5), (9, 90, 200))
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


@pytest.mark.parametrize("name", DRAWINGS)
def test_formats_of_drawings(name: str) -> None:
    """Every format that is named is read, whatever a file is called."""
    assert decode_image(encoded(SMALL, name), DRAWINGS).size == (7, 5)


@pytest.mark.parametrize("data", [EPS, encoded(SMALL, "PPM"), encoded(SMALL, "DDS"), b""])
def test_other_formats_are_not_tried(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript under a picture's name would be run by Ghostscript."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("it was run"))
    with pytest.raises(UnknownFormatError, match=r"it begins with|the file is empty"):
        decode_image(data, DRAWINGS)


def test_pictures_of_traces_are_png_alone() -> None:
    """What `attn` did not write is not decoded."""
    assert decode_image(encoded(SMALL, "PNG")).getpixel((0, 0)) == (9, 90, 200)
    with pytest.raises(UnknownFormatError):
        decode_image(encoded(SMALL, "GIF"))


def bomb(kind: str) -> bytes:
    """Return a small file of a large picture: only its header is true."""
    if kind == "GIF":  # 9400 x 9400
        return (
            b"GIF89a"
            + b"\xb8\x24\xb8\x24"
            + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xb8\x24\xb8\x24\0\x02\0;"
        )
    chunk = b"IHDR" + (1).to_bytes(4) + (89_000_000).to_bytes(4) + b"\x08\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + zlib.crc32(chunk).to_bytes(4) + b"\0\0\0\0IDAT"


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_bombs(kind: str) -> None:
    """A picture of more pixels than any is refused by its header, before memory is taken."""
    with pytest.raises(UndecodableImageError, match=r"expected at most 16000000 pixels|more than"):
        decode_image(bomb(kind), DRAWINGS)


@pytest.mark.parametrize("name", ["GIF", "TIFF", "PNG", "WEBP"])
def test_animations(name: str) -> None:
    """Only whether there is a second frame is looked at: counting 50 000 takes half a minute."""
    more = [Image.new("RGB", (7, 5), (index, 0, 0)) for index in range(3)]
    data = encoded(SMALL, name, save_all=True, append_images=more)
    with pytest.raises(UndecodableImageError, match="it has several frames, expected one picture"):
        decode_image(data, DRAWINGS)


@pytest.mark.parametrize("name", DRAWINGS)
def test_damaged_pictures_are_one_error(name: str) -> None:
    """Whatever a decoder raises, the caller has one thing to expect."""
    noise = Image.frombytes("RGB", (31, 29), os.urandom(31 * 29 * 3))
    data = encoded(noise, name)
    for index in range(0, len(data), max(1, len(data) // 40)):
        for spoilt in (data[:index], data[:index] + b"\xff\0\xff" + data[index + 3 :]):
            try:
                decode_image(spoilt, DRAWINGS)
            except UndecodableImageError:
                continue


def test_text_that_grows(tmp_path: Path) -> None:
    """A PNG whose text unpacks to megabytes is refused as damaged."""
    packed = b"prompt\0\0" + zlib.compress(bytes(70_000_000), 9)
    chunk = b"zTXt" + packed
    data = encoded(SMALL, "PNG")
    text = len(packed).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    with pytest.raises(UndecodableImageError, match="it is damaged: "):
        decode_image(data[:33] + text + data[33:])
