"""The server of `attn view`: read-only, every file by Range, nothing but what was opened.

/                        the page
/static/NAME             its modules
/index.json              what was opened, as much of it as is found at once
/index/NUMBER.json       the same from that number on
/t/NUMBER/trace.json     what a page has to know of a trace
/t/NUMBER/checked        how many of its files were checked, and whether it is still the same
/t/NUMBER/thumb          its picture, small
/t/NUMBER/NAME           a file that its manifest lists
"""

from __future__ import annotations

import errno
import gzip
import os
import secrets
import socket
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import msgspec

from attn.errors import AttnError, UsageError
from attn.explorer.checked import Checker
from attn.explorer.guard import LOOPBACK, Guard
from attn.explorer.joined import ENTRY, STATIC, WORKER, join_script
from attn.explorer.listing.items import Item
from attn.explorer.listing.library import Library
from attn.explorer.listing.thumbs import thumbnail
from attn.explorer.opened import facts_of, file_of, picture_of
from attn.files.outside import open_regular

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send

FIRST_PORT, PORTS = 7860, 100
CHUNK = 2**20
"""Bytes of a file that are sent at once; with Starlette's 64 KB, tens of megabytes take long."""
FIRST_PIECE, PIECE = 0.1, 0.3
"""Seconds in which a piece of the list is told."""
PAGE_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
TRACE_KINDS = {
    ".json": "application/json",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".txt": "text/plain; charset=utf-8",
}
"""What is said of files; all others are bytes, so that no file of a trace can act as a page."""


