"""What a model wrote, step by step, as labelled arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attn.errors import TraceError, did_you_mean
from attn.schema import STEP_MEASURES
from attn.trace.labels import step_labels
from attn.trace.measures.sources import TensorSource

if TYPE_CHECKING:
    import xarray as xr


def read_written(source: TensorSource, name: str) -> xr.DataArray:
    """Return one of `schema.STEP_MEASURES`, (step, branch, sample, position), read at once.

    The axis `position` counts the positions of the sequence, and has the coordinate `segment`.

    Raises:
        TraceError: the model of the trace writes no text, or there is no such measure.
    """
    import xarray as xr

    if name not in STEP_MEASURES:
        listed = ", ".join(STEP_MEASURES)
        raise TraceError(
            f"there is no '{name}' of a step; there is {listed}.{did_you_mean(name, STEP_MEASURES)}"
        )
    manifest, tensor = source.manifest, f"step/{name}"
    shards = [shard for shard in manifest.shards if shard.step is not None]
    if not shards or tensor not in source.tensors(shards[0].file):
        raise TraceError(
            f"{source.folder or 'the trace'} does not say what was written: only models that write "
            "text record it"
        )
    values = np.stack([source.read(shard.file, tensor) for shard in shards])
    segments = manifest.segments[manifest.branches[0]]
    labels = [segment.name for segment in segments for _ in range(segment.length)]
    coords = {
        **step_labels(shards),
        "branch": np.array(manifest.branches, object),
        "sample": np.arange(manifest.samples),
        "position": np.arange(values.shape[-1]),
        "segment": ("position", np.array(labels, object)),
    }
    return xr.DataArray(values, coords, ("step", "branch", "sample", "position"), name)
