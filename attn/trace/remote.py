"""Traces that are elsewhere: copied into the cache, one at a time, and read there.

Only what an index or a manifest lists is asked for. Every file is held against the size and the
digest that are listed before it takes its name, and once more, as that of any trace, when it is
read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock

from attn.errors import DamagedError, TraceError
from attn.files.cache import cache_folder
from attn.files.digests import LARGEST_OUTPUT, output_digest, require_digest
from attn.files.disk import LARGEST_JOURNAL, is_file, write_atomic
from attn.files.kept import KeptCopies
from attn.files.names import COLLECTION, path_or_url, shown_url
from attn.files.outside import LARGEST, read_bytes
from attn.files.remote import AbsentError, RemoteFolder
from attn.schema import Manifest
from attn.trace.store import (
    JOURNAL,
    MANIFEST,
    TraceFiles,
    load_manifest,
    open_files,
    read_manifest,
)

AT_ONCE = 8
"""Files that are read at once, where that can be done."""
NAME = re.compile(r"(?!\.)[\w. +=@-]{1,120}")
"""What a folder or file may be called that a list from elsewhere names."""
INDEX_JOURNAL = "index.jsonl"
JOURNALS = re.compile(r"index(\.\d+-of-\d+)?\.jsonl")
"""Names of the journals of a collection."""
FOLDER = "remote"
"""Folder of copies in the cache."""
DEEPEST = 4
"""Names in a row of what a manifest lists."""
MANIFEST_ONLY = 1
"""How much of a trace is there: its manifest and outputs; with shards it is one more."""
SLUG = 60
"""Longest name of a copy, beside its digest."""

_File = tuple[str, int, str | None]
"""Name, most bytes, and SHA-256 where it is listed."""


class TraceSource:
    """The folder of a trace or of a collection; what is on this machine is there already.

    Attributes:
        folder: of the files.
        name: what people call it.
        is_here: whether results may be written into it.
    """

    is_here = True

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def bring(self, name: str = "", *, shards: bool = True) -> Path:
        """Have the files of a trace in its folder.

        Args:
            name: of the trace in its collection; of a single one there is none.
            shards: its attention too, not only manifest and outputs.

        Returns:
            Its folder.

        Raises:
            TraceError: a trace that is elsewhere cannot be read, or has no room.
            DamagedError: it is not as it was written.
        """
        del shards
        return self.folder / name


class RemoteSource(TraceSource):
    """A trace or collection behind a URL, copied as far as it was asked for."""

    is_here = False

    def __init__(self, url: str, tell: Callable[[str], None] | None) -> None:
        """Look whether it is a trace or a collection, and copy the index of one.

        Args:
            url: of its folder.
            tell: told, once, that something is copied.

        Raises:
            UsageError: nothing that is installed reads such a URL.
            TraceError: it is neither, or cannot be read.
        """
        self._remote = RemoteFolder(url)
        cache = cache_folder() / FOLDER
        super().__init__(cache / _copy_name(url), self._remote.url)
        self._copies, self._tell = KeptCopies(cache, MANIFEST), tell
        self._brought: dict[str, int] = {}
        self._begun: bytes | None = None
        self._lock = Lock()
        self.is_collection = self._begin()

    def bring(self, name: str = "", *, shards: bool = True) -> Path:
        """Copy the files of a trace, those that are not there already."""
        if self.is_collection and not name:
            raise TraceError(f"{self.name} is a collection of traces: open one of those in it")
        folder = self.folder / _plain(self.name, name) if name else self.folder
        wanted = MANIFEST_ONLY + shards
        with self._lock:
            if self._brought.get(name, 0) < wanted or not is_file(folder / MANIFEST):
                self._copies.hold(folder)
                self._copy(f"{name}/" if name else "", folder, shards)
                self._brought[name] = wanted
        return folder

    def _begin(self) -> bool:
        """Copy the index of a collection; say whether it is one."""
        try:
            self._begun = self._remote.read(MANIFEST, LARGEST)
        except TraceError as error:
            index = self._read_index(error)
        else:
            (self.folder / COLLECTION).unlink(missing_ok=True)
            return False
        (self.folder / MANIFEST).unlink(missing_ok=True)
        names = self._remote.names() or [INDEX_JOURNAL]
        for old in self.folder.glob("index*.jsonl"):
            if old.name not in names:
                old.unlink(missing_ok=True)
        write_atomic(self.folder / COLLECTION, index)
        for name in filter(JOURNALS.fullmatch, names):
            with suppress(AbsentError):
                write_atomic(self.folder / name, self._remote.read(name, LARGEST_JOURNAL))
        return True

    def _read_index(self, why: TraceError) -> bytes:
        try:
            return self._remote.read(COLLECTION, LARGEST)
        except AbsentError:
            if not isinstance(why, AbsentError):
                raise why from None
            raise TraceError(
                f"{self.name} holds neither {MANIFEST} nor {COLLECTION}: name the URL of a trace, "
                "or of a collection of traces"
            ) from why

    def _copy(self, below: str, folder: Path, shards: bool) -> None:
        """Copy what a manifest lists, after the manifest itself."""
        data, self._begun = self._begun, None
        data, path = data or self._remote.read(below + MANIFEST, LARGEST), folder / MANIFEST
        is_same = is_file(path) and read_bytes(path) == data
        if not is_same:
            write_atomic(path, data)
        manifest = self._read_manifest(below, folder)
        outputs = [
            (name, LARGEST_OUTPUT, output_digest(manifest, name)) for name in manifest.outputs
        ]
        listed = [(shard.file, shard.bytes, shard.sha256) for shard in manifest.shards]
        for name, _, _ in (*outputs, *listed):
            _plain(f"{self.name}/{below}{MANIFEST}", name)
        missing = [file for file in outputs if not (is_same and is_file(folder / file[0]))]
        self._save(below, folder, missing)
        taken = sum((folder / name).stat().st_size for name, _, _ in missing)
        self._copies.require_room(taken + (0 if is_same else len(data)))
        if shards:
            missing = [file for file in listed if not _has(folder, file, is_same)]
            self._copies.require_room(sum(size for _, size, _ in missing))
            self._save(below, folder, missing)

    def _read_manifest(self, below: str, folder: Path) -> Manifest:
        if read_manifest(folder).status == "partial":
            (folder / JOURNAL).unlink(missing_ok=True)
            with suppress(AbsentError):
                write_atomic(folder / JOURNAL, self._remote.read(below + JOURNAL, LARGEST_JOURNAL))
        return load_manifest(folder)

    def _save(self, below: str, folder: Path, files: Sequence[_File]) -> None:
        def save(file: _File) -> None:
            name, most, digest = file
            self._remote.save(below + name, folder / name, most, digest)

        if files and self._tell is not None:
            self._tell(f"reading {self.name}; copies are kept in {self.folder}")
            self._tell = None
        with ThreadPoolExecutor(AT_ONCE if self._remote.is_parallel else 1) as pool:
            for _ in pool.map(save, files):
                pass


def open_source(path: str | Path, tell: Callable[[str], None] | None = None) -> TraceSource:
    """Return where a trace or a collection is read from.

    Args:
        path: its folder, or the URL of that: `s3://BUCKET/RUN`.
        tell: told, once, that something is copied.

    Raises:
        UsageError: nothing that is installed reads such a URL.
        TraceError: there is neither a trace nor a collection at a URL, or it cannot be read.
    """
    where = path_or_url(path)
    if isinstance(where, Path):
        return TraceSource(where, str(where))
    return RemoteSource(where.rstrip("/").removesuffix(f"/{MANIFEST}"), tell)


def open_anywhere(path: str | Path) -> TraceFiles:
    """Open a trace for reading, here or behind a URL; see `open_files`."""
    source = open_source(path)
    files = open_files(source.bring())
    files.source = source
    return files


def _copy_name(url: str) -> str:
    """Return the name of a copy: the end of a URL as letters, and what no other URL has."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", shown_url(url)).strip("-")
    return f"{plain[-SLUG:]}-{sha256(url.encode()).hexdigest()[:16]}"


def _plain(path: str, name: str) -> str:
    """Return a name that a list from elsewhere gives, if it is one of a plain file below it.

    Raises:
        DamagedError: it could lead elsewhere.
    """
    parts = name.split("/")
    if len(parts) > DEEPEST or not all(map(NAME.fullmatch, parts)):
        raise DamagedError(f"{path} names {name!r}, expected a plain name: not read")
    return name


def _has(folder: Path, file: _File, is_same: bool) -> bool:
    """Whether a shard is there; it was held against its digest when it was written."""
    name, size, digest = file
    path = folder / name
    if not is_file(path) or path.stat().st_size != size:
        return False
    if is_same or digest is None:
        return True
    with suppress(DamagedError):
        require_digest(path, digest)
        return True
    return False
