"""Videos as files: every frame comes back as it was, and what is none is refused."""

import numpy as np
import pytest
from PIL import Image

from attn.files import images
from attn.files.images import UndecodableImageError, read_animation, write_animation


def frames(count, seed=0, size=(7, 5)):
    """Return frames of noise."""
    chance = np.random.default_rng(seed)
    return [Image.fromarray(chance.integers(0, 256, (*size, 3), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 13])
def test_nothing_is_lost(count):
    """Each frame has its pixels, also where two in a row, or all of them, are equal."""
    drawn = frames(count)
    for shown in (drawn, [drawn[0]] * count, [drawn[0], *drawn]):
        read = read_animation(write_animation(shown, 8))
        assert len(read) == len(shown)
        assert all(
            np.array_equal(np.asarray(one), np.asarray(other))
            for one, other in zip(read, shown, strict=True)
        )


def test_speed(tmp_path):
    """A browser shows as many frames a second as were asked for."""
    (tmp_path / "video.png").write_bytes(write_animation(frames(3), 12.5))
    with Image.open(tmp_path / "video.png") as video:
        assert (video.n_frames, video.info["duration"], video.info["loop"]) == (3, 80.0, 0)


@pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda data: b"GIF89a" + data])
def test_damage(damage):
    """A file that is cut short, or of another kind, is refused."""
    with pytest.raises(UndecodableImageError):
        read_animation(damage(write_animation(frames(5), 8)))


def test_bounds(monkeypatch):
    """More pixels than are believed are not decoded."""
    monkeypatch.setattr(images, "MOST_VIDEO_PIXELS", 7 * 5 * 3 - 1)
    with pytest.raises(UndecodableImageError, match="3 frames of 35 pixels"):
        read_animation(write_animation(frames(3), 8))
