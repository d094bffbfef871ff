"""Who may ask the server: a browser on this machine that opened the printed address.

A page of a stranger in the same browser can send requests here too. It does not know the token, it
cannot read answers of another origin, and what it sends under a name of its own is refused.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "private, no-cache",
}
"""Of every answer."""
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE)
"""A name or an address, and maybe a port: all that a browser says of where it asks."""
LONGEST = 4096
"""Characters of an address at most; Python makes no number of 4,301 digits."""
FOREIGN = ("cross-site", "same-site")
"""What a browser says of a request that another site made it send."""


class Guard:
    """Stands before an application: name of the host, origin, token; headers on every answer."""

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        hosts: Collection[str] = (),
        *,
        methods: Collection[str] = ("GET", "HEAD"),
        headers: Mapping[str, str] = HEADERS,
    ) -> None:
        """Wrap an application.

        Args:
            app: what answers those who may ask.
            token: what the printed address ends with.
            hosts: names beside those of this machine, under which the server may be reached.
            methods: of HTTP, that the application takes.
            headers: of every answer that has none of that name.
        """
        self._app, self._token = app, token
        self._hosts = {*LOOPBACK, *(host.lower() for host in hosts)}
        self._methods, self._headers = methods, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        from starlette.responses import PlainTextResponse, RedirectResponse, Response

        if scope["type"] == "lifespan":  # of the server itself
            await self._app(scope, receive, send)
        if scope["type"] != "http":  # there are no sockets here
            return
        sending = _with_headers(send, self._headers)
        refusal, token = self._refusal(scope), _token(scope)
        if refusal is not None:
            await PlainTextResponse(refusal[1], refusal[0])(scope, receive, sending)
        elif token and (self._matches(token) or self._is_known(scope)):
            # it must not stay in the address, where others see it
            go: Response = RedirectResponse("/", 303)
            go.set_cookie(_cookie(scope), self._token, httponly=True, samesite="strict", path="/")
            await go(scope, receive, sending)
        elif self._is_known(scope):
            await self._app(scope, receive, sending)
        else:
            text = "Open the address that attn printed: it ends with a token."
            await PlainTextResponse(text, 401)(scope, receive, sending)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and reason if a request comes under a name or from a site that is not ours.

        The port is not compared: it is another one behind a tunnel.
        """
        host = _header(scope, "host")
        if _host_name(host) not in self._hosts:
            return 421, "This server does not have that name; start it with --allow-host NAME."
        origin = _header(scope, "origin")
        if origin and urlsplit(origin).netloc != host:
            return 403, "Requests of other sites are refused."
        if _header(scope, "sec-fetch-site") in FOREIGN:
            return 403, "Requests of other sites are refused."
        if len(scope["path"]) > LONGEST:
            return 414, f"Addresses here have at most {LONGEST} characters."
        if scope["method"] not in self._methods:
            return 405, "There is nothing here to write to."
        return None

    def _is_known(self, scope: Scope) -> bool:
        try:
            cookies = SimpleCookie(_header(scope, "cookie"))
        except CookieError:
            return False
        brought = cookies.get(_cookie(scope))
        return brought is not None and self._matches(brought.value)

    def _matches(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            listed = ((name.encode(), value.encode()) for name, value in headers.items())
            added = [(name, value) for name, value in listed if name not in there]
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return sending


def _token(scope: Scope) -> str:
    """Return the token in an address; empty where there is none."""
    if scope["path"] != "/":
        return ""
    query: str = scope["query_string"].decode("latin1")
    return parse_qs(query).get("token", [""])[0]


def _header(scope: Scope, name: str) -> str:
    values = [value for key, value in scope["headers"] if key == name.encode()]
    return values[0].decode("latin1") if len(values) == 1 else ""


def _host_name(host: str) -> str | None:
    """Return the name in a header; None where it holds anything else."""
    parts = HOST.fullmatch(host)
    return None if parts is None else (parts[1] or parts[2]).lower()


def _cookie(scope: Scope) -> str:
    """Return the name of the cookie: two servers on one machine must not share it."""
    return f"attn_{scope['server'][1]}"
