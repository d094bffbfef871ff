"""What of Gradio can be asked: what its page needs, and nothing else.

Gradio hands out and takes files by their paths. Here no path of a request reaches the file system:
it is compared with what is listed, and uploads are pictures that are decoded and written anew,
under names made of their content.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Collection
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from attn.errors import UsageError
from attn.explorer.guard import HEADERS
from attn.studio.uploads import MOST_BYTES, Uploads

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]
API = "/gradio_api/"
MOST_QUEUED = 2**20
"""Bytes of the fields of a form."""
MOST_AROUND = 2**16
"""Bytes of an upload beside its file."""
GOTTEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/gradio_api/queue/data"
    r"|/gradio_api/heartbeat/[a-z0-9]+|/gradio_api/startup-events"
)
POSTED = re.compile(r"/gradio_api/(?:queue/join|run/predict|cancel|reset)/?")
STOPPED = re.compile(r"/gradio_api/(?:cancel|reset)/?")
"""What of that names what was begun."""
FAILED = 500
REFUSED = "That is no form of this page."
"""What is answered to a form whose values no component of the page can hold."""
MANIFEST = re.compile(rb"<link rel=\"manifest\"[^>]*>")
"""Of Gradio's page: it leads to a file that is there for applications alone."""
SCRIPT = re.compile(rb"<script([^>]*)>(.*?)</script>", re.DOTALL)
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' {scripts}; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; worker-src 'self' blob:; frame-src 'self'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
"""Of Gradio's page: scripts that stand in it are known by their digests. Its pad and its frames
make functions of their own texts, which no text of a user is part of; styles stand in it too."""
FRAMED = {
    **HEADERS,
    "content-security-policy": HEADERS["content-security-policy"].replace(
        "frame-ancestors 'none'", "frame-ancestors 'self'"
    ),
    "x-frame-options": "SAMEORIGIN",
}
"""Headers of what stands in a frame of the page: the explorer."""


