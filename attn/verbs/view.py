"""`attn view`: traces in a browser, from a server or as one file."""

from __future__ import annotations

import shutil
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from weakref import finalize

from attn.errors import AttnError, UsageError
from attn.files.disk import is_there, remove_parts, reported, write_atomic
from attn.files.names import COLLECTION, path_or_url
from attn.files.outside import open_regular
from attn.files.stamps import Stamp, stamp_of
from attn.trace.remote import RemoteSource, TraceSource, open_source
from attn.trace.trace import Trace
from attn.verbs.capture.collection import (
    JOURNAL,
    Entry,
    is_collection,
    read_index,
    shard_journals,
)
from attn.verbs.view_options import ViewOptions

if TYPE_CHECKING:
    from ipywidgets import DOMWidget

    from attn.explorer.listing.library import Library
    from attn.explorer.server import Server

DEFAULT = "attn-runs"


@dataclass
class View:
    """Traces that are looked at in a browser; in a notebook they show themselves.

    Attributes:
        paths: what is shown.
    """

    paths: tuple[str | Path, ...]
    _server: Server | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Address of the page, with its token; the server is started by the first look."""
        if self._server is None:
            self._server = make_server(self.paths, ViewOptions())
            self._server.start()
        return self._server.url

    def open(self) -> str:
        """Open the page in a browser, and return its address."""
        webbrowser.open(self.url)
        return self.url

    def save(self, path: str | Path = "page.html", *, size: int | str = "20MB") -> list[str]:
        """Write one file that opens anywhere, offline, and asks for nothing.

        Args:
            path: of the file; a page that was written before is replaced.
            size: bytes that it may have, or a text such as 20MB.

        Returns:
            What did not fit, in sentences, which stand in the page too.

        Raises:
            TraceError: a trace, or the file, cannot be read or written.
            UsageError: the size is too small, or something else has that name.
        """
        return save_page(self.paths, ViewOptions(out=path, size=size))

    def widget(self) -> DOMWidget:
        """Return the page as a widget of a notebook: it reads all of the traces, by the kernel.

        Raises:
            TraceError: a path holds no trace any more, or none of them can be read.
            UsageError: the package anywidget is missing.
        """
        from attn.explorer.notebook.widget import make_widget

        return make_widget(find_traces(self.paths))

    def close(self) -> None:
        """End the server; the next look starts another."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return what a notebook shows: the page, with a still picture where no page may run."""
        from attn.explorer.notebook.bundle import mimebundle

        return mimebundle(find_traces(self.paths), repr(self))


def show_path(path: Path, plain: str) -> dict[str, str]:
    """Return what a notebook shows of a result: the page of its folder.

    Args:
        path: of the folder; there is no page of one that is not there, or holds nothing.
        plain: for where only text is shown.
    """
    try:
        return view(path)._repr_mimebundle_() | {"text/plain": plain}
    except AttnError:  # a dry run, or a folder that is gone
        return {"text/plain": plain}


def view(first: str | Path | Trace = DEFAULT, *more: str | Path | Trace) -> View:
    """Look at traces in a browser: `attn view`.

    Args:
        first: a trace, or a folder with traces in it; also one in memory, or the URL of a trace or
            of a collection.
        more: others, which the page lists beside it.

    Returns:
        What opens the page: `view(path).open()`, or writes it: `view(path).save("page.html")`. A
        notebook shows it. The server lives as long as this process.

    Raises:
        TraceError: a path holds no trace.
    """
    folders: list[Path] = []
    paths: list[str | Path] = []
    for number, source in enumerate((first, *more)):
        if not isinstance(source, Trace):
            paths.append(path_or_url(source))
        elif source.folder is not None:
            paths.append(source.folder)
        else:
            folders.append(Path(mkdtemp(prefix="attn-view-")))
            copy = folders[-1] / f"trace-{number}"
            source.save(copy)
            paths.append(copy)
    find_traces(paths)
    shown = View(tuple(paths))
    for folder in folders:
        finalize(shown, shutil.rmtree, folder, ignore_errors=True)
    return shown


def find_traces(paths: Sequence[str | Path], tell: Callable[[str], None] | None = None) -> Library:
    """Return the traces of some paths, and those that collections list as failed.

    Args:
        paths: of folders, or their URLs.
        tell: told that something is copied.

    Raises:
        TraceError: a path holds no trace.
        UsageError: nothing that is installed reads such a URL.
    """
    from attn.explorer.listing.library import open_library

    sources = [open_source(path, tell) for path in paths]
    remote = [source for source in sources if isinstance(source, RemoteSource)]
    far = [source.folder for source in remote if source.is_collection]
    for source in remote:
        if not source.is_collection:
            source.bring(shards=False)
    folders = [source.folder for source in sources]
    bring = partial(_bring, {source.folder.absolute(): source for source in remote})
    return open_library(folders, _KeptIndices().read, far=far, bring=bring if remote else None)


def _bring(sources: Mapping[Path, TraceSource], folder: Path, shards: bool) -> None:
    """Have the files of a trace in its folder, if that is a copy."""
    if folder in sources:
        sources[folder].bring(shards=shards)
    elif folder.parent in sources:
        sources[folder.parent].bring(folder.name, shards=shards)


def make_server(
    paths: Sequence[str | Path], options: ViewOptions, tell: Callable[[str], None] | None = None
) -> Server:
    """Return a server of traces that is bound to its port and does not answer yet.

    Args:
        paths: of folders, or their URLs.
        options: of the server.
        tell: told that something is copied.

    Raises:
        TraceError: a path holds no trace.
        UsageError: the port is in use, or an option cannot be meant.
    """
    from attn.explorer.server import Server

    hosts = tuple(options.allow_host)
    return Server(find_traces(paths, tell), host=options.host, port=options.port, hosts=hosts)


def save_page(
    paths: Sequence[str | Path], options: ViewOptions, tell: Callable[[str], None] | None = None
) -> list[str]:
    """Write the page of traces into one file, `options.out`, and return what did not fit.

    Args:
        paths: of folders, or their URLs.
        options: of the page.
        tell: told that something is copied.

    Raises:
        TraceError: a trace, or the file, cannot be read or written.
        UsageError: the size is too small, or something else has that name.
    """
    from attn.explorer.page import MARK, make_page

    path = Path(options.out or "page.html")
    if is_there(path):
        with reported(path, "read"), open_regular(path) as stream:
            is_ours = stream.read(2 * len(MARK)).find(MARK.encode()) >= 0
        if not is_ours:
            raise UsageError(f"{path} is no page of attn view: name another file with --out")
    page = make_page(find_traces(paths, tell), options.limit)
    write_atomic(path, page.text.encode())
    remove_parts(path)
    return page.left_out


class _KeptIndices:
    """Reads the index of a collection once, and again when it or a journal has changed."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[list[Stamp | None], tuple[Entry, ...]]] = {}

    def read(self, folder: Path) -> tuple[Entry, ...]:
        """Return what an index says; nothing where there is none.

        Raises:
            TraceError: it cannot be read.
        """
        if not is_collection(folder):
            return ()
        names = [folder / COLLECTION, folder / JOURNAL, *shard_journals(folder)]
        stamps = [stamp_of(str(name)) for name in names]
        if folder not in self._kept or self._kept[folder][0] != stamps:
            self._kept[folder] = stamps, read_index(folder)
        return self._kept[folder][1]
