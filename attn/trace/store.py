"""A trace on disk, as it is read: its files, its manifest, and checksummed safetensors shards."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open

from attn.errors import DamagedError, TraceError
from attn.files.digests import decode_sealed, is_sealed, require_digest
from attn.files.disk import AGAIN, is_there, read_journal, reported
from attn.files.names import COLLECTION
from attn.files.outside import read_bytes, require_inside
from attn.schema import SCHEMA, Manifest, Shard, Step
from attn.trace.manifests import problems, unsealed_problems
from attn.trace.shapes import Shapes

T = TypeVar("T")

MANIFEST = "trace.json"
JOURNAL = "attention/shards.jsonl"

SHARD = re.compile(r"(step-\d{4,}|mean)\.safetensors(\.part)?|\.tmp\w{6}")
"""Names of shards, also of those that were being written; the library calls them `.tmp…`."""

Index = tuple[int | slice, ...]
"""Leading axes of a tensor: integers and slices with a positive step, none of them empty."""

Header = dict[str, tuple[tuple[int, ...], np.dtype]]
"""Shape and dtype by the name of a tensor."""

MOST_OPEN, MOST_OPEN_BYTES = 32, 2**25
"""Shards that stay open at once, and their bytes together."""

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


class TraceFiles:
    """The files of one trace, opened by `open_files`; another process opens them itself.

    Attributes:
        folder: where they lie.
        manifest: of a partial trace, with the shards and steps that were finished.
        source: what keeps the files there, where they are copies.
    """

    source: object = None

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
        try:
            shard = self._opened(file)
            part = shard.get_slice(tensor)[index] if index else shard.get_tensor(tensor)
        except SafetensorError as exc:
            raise self._unread(file, exc) from exc
        return np.asarray(part)

    @cached_property
    def _shapes(self) -> Shapes:
        return Shapes(self.manifest)

    def _described(self, file: str) -> Header:
        """Return shapes and dtypes of a shard; those of the last one are remembered."""
        if self._header[0] != file:
            try:
                shard = self._opened(file)
                slices = {name: shard.get_slice(name) for name in shard.keys()}  # noqa: SIM118
                header = {
                    name: (tuple(entry.get_shape()), DTYPES[entry.get_dtype()])
                    for name, entry in slices.items()
                }
            except SafetensorError as exc:
                raise self._unread(file, exc) from exc
            self._header = (file, header)
        return self._header[1]

    def _opened(self, file: str) -> Any:
        if file not in self._open:
            path = self.folder / self._listed(file).file
            with reported(path, "read"):
                shard = safe_open(path, framework="np")
            self._require_fit(file, shard)
            self._make_room(file)
            self._open[file] = shard
        return self._open[file]

    def _unread(self, file: str, error: SafetensorError) -> DamagedError:
        return DamagedError(f"could not read {self.folder / file}: {error}. {AGAIN}")

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

    def verify(self, *files: str) -> None:
        """Compare shards with their checksums; none named is every shard.

        Raises:
            TraceError: one is damaged or gone.
        """
        for file in files or self._shards:
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
    data = _read(folder)
    manifest = _decode(folder, data, Manifest)
    if manifest.status == "partial":
        listed = {shard.file: shard for shard in read_journal(folder / JOURNAL, Shard)}
        manifest = with_shards(manifest, tuple(listed.values()))
    for file in (*(shard.file for shard in manifest.shards), *manifest.outputs):
        require_inside(folder / MANIFEST, file)
    wrong = next(problems(manifest), None)
    if wrong is None and not is_sealed(data):
        wrong = next(unsealed_problems(manifest), None)
    if wrong is not None:
        raise DamagedError(f"{folder / MANIFEST} makes no sense: {wrong}. {AGAIN}")
    return manifest


def require_journal(folder: Path, manifest: Manifest) -> None:
    """Refuse the list of shards of a trace, all of which are there, if it is not as it was written.

    Raises:
        TraceError: it cannot be read.
        DamagedError: it lists other shards, or has a field that it did not have.
    """
    path = folder / JOURNAL
    if read_journal(path, Shard) != manifest.shards:
        raise DamagedError(f"{path} lists other shards than {MANIFEST}")
    lines = read_journal(path, dict[str, Any])
    written = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    if read_bytes(path) != written or not _agree(lines, msgspec.to_builtins(manifest.shards)):
        raise DamagedError(f"{path} is not as it was written. {AGAIN}")


def _agree(read: Any, written: Any) -> bool:
    """Whether all that was read is part of what was written: an earlier attn wrote fewer fields."""
    if isinstance(read, dict):
        return all(key in written and _agree(of, written[key]) for key, of in read.items())
    if isinstance(read, list | tuple):
        return len(read) == len(written) and all(map(_agree, read, written))
    return bool(read == written)


def read_manifest(folder: Path) -> Manifest:
    """Return a trace's manifest as it stands in `trace.json`, without a look at the shards.

    Raises:
        TraceError: there is none, or a newer `attn` wrote it.
        DamagedError: it is damaged.
    """
    return read_fields(folder, Manifest)


def read_fields(folder: Path, kind: type[T]) -> T:
    """Return some fields of a manifest, which are read and held against their types; no others.

    Args:
        folder: of the trace.
        kind: a type with these fields.

    Raises:
        TraceError: there is none, or a newer `attn` wrote it.
        DamagedError: it is damaged.
    """
    return _decode(folder, _read(folder), kind)


def _read(folder: Path) -> bytes:
    path = folder / MANIFEST
    if not is_there(path) and is_there(folder / COLLECTION):
        raise TraceError(f"{folder} is a collection of traces: open one of the folders in it")
    if not os.path.lexists(path):
        hint = "A trace is a folder with a trace.json in it."
        raise TraceError(f"could not read {path}: the file or its folder does not exist. {hint}")
    return read_bytes(path, hint=AGAIN)


def _decode(folder: Path, data: bytes, kind: type[T]) -> T:
    how: dict[str, Any] = {"newest": SCHEMA, "expected": "a valid trace", "hint": AGAIN}
    return decode_sealed(folder / MANIFEST, data, kind, **how)


def written_at(folder: Path) -> datetime:
    """Return when the manifest of a trace was written last, in UTC."""
    with reported(folder / MANIFEST, "read"):
        return datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime, UTC)


def with_shards(manifest: Manifest, shards: tuple[Shard, ...]) -> Manifest:
    """Return a manifest with the shards that are there, and their steps."""
    steps = tuple(shard.step for shard in shards if shard.step is not None)
    return replace(manifest, shards=shards, steps=steps)


def _check_size(path: Path, expected: int) -> None:
    with reported(path, "read", AGAIN):
        got = path.stat()
    if got.st_size != expected or not stat.S_ISREG(got.st_mode):
        raise DamagedError(f"{path} has {got.st_size} bytes, expected {expected}. {AGAIN}")
