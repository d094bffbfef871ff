"""Pipelines that draw videos: how many frames they draw, and how these lie in a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from PIL.Image import Image

from attn.backends.diffusers.session import DiffusersSession
from attn.errors import RequestError
from attn.files.images import MOST_VIDEO_PIXELS
from attn.schema import Grid, Request


class VideoSession(DiffusersSession):
    """A loaded text-to-video pipeline whose VAE joins frames; the first one stays alone."""

    draws_videos = True
    default_frames: int
    default_fps: float
    default_size: tuple[int, int]
    """Width and height, in pixels."""
    longest: ClassVar[int]
    """Frames of latents for which the model has positions."""

    @property
    def joined_frames(self) -> int:
        """So many frames are one frame of latents, but the first, which is one by itself."""
        return int(self.pipe.vae_scale_factor_temporal)

    def complete(self, request: Request) -> Request:
        """Also fill in frames, their speed, and a size that is not square."""
        frames = self.default_frames if request.frames is None else request.frames
        check_frames(frames, self.joined_frames, self.longest)
        fps = self.default_fps if request.fps is None else request.fps
        width, height = (
            usual if side is None else side
            for usual, side in zip(self.default_size, (request.width, request.height), strict=True)
        )
        if width * height * frames > MOST_VIDEO_PIXELS:
            raise RequestError(
                f"{frames} frames of {width}x{height} are {width * height * frames} pixels; a "
                f"video has at most {MOST_VIDEO_PIXELS}"
            )
        return super().complete(
            replace(request, frames=frames, fps=fps, width=width, height=height)
        )

    def grid(self, request: Request) -> Grid:
        """Return frames, rows and columns of the video's tokens."""
        frames = ((request.frames or 1) - 1) // self.joined_frames + 1
        return frames, *((side or 0) // self.multiple for side in (request.height, request.width))

    def pipeline_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return all arguments of the pipeline's call, which calls its samples videos."""
        arguments = super().pipeline_arguments(requests)
        arguments["num_videos_per_prompt"] = arguments.pop("num_images_per_prompt")
        return arguments | {"num_frames": requests[0].frames, "output_type": "pil"}

    def pictured(self, answer: Any) -> tuple[list[Image], list[tuple[Image, ...]]]:
        """Return the frame in the middle of each video, and all its frames."""
        videos = [tuple(frames) for frames in answer.frames]
        return [frames[len(frames) // 2] for frames in videos], videos


def check_frames(frames: int, joined: int, longest: int) -> None:
    """Refuse a number of frames that the model does not draw.

    Args:
        frames: of the video.
        joined: so many are a frame of latents, but the first.
        longest: most frames of latents.

    Raises:
        RequestError: with the nearest numbers that it draws.
    """
    most = (longest - 1) * joined + 1
    if frames > most:
        raise RequestError(f"frames {frames}: this model has positions for at most {most} frames")
    if frames < 1 or (frames - 1) % joined:
        below = max((frames - 1) // joined * joined + 1, 1)
        near = dict.fromkeys((below, min(below + joined, most)))
        raise RequestError(
            f"frames {frames}: this model draws 1 frame and {joined} more for each that it "
            f"computes; the nearest are {' and '.join(map(str, near))}"
        )
