"""A trace on disk: checksummed safetensors shards and a manifest, readable after any interruption.

Order of writing: the manifest with status `partial`; then per step the shard under a temporary
name, its rename, and one line of `shards.jsonl`; at the end the manifest with status `complete`.
Each is on the disk before the next begins, so a killed run lists only shards that are whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import file_digest
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from attn.errors import DamagedError, TraceError
from attn.files.digests import read_sealed, require_digest, seal
from attn.files.disk import (
    AGAIN,
    append_lines,
    encode_json,
    is_there,
    read_journal,
    remove_parts,
    reported,
    sync_folder,
    write_atomic,
)
from attn.files.outside import require_inside
from attn.schema import SCHEMA, Manifest, Shard, Step
from attn.trace.manifests import problems
from attn.trace.shapes import Shapes

MANIFEST = "trace.json"
JOURNAL = "attention/shards.jsonl"
COLLECTION = "index.json"

SHARD = re.compile(r"(step-\d{4,}|mean)\.safetensors(\.part)?|\.tmp\w{6}")
"""Names of shards, also of those that were being written; the library calls them `.tmp…`."""

Index = tuple[int | slice, ...]
"""Leading axes of a tensor: integers and slices with a positive step, none of them empty."""

Header = dict[str, tuple[tuple[int, ...], np.dtype]]
"""Shape and dtype by the name of a tensor."""

MOST_OPEN, MOST_OPEN_BYTES = 32, 2**25
"""Shards that stay open at once, and their bytes together."""

READABLE = "The steps finished before this stay readable as a partial trace."

DTYPES = {
    "BOOL": np.dtype(np.bool_), "U8": np.dtype(np.uint8), "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16), "U16": np.dtype(np.uint16), "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16), "I32": np.dtype(np.int32), "U32": np.dtype(np.uint32),
    "F32": np.dtype(np.float32), "F64": np.dtype(np.float64), "I64": np.dtype(np.int64),
    "U64": np.dtype(np.uint64),
}  # fmt: skip
"""Dtypes by their names in a shard, in the library's order: a shard begins with the last."""


def shard_file(step: Step | None) -> str:
    """Return the file of a step's tensors inside a trace; None stands for the means over steps."""
    return f"attention/step-{step.index:04d}.safetensors" if step else "attention/mean.safetensors"


def is_shard(path: Path) -> bool:
    """Whether a file is a shard by its name, or was to become one."""
    return SHARD.fullmatch(path.name) is not None


def is_shard_file(path: Path) -> bool:
    """Whether a file is a shard or the list of them by its name."""
    return is_shard(path) or path.name == Path(JOURNAL).name


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
        done = _fold(replace(manifest, status="complete"), tuple(self._shards.values()))
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

    def _write(self, step: Step | None, tensors: dict[str, np.ndarray]) -> None:
        file = shard_file(step)
        path = self.folder / file
        part = path.with_name(path.name + ".part")
        try:
            with reported(path, hint=READABLE):
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