class Server:
    """A server that is bound to a port.

    Attributes:
        url: the address for the browser, with the token.
        port: where it listens.
    """

    def __init__(
        self,
        library: Library,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        hosts: Collection[str] = (),
        make: Callable[[Library, str, Collection[str]], ASGIApp] | None = None,
    ) -> None:
        """Take a port; nothing is answered yet.

        Args:
            library: what is shown.
            host: address to listen at.
            port: None is the first free one from 7860.
            hosts: names under which the server may be reached, beside those of this machine.
            make: makes the guarded application of library, token and hosts; it is told when the
                server starts and ends. None is the explorer alone, which need not know.

        Raises:
            UsageError: the port is in use, or the address cannot be had.
        """
        import uvicorn

        if host not in LOOPBACK and not hosts:
            raise UsageError(
                f"--host {host} lets other machines in: name the host under which they may ask, "
                "with --allow-host NAME"
            )
        token = secrets.token_urlsafe(24)
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        name = next(iter(hosts)) if host not in LOOPBACK else host
        self.url = f"http://{f'[{name}]' if ':' in name else name}:{self.port}/?token={token}"
        config = uvicorn.Config(
            (make or application)(library, token, hosts),
            log_level="critical",
            lifespan="off" if make is None else "on",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread: Thread | None = None

    def run(self) -> None:
        """Answer until the process is interrupted.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        self._server.run([self._socket])

    def start(self) -> None:
        """Answer in a thread, until `stop` or the end of the process."""
        self._thread = Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and free the port."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._socket.close()


def application(library: Library, token: str, hosts: Collection[str] = ()) -> ASGIApp:
    """Return the guarded application."""
    from starlette.applications import Starlette

    return Guard(Starlette(routes=routes(library)), token, hosts)


def routes(
    library: Library,
    reword: Callable[[str], str] = str,
    hide: Callable[[str], str] | None = None,
) -> list[Route]:
    """Return the addresses of the explorer.

    Args:
        library: what is shown.
        reword: changes remarks of traces, where options are not typed on a command line.
        hide: changes all that is told of traces, where nobody is to know of paths.
    """
    from starlette.routing import Route

    checker = Checker()
    names = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*")}

    def item(request: Request) -> Item | None:
        return library.item(request.path_params["number"])

    def brought(request: Request, *, shards: bool) -> Item | None:
        opened = item(request)
        try:
            return None if opened is None else library.brought(opened, shards=shards)
        except AttnError:  # the facts of the trace say it
            return None

    def page(request: Request) -> ASGIApp:
        return _code(STATIC / "index.html", request)

    def static(request: Request) -> ASGIApp:
        return _code(names.get(request.path_params["name"]), request)

    def index(request: Request) -> Response:
        start = request.path_params.get("start", 0)
        piece = library.index(start, PIECE if start else FIRST_PIECE)
        checker.look_at_list(library)
        return _json(piece)

    def facts(request: Request) -> Response:
        opened = item(request)
        if opened is None:
            return _missing()
        return _answer(lambda: facts_of(library.brought(opened), library, reword), hide)

    def checked(request: Request) -> Response:
        opened = item(request)
        if opened is None:
            return _missing()
        return _answer(lambda: msgspec.json.encode(checker.look(library.brought(opened))), hide)

    def thumb(request: Request) -> Response:
        opened = brought(request, shards=False)
        path = None if opened is None else picture_of(opened)
        return _small(None if path is None else thumbnail(path))

    def file(request: Request) -> ASGIApp:
        opened = brought(request, shards=True)
        path = None if opened is None else file_of(opened, request.path_params["name"])
        return _file(path, TRACE_KINDS)

    return [
        Route("/", page),
        Route("/static/{name:path}", static),
        Route("/index.json", index),
        Route("/index/{start:int}.json", index),
        Route("/t/{number}/trace.json", facts),
        Route("/t/{number}/checked", checked),
        Route("/t/{number}/thumb", thumb),
        Route("/t/{number}/{name:path}", file),
    ]


def _file(path: Path | None, kinds: Mapping[str, str]) -> ASGIApp:
    if path is None or not path.is_file():
        return _missing()
    return _File(path, kinds.get(path.suffix, "application/octet-stream"))


class _File:
    """The answer with a file as it is when it is opened, whatever its name leads to later.

    Starlette alone looks at a path, and opens it afterwards: of a trace that is written again in
    between it would send the version of the old file with the bytes of the new one.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path, self._kind = path, kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import FileResponse

        try:
            file = open_regular(self._path)
        except OSError:  # gone in this moment
            return await _missing()(scope, receive, send)
        with file:
            number = file.fileno()
            about = os.fstat(number)
            answer = FileResponse(f"/dev/fd/{number}", stat_result=about, media_type=self._kind)
            answer.chunk_size = CHUNK
            await answer(scope, receive, send)


def _code(path: Path | None, request: Request) -> ASGIApp:
    """Return a file of the page, compressed for a browser that takes it."""
    from starlette.responses import Response

    takes = "gzip" in request.headers.get("accept-encoding", "")
    if path is None or not path.is_file() or not takes:
        return _file(path, PAGE_KINDS)
    kind = PAGE_KINDS.get(path.suffix, "application/octet-stream")
    headers = {"content-encoding": "gzip", "vary": "accept-encoding"}
    return Response(_compressed(path), headers=headers, media_type=kind)


@cache
def _compressed(path: Path) -> bytes:
    """Return a file of the page; an entry with all that it imports, as sixty requests take long.

    It stays as it was first read: a page has parts of one version, also while attn is updated.
    """
    name = path.relative_to(STATIC).as_posix()
    return gzip.compress(
        join_script(name).encode() if name in (ENTRY, WORKER) else path.read_bytes()
    )


def _small(data: bytes | None) -> Response:
    from starlette.responses import Response

    return _missing() if data is None else Response(data, media_type="image/jpeg")


def _answer(make: Callable[[], bytes], hide: Callable[[str], str] | None) -> Response:
    """Return JSON, or what is wrong with a trace as JSON; see `routes`."""
    try:
        data, status = make(), 200
    except AttnError as error:
        data, status = msgspec.json.encode({"error": str(error)}), 422
    return _json(data if hide is None else hide(data.decode()).encode(), status)


def _json(data: bytes, status: int = 200) -> Response:
    from starlette.responses import Response

    return Response(data, status, media_type="application/json")


def _missing() -> Response:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("There is no such file here.", 404)


def _bind(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UsageError: the port is in use, or the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    tried = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else (port,)
    reason: OSError | None = None
    for number in tried:
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, number))
            bound.listen()
        except OSError as error:
            bound.close()
            reason = error
        else:
            return bound
    if isinstance(reason, socket.gaierror) or (reason and reason.errno == errno.EADDRNOTAVAIL):
        raise UsageError(f"{host} is no address of this machine: name one with --host")
    where = f"port {port}" if port is not None else f"a port of {tried[0]} to {tried[-1]}"
    text = reason.strerror if reason else ""
    raise UsageError(f"cannot listen at {where} of {host}: {text}. Name another with --port.")
