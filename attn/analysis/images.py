"""The generated images of a trace, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.errors import TraceError
from attn.files.images import UndecodableImageError, decode_image, read_animation
from attn.schema import FORMING_ROW, forming_names, image_names, video_names
from attn.trace.measures.axes import index_of

if TYPE_CHECKING:
    from attn.trace.trace import Trace

Pixels = NDArray[np.uint8]
"""An image: row, column, channel (red, green, blue); 0-255."""
Frames = NDArray[np.uint8]
"""Images of one size: frame, row, column, channel (red, green, blue); 0-255."""
HINT = "Restore it, or analyse without it: --no-pictures."


def read_image(trace: Trace, sample: int) -> Pixels | None:
    """Return a generated picture, or None where there is none, as in a partial trace.

    Raises:
        TraceError: the trace names a picture that cannot be read.
    """
    names = image_names(trace.manifest.outputs)
    if not any(name.endswith(".png") for name in names):
        return None
    with _hinted():
        return _decode(trace, names[index_of("picture", sample, range(len(names)))], "PNG")


def read_video(trace: Trace, sample: int) -> Frames | None:
    """Return the frames of a generated video, or None where there is none.

    Raises:
        TraceError: the trace names a video that cannot be read.
    """
    names = video_names(trace.manifest.outputs)
    if trace.folder is None or sample >= len(names):
        return None
    with _hinted():
        try:
            frames = read_animation(trace.output(names[sample]))
        except UndecodableImageError as exc:
            raise TraceError(f"could not read {trace.folder}/{names[sample]}: {exc}.") from exc
    return np.stack([np.asarray(frame) for frame in frames])


def read_forming(trace: Trace, sample: int) -> Frames | None:
    """Return what the sampler expected of an image at each step, or None where that is not known.

    Returns:
        (step, row, column, channel), the steps those of the trace.

    Raises:
        TraceError: the trace names a picture that cannot be read.
    """
    names = forming_names(trace.manifest.outputs)
    if trace.folder is None or sample >= len(names):
        return None
    count = len(trace.steps)
    columns, rows = min(count, FORMING_ROW), ceil(count / FORMING_ROW)
    with _hinted():
        sheet = _decode(trace, names[sample], "JPEG")
        height, width = sheet.shape[:2]
        if width % columns or height % rows:
            path = trace.folder / names[sample]
            raise TraceError(f"{path} is {width}x{height}, which {count} frames do not share.")
    cells = sheet.reshape(rows, height // rows, columns, width // columns, 3)
    return cells.swapaxes(1, 2).reshape(-1, height // rows, width // columns, 3)[:count]


def _decode(trace: Trace, name: str, kind: str) -> Pixels:
    try:
        return np.asarray(decode_image(trace.output(name), (kind,)).convert("RGB"))
    except UndecodableImageError as exc:
        raise TraceError(f"could not read {trace.folder}/{name}: {exc}.") from exc


@contextmanager
def _hinted() -> Iterator[None]:
    try:
        yield
    except TraceError as exc:
        raise TraceError(f"{exc} {HINT}") from exc
