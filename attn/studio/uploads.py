"""Gradio's folder: pictures that were sent, decoded and written anew, and files that pages show."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from attn.errors import UsageError
from attn.files.disk import write_atomic
from attn.files.images import DRAWINGS, UndecodableImageError, decode_image

if TYPE_CHECKING:
    from starlette.responses import Response

MOST_BYTES = 8 * 2**20
SHOWN = {".png": "image/png", ".gif": "image/gif"}
"""What a browser shows; all other files are to be saved."""


class Uploads:
    """A folder whose files are named by what is listed, never by a path that came."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def keep(self, data: bytes) -> str:
        """Keep a picture as PNG, and return its path.

        Raises:
            UsageError: it is no picture, too large, or damaged.
        """
        if len(data) > MOST_BYTES:
            raise UsageError(f"a picture may have {MOST_BYTES} bytes; got {len(data)}")
        try:
            image = decode_image(data, DRAWINGS)
        except UndecodableImageError as error:
            raise UsageError(f"no picture that can be read: {error}") from error
        written = BytesIO()
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        image.convert("RGBA" if has_alpha else "RGB").save(written, "PNG")
        name = sha256(written.getvalue()).hexdigest()[:32]
        path = self.folder / f"sent-{name}.png"
        write_atomic(path, written.getvalue())
        return str(path)

    def listed(self, path: str) -> Path | None:
        """Return the file of the folder that has this path, by comparison alone."""
        files = (file for file in self.folder.rglob("*") if file.is_file())
        return next((file for file in files if str(file) == path and not file.is_symlink()), None)

    def answer(self, path: str) -> Response:
        """Return a file of the folder as a browser gets it."""
        from starlette.responses import FileResponse, PlainTextResponse

        file = self.listed(path)
        if file is None:
            return PlainTextResponse("There is no such file here.", 404)
        kind = SHOWN.get(file.suffix)
        if kind is None:
            return FileResponse(file, media_type="application/octet-stream", filename=file.name)
        return FileResponse(file, media_type=kind)
