"""Small pictures for the index."""

from io import BytesIO

import pytest
from PIL import Image

from attn.explorer.listing.thumbs import thumbnail


def test_small(tmp_path):
    """A picture keeps its proportions, and a smaller one its size."""
    for size, expected in (((403, 211), (192, 101)), ((31, 47), (31, 47))):
        Image.new("RGB", size, "red").save(tmp_path / "a.png")
        assert Image.open(BytesIO(thumbnail(tmp_path / "a.png"))).size == expected


@pytest.mark.parametrize("cut", [0, 9, 60])
def test_damaged(cut, tmp_path):
    """What is no picture has none, and nothing fails."""
    Image.effect_noise((97, 89), 50).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:cut])
    assert thumbnail(tmp_path / "a.png") is None


def test_bomb(tmp_path, monkeypatch):
    """A small file that becomes a very large picture is not unpacked."""
    Image.new("1", (503, 499)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    assert thumbnail(tmp_path / "a.png") is None
