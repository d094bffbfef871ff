"""Traces and comparisons below folders, each under a number, as they are found."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, Protocol

from attn.errors import TraceError
from attn.files.disk import reported
from attn.files.results import COMPARISON
from attn.trace.store import MANIFEST

DEEPEST = 4
"""Levels below a folder on which traces are looked for; a comparison's are on the third."""
MOST = 1_000_000
"""Traces of a folder that are listed."""
MANY = 10_000
"""Traces of a collection, of more than which its index is believed instead of looking at each."""


class IndexEntry(Protocol):
    """What the index of a collection says of a trace."""

    @property
    def folder(self) -> str:
        """Where it is, relative to the collection."""

    @property
    def status(self) -> str:
        """Whether it is `complete`, `pending` or `failed`."""

    @property
    def prompt(self) -> str:
        """That it is of."""

    @property
    def seed(self) -> int:
        """That it is of."""

    @property
    def error(self) -> str | None:
        """Why it failed."""


ReadIndex = Callable[[Path], Sequence[IndexEntry]]
"""Returns what the index of a folder says; nothing where there is none."""


_Believe = Callable[[str], Mapping[str, IndexEntry]]
"""Returns which traces of a folder are listed without a look at them."""


class Found(NamedTuple):
    """A folder, whether it is a `trace` or a `comparison`, and what is believed of it."""

    folder: str
    kind: str
    entry: IndexEntry | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """Something that can be looked at.

    Attributes:
        id: what addresses name it by.
        path: where it lies; of ten thousand, objects would take longer than the disk.
        label: what people call it.
        kind: `trace` or `comparison`.
        entry: what is believed of it until it is opened, in a collection of many.
    """

    id: str
    path: str
    label: str
    kind: str = "trace"
    entry: IndexEntry | None = field(default=None, compare=False)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.path)


def find_items(
    paths: Sequence[Path], read_index: ReadIndex = lambda _: (), far: Collection[Path] = ()
) -> Iterator[Item]:
    """Return what lies below some paths, each once, looked for when it is asked for.

    Args:
        paths: traces, comparisons, or folders with such in them.
        read_index: of a collection.
        far: collections whose traces come when they are opened, so that their index is believed.

    Raises:
        TraceError: a path holds no trace, or cannot be read; before anything is asked for.
    """
    believe = partial(_believed, read_index, {str(path.absolute()) for path in far})
    walks = [(path, _require_trace(path, believe)) for path in paths]
    return _number(walks)


def _number(walks: Sequence[tuple[Path, Iterator[Found]]]) -> Iterator[Item]:
    tops = [str(path.absolute()) for path, _ in walks]
    names = _names(tops)
    seen: set[str] = set()
    for top, (_, walk) in zip(tops, walks, strict=True):
        for folder, kind, entry in islice(walk, MOST):
            if folder not in seen:
                yield Item(str(len(seen)), folder, _label(top, folder, names[top]), kind, entry)
                seen.add(folder)


def _require_trace(path: Path, believe: _Believe) -> Iterator[Found]:
    """Return what lies below a path; raise `TraceError` where there is nothing."""
    _require_folder(path)
    start = path.parent if path.name in (MANIFEST, COMPARISON) else path
    walk = _walk(str(start.absolute()), DEEPEST, believe)
    first = next(walk, None)
    if first is None:
        raise TraceError(f"{path} holds no trace; make one with attn capture --out {path / 'NAME'}")
    return chain([first], walk)


def _names(tops: Sequence[str]) -> dict[str, str]:
    """Return what folders are called where there are several: as much of their ends as differs."""
    parts = {top: Path(top).parts[1:] for top in tops}
    for length in range(1, max(map(len, parts.values())) + 1):
        names = {top: "/".join(ends[-length:]) for top, ends in parts.items()}
        if len({*names.values()}) == len(names):
            break
    return names if len(names) > 1 else dict.fromkeys(names, "")


def _label(top: str, folder: str, name: str) -> str:
    """Return the name of a folder below another of some name, or its own."""
    inner = folder[len(top) :].strip(os.sep) if folder.startswith(top) else ""
    label = "/".join(part for part in (name, inner.replace(os.sep, "/")) if part)
    return label or os.path.basename(folder) or folder  # noqa: PTH119


def _require_folder(path: Path) -> None:
    """Raise `TraceError` for what can neither be a trace nor a folder with traces in it."""
    with reported(path, "read"):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, ValueError) as error:  # ValueError: a null character
            raise TraceError(
                f"{path} does not exist: name a trace or a folder with traces in it, or make one "
                f"with attn capture --out {path}"
            ) from error
    if not stat.S_ISDIR(mode) and path.name not in (MANIFEST, COMPARISON):
        raise TraceError(
            f"{path} is a file and no trace: name the folder of a trace, or one with traces in it"
        )


def _walk(folder: str, depth: int, believe: _Believe) -> Iterator[Found]:
    """Yield traces and comparisons, not those inside of them."""
    for name, kind in ((MANIFEST, "trace"), (COMPARISON, "comparison")):
        if os.path.isfile(f"{folder}/{name}"):  # noqa: PTH113
            yield Found(folder, kind)
            return
    if not depth:
        return
    believed = believe(folder)
    yield from (Found(f"{folder}/{name}", "trace", entry) for name, entry in believed.items())
    with reported(Path(folder), "read"), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for name in names:
        if not name.startswith(".") and name not in believed:
            yield from _below(f"{folder}/{name}", depth - 1, believe)


def _believed(read_index: ReadIndex, far: Collection[str], folder: str) -> dict[str, IndexEntry]:
    """Return the finished traces of a collection of many, by name; of others each is looked at."""
    try:
        listed = read_index(Path(folder))
    except TraceError:  # a damaged index
        return {}
    if len(listed) <= MANY and folder not in far:
        return {}
    return {entry.folder: entry for entry in listed if entry.status == "complete"}


def _below(folder: str, depth: int, believe: _Believe) -> Iterator[Found]:
    """Yield what lies in a folder; one that cannot be read is listed, and says why there."""
    try:
        yield from _walk(folder, depth, believe)
    except TraceError:
        yield Found(folder, "trace")
