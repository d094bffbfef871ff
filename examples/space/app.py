"""The studio as a hosted Space: the same application, open to whoever the Space lets in.

There is nobody whom a token could be told, so every request brings it along.
"""

import os
import secrets
import signal

import uvicorn

from attn.studio.app import make_application
from attn.studio.options import StudioOptions
from attn.studio.studio import Studio

PORT = int(os.environ.get("PORT", "7860"))
HOST = os.environ.get("SPACE_HOST", "localhost")
OPTIONS = StudioOptions(
    backend=os.environ.get("ATTN_BACKEND"),
    model=os.environ.get("ATTN_MODEL"),
    out=os.environ.get("ATTN_RUNS", "attn-runs"),
)


def open_to_all(app, token):
    """Let every request in that comes under the Space's name and from its own page.

    A link to the Space on another site leads to it, too.
    """

    async def answer(scope, receive, send):
        if scope["type"] == "http":
            headers = [item for item in scope["headers"] if item[0] != b"cookie"]
            if (b"sec-fetch-mode", b"navigate") in headers and scope["method"] == "GET":
                headers = [item for item in headers if item[0] != b"sec-fetch-site"]
            cookie = f"attn_{scope['server'][1]}={token}".encode()
            scope = {**scope, "headers": [*headers, (b"cookie", cookie)]}
        await app(scope, receive, send)

    return answer


def main():
    """Serve until the process is interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # of which hosts make use
    studio = Studio(OPTIONS, is_hosted=True)
    token = secrets.token_urlsafe(24)
    try:
        app = open_to_all(make_application(studio, studio.library, token, [HOST]), token)
        uvicorn.run(app, host="0.0.0.0", port=PORT, log_level="info", ws="none")
    finally:
        studio.close()


if __name__ == "__main__":
    main()
