"""A trace written once more, into another folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from attn.errors import TraceError
from attn.files.disk import write_atomic
from attn.trace.measures.sources import TensorSource
from attn.trace.writer import TraceWriter


def write_copy(source: TensorSource, output: Callable[[str], bytes], target: Path) -> None:
    """Write a trace to a new folder; a partial one stays partial.

    Args:
        source: its manifest and tensors.
        output: returns the content of one of its outputs; of a trace in memory there are none.
        target: the folder.

    Raises:
        TraceError: the folder holds a trace already, or cannot be written.
    """
    manifest = source.manifest
    if source.folder is None:
        manifest = replace(manifest, outputs=())
    elif target.resolve() == source.folder.resolve():
        raise TraceError(f"{target} is where the trace lies already")
    with TraceWriter(target, manifest) as writer:
        for shard in manifest.shards:
            names = source.tensors(shard.file)
            writer.put(shard.step, {name: source.read(shard.file, name) for name in names})
        for file in manifest.outputs:
            write_atomic(target / file, output(file))
        if manifest.status == "complete":
            writer.finish(manifest)
