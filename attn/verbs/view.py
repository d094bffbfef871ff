"""`attn view`: traces in a browser."""

from __future__ import annotations

import shutil
import webbrowser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING
from weakref import finalize

from attn.trace.trace import Trace
from attn.verbs.capture.collection import is_collection, read_index
from attn.verbs.view_options import ViewOptions

if TYPE_CHECKING:
    from attn.explorer.opened import Failure
    from attn.explorer.server import Server

DEFAULT = "attn-runs"


@dataclass
class BrowserView:
    """Traces that are looked at in a browser.

    Attributes:
        paths: what is shown.
    """

    paths: tuple[Path, ...]
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

    def close(self) -> None:
        """End the server; the next look starts another."""
        if self._server is not None:
            self._server.stop()
            self._server = None


def view(first: str | Path | Trace = DEFAULT, *more: str | Path | Trace) -> BrowserView:
    """Look at traces in a browser: `attn view`.

    Args:
        first: a trace, or a folder with traces in it; also one in memory.
        more: others, which the page lists beside it.

    Returns:
        What opens the page: `view(path).open()`. The server lives as long as this process.

    Raises:
        TraceError: a path holds no trace.
    """
    from attn.explorer.opened import open_library

    folders: list[Path] = []
    paths: list[Path] = []
    for number, source in enumerate((first, *more)):
        if not isinstance(source, Trace):
            paths.append(Path(source))
        elif source.folder is not None:
            paths.append(source.folder)
        else:
            folders.append(Path(mkdtemp(prefix="attn-view-")))
            paths.append(folders[-1] / f"trace-{number}")
            source.save(paths[-1])
    open_library(paths)
    shown = BrowserView(tuple(paths))
    for folder in folders:
        finalize(shown, shutil.rmtree, folder, ignore_errors=True)
    return shown


def make_server(paths: Sequence[str | Path], options: ViewOptions) -> Server:
    """Return a server of traces that is bound to its port and does not answer yet.

    Raises:
        TraceError: a path holds no trace.
        UsageError: the port is in use, or an option cannot be meant.
    """
    from attn.explorer.opened import open_library
    from attn.explorer.server import Server

    folders = [Path(path) for path in paths]
    library = open_library(folders)
    parents = dict.fromkeys(item.folder.parent for item in library.items)
    library.failures += [one for folder in parents for one in _failures(folder)]
    return Server(library, host=options.host, port=options.port, hosts=tuple(options.allow_host))


def _failures(folder: Path) -> Iterator[Failure]:
    """Yield what a collection lists as failed."""
    from attn.explorer.opened import Failure

    if is_collection(folder):
        for entry in read_index(folder):
            if entry.status == "failed":
                label = f"{folder.name}/{entry.folder}"
                yield Failure(label, entry.prompt, entry.seed, entry.error or "no reason was kept")