class TraceFiles:
    """The files of one trace, opened by `open_files`; another process opens them itself.

    Attributes:
        folder: where they lie.
        manifest: of a partial trace, with the shards and steps that were finished.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._shards = {shard.file: shard for shard in manifest.shards}
        self._verified: set[str] = set()
        self._open: dict[str, Any] = {}
        self._fits: set[str] = set()
        self._header: tuple[str, Header] = ("", {})

    def __reduce__(self) -> tuple[Any, ...]:
        return open_files, (self.folder.absolute(),)

    def tensors(self, file: str) -> tuple[str, ...]:
        """Return the names of a shard's tensors; reads its header only."""
        return tuple(self._described(file))

    def describe(self, file: str, tensor: str) -> tuple[tuple[int, ...], np.dtype]:
        """Return shape and dtype of a tensor; reads the shard's header only."""
        header = self._described(file)
        if tensor not in header:
            raise DamagedError(f"{self.folder / file} has no tensor {tensor}. {AGAIN}")
        return header[tensor]

    def read(self, file: str, tensor: str, index: Index = ()) -> np.ndarray:
        """Read a tensor or a part of it; a shard's checksum is verified at its first read.

        Raises:
            TraceError: the shard is damaged, gone, or has no such tensor.
        """
        if file not in self._verified:
            self._verify(file)
        with self._opened(file) as shard:
            part = shard.get_slice(tensor)[index] if index else shard.get_tensor(tensor)
        return np.asarray(part)

    @cached_property
    def _shapes(self) -> Shapes:
        return Shapes(self.manifest)

    def _described(self, file: str) -> Header:
        """Return shapes and dtypes of a shard; those of the last one are remembered."""
        if self._header[0] != file:
            with self._opened(file) as shard:
                slices = {name: shard.get_slice(name) for name in shard.keys()}  # noqa: SIM118
                header = {
                    name: (tuple(one.get_shape()), DTYPES[one.get_dtype()])
                    for name, one in slices.items()
                }
            self._header = (file, header)
        return self._header[1]

    @contextmanager
    def _opened(self, file: str) -> Iterator[Any]:
        path = self.folder / self._listed(file).file
        try:
            if file not in self._open:
                with reported(path, "read"):
                    shard = safe_open(path, framework="np")
                self._require_fit(file, shard)
                self._make_room(file)
                self._open[file] = shard
            yield self._open[file]
        except SafetensorError as exc:
            raise DamagedError(f"could not read {path}: {exc}. {AGAIN}") from exc

    def _make_room(self, file: str) -> None:
        """Close the shards that are open, unless they and another one are few and small.

        They are mapped into memory, so that what was read of one counts as long as it is open.
        """
        sizes = [self._shards[name].bytes for name in (*self._open, file)]
        if len(sizes) > MOST_OPEN or sum(sizes) > MOST_OPEN_BYTES:
            self._open.clear()

    def _require_fit(self, file: str, shard: Any) -> None:
        """Refuse a shard, before any of it is read, whose tensors are not as the manifest says."""
        if file in self._fits:
            return
        path, step = self.folder / file, self._listed(file).step
        span = step.span if step else None
        for name in shard.keys():  # noqa: SIM118 - it is no dict
            stored = shard.get_slice(name)
            shape = tuple(stored.get_shape())
            wrong = self._shapes.misfit(name, shape, stored.get_dtype(), span)
            if wrong is not None:
                raise DamagedError(f"{path} is not what {MANIFEST} describes: {wrong}. {AGAIN}")
        self._fits.add(file)

    def _listed(self, file: str) -> Shard:
        if file not in self._shards:
            raise TraceError(f"{self.folder / MANIFEST} lists no shard {file}")
        return self._shards[file]

    def verify(self) -> None:
        """Compare every shard with its checksum.

        Raises:
            TraceError: one is damaged or gone.
        """
        for file in self._shards:
            self._verify(file)

    def _verify(self, file: str) -> None:
        require_digest(self.folder / file, self._listed(file).sha256)
        self._verified.add(file)


def open_files(path: Path) -> TraceFiles:
    """Open a trace for reading; nothing but manifest and file sizes is read yet.

    Args:
        path: the folder of a trace, or its `trace.json`.

    Raises:
        TraceError: there is no trace, or a newer `attn` wrote it.
        DamagedError: it is damaged.
    """
    folder = path.parent if path.name == MANIFEST else path
    manifest = load_manifest(folder)
    for shard in manifest.shards:
        _check_size(folder / shard.file, shard.bytes)
    return TraceFiles(folder, manifest)


def load_manifest(folder: Path) -> Manifest:
    """Return a trace's manifest, of a partial one with the shards that were finished.

    Raises:
        TraceError: there is no trace, or a newer `attn` wrote it.
        DamagedError: it is damaged, or makes no sense.
    """
    manifest = read_manifest(folder)
    if manifest.status == "partial":
        listed = {shard.file: shard for shard in read_journal(folder / JOURNAL, Shard)}
        manifest = _fold(manifest, tuple(listed.values()))
    for file in (*(shard.file for shard in manifest.shards), *manifest.outputs):
        require_inside(folder / MANIFEST, file)
    wrong = next(problems(manifest), None)
    if wrong is not None:
        raise DamagedError(f"{folder / MANIFEST} makes no sense: {wrong}. {AGAIN}")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Return a trace's manifest as it stands in `trace.json`, without a look at the shards.

    Raises:
        TraceError: there is none, or a newer `attn` wrote it.
        DamagedError: it is damaged.
    """
    path = folder / MANIFEST
    if not is_there(path) and is_there(folder / COLLECTION):
        raise TraceError(f"{folder} is a collection of traces: open one of the folders in it")
    if not os.path.lexists(path):
        hint = "A trace is a folder with a trace.json in it."
        raise TraceError(f"could not read {path}: the file or its folder does not exist. {hint}")
    return read_sealed(path, Manifest, newest=SCHEMA, expected="a valid trace", hint=AGAIN)


def written_at(folder: Path) -> datetime:
    """Return when the manifest of a trace was written last, in UTC."""
    with reported(folder / MANIFEST, "read"):
        return datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime, UTC)


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


def _fold(manifest: Manifest, shards: tuple[Shard, ...]) -> Manifest:
    steps = tuple(shard.step for shard in shards if shard.step is not None)
    return replace(manifest, shards=shards, steps=steps)


def _check_size(path: Path, expected: int) -> None:
    with reported(path, "read", AGAIN):
        got = path.stat()
    if got.st_size != expected or not stat.S_ISREG(got.st_mode):
        raise DamagedError(f"{path} has {got.st_size} bytes, expected {expected}. {AGAIN}")


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
        return file_digest(stream, "sha256").hexdigest()