class RouteFilter:
    """Stands before Gradio's application."""

    def __init__(
        self, app: ASGIApp, uploads: Uploads, names: Collection[str], acts: Collection[int]
    ) -> None:
        """Wrap Gradio.

        Args:
            app: Gradio's application.
            uploads: pictures that came, and files that pages show.
            names: addresses of its pages and of their parts, which do not change.
            acts: numbers of what its pages' buttons and fields do.
        """
        self._app, self._uploads = app, uploads
        self._names, self._acts = frozenset(names), frozenset(acts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let Gradio answer."""
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, is_reading = scope["path"], scope["method"] in ("GET", "HEAD")
        if is_reading and path.startswith(f"{API}file="):
            answer = self._uploads.answer(path.removeprefix(f"{API}file="))
            await answer(scope, receive, send)
        elif is_reading and (GOTTEN.fullmatch(path) or path in self._names):
            await self._app(scope, receive, _with_policy(send))
        elif not is_reading and path.rstrip("/") == f"{API}upload":
            answer = await self._upload(Request(scope, receive))
            await answer(scope, receive, send)
        elif not is_reading and POSTED.fullmatch(path):
            refusal = await self._post(scope, receive, send)
            if refusal is not None:
                await refusal(scope, receive, send)
        else:
            await PlainTextResponse("There is no such thing here.", 404)(scope, receive, send)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """Let Gradio answer to the fields of a form, or return why not."""
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse

        body = await _body(Request(scope, receive), MOST_QUEUED)
        if body is None:
            return PlainTextResponse(f"At most {MOST_QUEUED} bytes can be sent.", 413)
        try:
            data = self._checked(json.loads(body))
            self._check_act(scope["path"], data)
        except (LookupError, TypeError, ValueError, RecursionError):
            return PlainTextResponse(REFUSED, 400)
        except PermissionError:
            return PlainTextResponse("Only pictures that were sent here can be used.", 403)
        sent = json.dumps(data).encode()
        headers = _resized(scope["headers"], len(sent))
        request = {**scope, "headers": headers}
        await self._app(request, _replay(sent, receive), _with_refusal(send))
        return None

    async def _upload(self, request: Request) -> Response:
        """Keep a picture."""
        from starlette.formparsers import MultiPartException, MultiPartParser
        from starlette.responses import JSONResponse, PlainTextResponse

        body = await _body(request, MOST_BYTES + MOST_AROUND)
        if body is None:
            return PlainTextResponse(f"A picture may have {MOST_BYTES} bytes.", 413)
        try:
            form = await MultiPartParser(request.headers, _chunks(body), max_files=1).parse()
            files = [item for item in form.getlist("files") if not isinstance(item, str)]
            data = [await item.read() for item in files]
            return JSONResponse([self._uploads.keep(content) for content in data])
        except (MultiPartException, KeyError, UsageError) as error:
            return PlainTextResponse(f"That cannot be used: {error}", 415)

    def _check_act(self, path: str, form: Any) -> None:
        """Refuse a form that names no act of the page: Gradio would stumble over it.

        Raises:
            LookupError: it names none; or a TypeError.
        """
        if not STOPPED.fullmatch(path) and form["fn_index"] not in self._acts:
            raise LookupError

    def _checked(self, data: Any) -> Any:
        """Return what a form holds; a file in it is one that was sent here, and nothing else.

        Raises:
            PermissionError: another path.
        """
        if isinstance(data, list):
            return [self._checked(item) for item in data]
        if not isinstance(data, dict):
            return data
        if "path" not in data:
            return {key: self._checked(value) for key, value in data.items()}
        listed = self._uploads.listed(str(data["path"]))
        if listed is None:
            raise PermissionError
        return {"path": str(listed), "meta": {"_type": "gradio.FileData"}}


def _with_policy(send: Send) -> Send:
    """Hold a page back until its scripts are known, and forbid all others."""

    def change(start: Message, body: bytes) -> tuple[Message, bytes]:
        page = MANIFEST.sub(b"", body)
        policy = (b"content-security-policy", _policy(page).encode())
        return {**start, "headers": [*start["headers"], policy]}, page

    return _whole(send, _is_page, change)


def _with_refusal(send: Send) -> Send:
    """Say of a form that was refused that it was wrong, and not the server."""

    def change(start: Message, body: bytes) -> tuple[Message, bytes]:
        return {**start, "status": 400 if REFUSED.encode() in body else FAILED}, body

    return _whole(send, lambda start: bool(start["status"] == FAILED), change)


def _whole(
    send: Send,
    is_held: Callable[[Message], bool],
    change: Callable[[Message, bytes], tuple[Message, bytes]],
) -> Send:
    """Hold answers of a kind back until they are whole, and send them changed."""
    begun: list[Message] = []
    body = bytearray()

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and is_held(message):
            begun.append(message)
        elif not begun:
            await send(message)
        else:
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                start, changed = change(begun[0], bytes(body))
                await send({**start, "headers": _resized(start["headers"], len(changed))})
                await send({**message, "body": changed})

    return sending


def _resized(headers: Headers, length: int) -> Headers:
    """Return headers with the length of a body."""
    kept = [item for item in headers if item[0] != b"content-length"]
    return [*kept, (b"content-length", str(length).encode())]


def _is_page(message: Message) -> bool:
    kinds = [value for name, value in message["headers"] if name == b"content-type"]
    return bool(kinds) and kinds[0].startswith(b"text/html")


def _policy(page: bytes) -> str:
    inline = [code for attributes, code in SCRIPT.findall(page) if b"src=" not in attributes]
    digests = [b64encode(sha256(code).digest()).decode() for code in inline]
    return POLICY.format(scripts=" ".join(f"'sha256-{digest}'" for digest in digests))


async def _body(request: Request, most: int) -> bytes | None:
    """Return what was sent; None where it is more than may be."""
    body = bytearray()
    async for chunk in request.stream():
        body.extend(chunk)
        if len(body) > most:
            return None
    return bytes(body)


async def _chunks(body: bytes) -> Any:
    yield body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return what hands a body out that was read already, and then waits as before."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay
