"""The application: Gradio behind its gate and the explorer, both behind the guard."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import UsageError
from attn.explorer.guard import Guard
from attn.explorer.listing.library import Library
from attn.explorer.server import Server, routes
from attn.studio.gate import FRAMED, RouteFilter
from attn.studio.options import StudioOptions
from attn.studio.studio import Studio
from attn.studio.telling import with_fields
from attn.studio.uploads import MOST_BYTES

if TYPE_CHECKING:
    import gradio
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

STATIC = Path(__file__).parent / "static"
MISSING = "attn studio needs Gradio: pip install 'attn[studio]'"


class StudioServer:
    """The studio at a port.

    Attributes:
        url: the address for the browser, with the token.
        studio: what its pages share.
    """

    def __init__(self, options: StudioOptions) -> None:
        """Load the families, make the pages, and take a port.

        Raises:
            UsageError: Gradio is missing, the port is in use, or an option cannot be meant.
            AttnError: a folder is not what it is to be, or the first family cannot be loaded.
        """
        _require_gradio()
        self.studio = Studio(options)
        try:
            self._server = Server(
                self.studio.library,
                host=options.host,
                port=options.port,
                hosts=tuple(options.allow_host),
                make=self._application,
            )
        except BaseException:
            self.studio.close()
            raise
        self.url = self._server.url

    def run(self) -> None:
        """Answer until the process is interrupted.

        Raises:
            KeyboardInterrupt: Ctrl-C, or SIGTERM.
        """
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # else nothing is taken away
        try:
            self._server.run()
        finally:
            self.studio.close()

    def start(self) -> None:
        """Answer in a thread, until `stop`."""
        self._server.start()

    def stop(self) -> None:
        """End the server and its runs."""
        self.studio.close()
        self._server.stop()

    def _application(self, library: Library, token: str, hosts: Collection[str]) -> ASGIApp:
        return make_application(self.studio, library, token, hosts)


def make_application(
    studio: Studio, library: Library, token: str, hosts: Collection[str]
) -> ASGIApp:
    """Return the guarded application."""
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route

    blocks = make_blocks(studio)
    from attn.studio.page import SCRIPTS

    mounted, names = _mount(blocks)
    acts = [number for number, act in blocks.fns.items() if act.fn is not None]

    def forming(request: Request) -> Response:
        return _forming(studio, request.path_params["number"])

    def script(name: str) -> Callable[[Request], Response]:
        from starlette.responses import FileResponse

        kind = "text/javascript; charset=utf-8"
        return lambda request: FileResponse(STATIC / name, media_type=kind)

    outer = Starlette(
        routes=[
            *(Route(f"/studio/{name}", script(name)) for name in SCRIPTS),
            Route("/studio/forming/{number:int}/{step:int}", forming),
            Mount("/explorer", routes=routes(library, with_fields, studio.hide)),
            Mount("/", RouteFilter(mounted, studio.uploads, names, acts)),
        ],
        lifespan=mounted.router.lifespan_context,
    )
    return Guard(outer, token, hosts, methods=("GET", "HEAD", "POST"), headers=FRAMED)


def make_blocks(studio: Studio) -> gradio.Blocks:
    """Return the pages as Gradio's `Blocks`, which keep their files in the studio's folder."""
    os.environ["GRADIO_TEMP_DIR"] = str(studio.uploads.folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from attn.studio.page import make_pages

    return make_pages(studio)


def _mount(blocks: gradio.Blocks) -> tuple[Any, list[str]]:
    """Return Gradio's application, and the addresses of its pages and of their parts."""
    import gradio
    from starlette.applications import Starlette

    from attn.studio.page import HEAD
    from attn.studio.parts import make_theme

    frontend = Path(gradio.__file__).parent / "templates" / "frontend"
    files = [
        f"/{path.relative_to(frontend).as_posix()}"
        for folder in ("assets", "static")
        for path in (frontend / folder).rglob("*")
        if path.is_file()
    ]
    pages = [f"/{path}{end}" for path, *_ in blocks.pages for end in ("", "/")]
    app = gradio.mount_gradio_app(
        Starlette(),
        blocks,
        "/",
        footer_links=[],
        run_history=False,
        max_file_size=MOST_BYTES,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        head=HEAD,
        theme=make_theme(),
        css_paths=STATIC / "studio.css",
    )
    return app, [*files, *pages]


def _forming(studio: Studio, number: int) -> Response:
    """Return what a run expects of its picture."""
    from starlette.responses import PlainTextResponse, Response

    job = studio.jobs.job(number)
    if job is None or not job.frame:
        return PlainTextResponse("There is no such picture here.", 404)
    return Response(job.frame, media_type="image/png")


def _require_gradio() -> None:
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise UsageError(MISSING)
