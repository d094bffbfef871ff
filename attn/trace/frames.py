"""Which frames of a video each frame of its latents stands for."""

from __future__ import annotations


def frame_spans(frames: int, tokens: int) -> list[tuple[int, int]]:
    """Return the first and the last of a video's frames for each frame of latents.

    The first one is by itself; the others stand for equally many.

    Args:
        frames: of the video.
        tokens: frames of latents.
    """
    each = (frames - 1) // max(tokens - 1, 1)
    return [(0, 0), *((1 + each * at, each * (at + 1)) for at in range(tokens - 1))]
