"""Writes a trace, shard by shard, so that it is readable after any interruption.

Order of writing: the manifest with status `partial`; then per step the shard under a temporary
name, its rename, and one line of `shards.jsonl`; at the end the manifest with status `complete`.
Each is on the disk before the next begins, so a killed run lists only shards that are whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from attn.errors import TraceError
from attn.files.digests import hash_stream, seal
from attn.files.disk import (
    append_lines,
    encode_json,
    read_journal,
    remove_parts,
    reported,
    sync_folder,
    write_atomic,
)
from attn.schema import Manifest, Shard, Step
from attn.trace.store import (
    DTYPES,
    JOURNAL,
    MANIFEST,
    is_shard,
    read_manifest,
    shard_file,
    with_shards,
)

READABLE = "The steps finished before this stay readable as a partial trace."


class TraceWriter:
    """Writes one trace, a shard at a time, on a thread of its own.

    At most two shards are in memory: the one that is being written and the one being handed over.
    Leaving the `with` block without `finish` leaves a trace of status `partial`.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Make the folder and write the manifest as `partial`.

        Raises:
            TraceError: the folder cannot be written, or holds a complete trace. An earlier
                partial trace in it is replaced.
        """
        self.folder = folder
        self._shards: dict[str, Shard] = {}
        self._pending: Future[None] | None = None
        _clear(folder)
        begun = replace(manifest, status="partial", shards=())
        write_atomic(folder / MANIFEST, seal(encode_json(begun)))
        self._thread = ThreadPoolExecutor(1, "attn-writer")

    def put(self, step: Step | None, tensors: Mapping[str, np.ndarray]) -> None:
        """Hand over one shard; waits only while the shard before it is still being written.

        Args:
            step: whose tensors these are, or None for the means over all steps.
            tensors: arrays by name; they must not be changed afterwards.

        Raises:
            TraceError: the shard before this one could not be written.
        """
        self._settle()
        self._pending = self._thread.submit(self._write, step, dict(tensors))

    def finish(self, manifest: Manifest) -> Manifest:
        """Wait for the last shard and write the manifest as `complete`.

        Args:
            manifest: all there is to say; status, shards and steps are filled in from what was
                written.

        Returns:
            The manifest as it is on disk.

        Raises:
            TraceError: the last shard or the manifest could not be written.
        """
        self._settle()
        done = with_shards(replace(manifest, status="complete"), tuple(self._shards.values()))
        done = replace(done, steps=done.steps or manifest.steps)
        write_atomic(self.folder / MANIFEST, seal(encode_json(done)), READABLE)
        self.close()
        return done

    def close(self) -> None:
        """Stop the thread after the shard in its hands; may be called at any time, repeatedly."""
        self._thread.shutdown()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None:
            self._settle()

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def _require_alone(self) -> None:
        """Refuse to write where another process does, which file systems without locks let in.

        Raises:
            TraceError: the journal is not as this writer left it, or gone.
        """
        journal = self.folder / JOURNAL
        written = read_journal(journal, Shard)
        if self._shards and not written:
            with reported(journal, hint=READABLE):
                journal.stat()
        if written != tuple(self._shards.values()):
            raise TraceError(
                f"another process writes into {self.folder} too; wait for its end, and never start "
                "two runs in one folder: its file system has no locks"
            )

    def _write(self, step: Step | None, tensors: dict[str, np.ndarray]) -> None:
        file = shard_file(step)
        path = self.folder / file
        part = path.with_name(path.name + ".part")
        try:
            self._require_alone()
            with reported(path, hint=READABLE):
                part.unlink(missing_ok=True)  # it may be a link, through which would be written
                _save(part, tensors)
                shutil.copymode(self.folder / MANIFEST, part)
                shard = Shard(file, _settled_sha256(part), part.stat().st_size, step)
                part.replace(path)
                sync_folder(path.parent)
            append_lines(self.folder / JOURNAL, [shard], READABLE)
        finally:
            with suppress(OSError):
                part.unlink()
        self._shards[file] = shard


def demote(folder: Path, manifest: Manifest) -> None:
    """Turn a damaged trace into a partial one without steps, so that it can be redone."""
    with reported(folder):
        (folder / JOURNAL).unlink(missing_ok=True)  # its shards may be the damaged ones
    write_atomic(
        folder / MANIFEST, seal(encode_json(replace(manifest, status="partial", shards=())))
    )


def predict_bytes(tensors: Mapping[str, tuple[tuple[int, ...], str]]) -> int:
    """Return the exact size in bytes of the shard that would hold these tensors.

    Args:
        tensors: shape and dtype (a name of `DTYPES`) by tensor name.

    Source: the safetensors format: 8 bytes with the header's length, the header as JSON padded
    with spaces to a multiple of 8, the data; tensors are sorted by dtype, then by name.
    """
    ranks = {name: rank for rank, name in enumerate(DTYPES)}
    header: dict[str, Any] = {}
    stop = 0
    for name in sorted(tensors, key=lambda name: (-ranks[tensors[name][1]], name)):
        shape, dtype = tensors[name]
        start, stop = stop, stop + int(np.prod(shape, dtype=np.int64)) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}
    length = len(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode())
    return 8 + length + -length % 8 + stop


def _clear(folder: Path) -> None:
    """Make room in a folder; the journal goes first, so that a killed run lists no old shard."""
    shards = folder / "attention"
    with reported(folder):
        if (folder / MANIFEST).exists() and read_manifest(folder).status == "complete":
            raise TraceError(f"{folder} already holds a trace: choose another folder or remove it")
        shards.mkdir(parents=True, exist_ok=True)
        if (folder / JOURNAL).exists():
            (folder / JOURNAL).unlink()
            sync_folder(shards)
        for path in shards.iterdir():
            if is_shard(path):
                path.unlink()
    for name in (MANIFEST, "outputs/*"):
        remove_parts(folder / name)


def _save(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    # The library writes the buffer as it lies, so it has to be in C order.
    dense = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    try:
        save_file(dense, path)
    except SafetensorError as exc:
        number = re.search(r"os error (\d+)", str(exc))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from exc


def _settled_sha256(path: Path) -> str:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
        return hash_stream(stream)
