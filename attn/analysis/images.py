"""The generated images of a trace, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.errors import TraceError
from attn.files.images import MOST_BYTES, UndecodableImageError, decode_image
from attn.files.outside import read_bytes
from attn.schema import SKETCH

if TYPE_CHECKING:
    from attn.trace.trace import Trace

Pixels = NDArray[np.uint8]
"""An image: row, column, channel (red, green, blue); 0-255."""


def read_image(trace: Trace, sample: int) -> Pixels | None:
    """Return a generated picture, or None where there is none, as in a partial trace.

    Raises:
        TraceError: the trace names a picture that cannot be read.
    """
    if not any(name.endswith(".png") and name != SKETCH for name in trace.manifest.outputs):
        return None
    hint = "Analyse with --no-pictures, or restore it."
    try:
        path = trace.image(sample)
        return np.asarray(decode_image(read_bytes(path, limit=MOST_BYTES)).convert("RGB"))
    except UndecodableImageError as exc:
        raise TraceError(f"could not read {path}: {exc}. {hint}") from exc
    except TraceError as exc:
        raise TraceError(f"{exc} {hint}") from exc
