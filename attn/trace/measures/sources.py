"""Where views read tensors from: the files of a trace, or the memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from attn.schema import (
    Manifest,
    Shard,
)
from attn.trace.store import Index, shard_file


@runtime_checkable
class TensorSource(Protocol):
    """Where a trace's tensors come from: `store.TraceFiles`, or `MemoryFiles`."""

    @property
    def manifest(self) -> Manifest:
        """What the trace is."""

    @property
    def folder(self) -> Path | None:
        """Where it lies; None in memory."""

    def tensors(self, file: str) -> tuple[str, ...]:
        """Return the names of a shard's tensors."""

    def describe(self, file: str, tensor: str) -> tuple[tuple[int, ...], np.dtype]:
        """Return shape and dtype of a tensor."""

    def read(self, file: str, tensor: str, index: Index = ()) -> np.ndarray:
        """Read a tensor or a part of it."""


class MemoryFiles:
    """Shards that were never written.

    Attributes:
        manifest: what the trace is; its shards are made of `files`.
        folder: None.
    """

    folder: Path | None = None

    def __init__(self, manifest: Manifest, files: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Take tensors by name, by the file that would hold them (`store.shard_file`)."""
        steps = {shard_file(step): step for step in manifest.steps}
        self.manifest = replace(
            manifest,
            shards=tuple(
                Shard(file, "", sum(tensor.nbytes for tensor in tensors.values()), steps.get(file))
                for file, tensors in files.items()
            ),
        )
        self._files = files

    def tensors(self, file: str) -> tuple[str, ...]:
        """Return the names of a shard's tensors."""
        return tuple(self._files[file])

    def describe(self, file: str, tensor: str) -> tuple[tuple[int, ...], np.dtype]:
        """Return shape and dtype of a tensor."""
        return self._files[file][tensor].shape, self._files[file][tensor].dtype

    def read(self, file: str, tensor: str, index: Index = ()) -> np.ndarray:
        """Return a tensor or a part of it, not a copy."""
        return np.asarray(self._files[file][tensor][index])
