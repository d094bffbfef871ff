"""What a generation leaves beside its attention: pictures, texts, and where it ran."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import DamagedError, TraceError
from attn.files.digests import output_digest, read_output
from attn.files.disk import AGAIN, write_atomic
from attn.files.images import MOST_BYTES, UndecodableImageError, decode_image, write_animation
from attn.files.outside import read_bytes
from attn.schema import FORMING_ROW, SKETCH, SKETCH_GROUND, Manifest
from attn.versions import find_version

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

    from attn.backends import Output

OUTPUT = re.compile(
    r"((image|video|text|history|forming)(-\d+)?|sketch)\.(png|jpg|txt|json)(\.\d+\.part)?"
)
QUALITY = 90
"""Of the JPEG of small frames."""
PACKAGES = ("attn", "torch", "diffusers", "transformers", "safetensors", "numpy", "peft")


def save_outputs(folder: Path, output: Output, manifest: Manifest) -> dict[str, str]:
    """Write `outputs/image.png` (or `image-0.png` …), `text.txt`, `history.json`, `sketch.png`.

    And `forming.jpg`, which has the frames of how an image formed; `video.png`, an animated PNG
    with every frame of a video as it was generated, of which `image.png` then is one.
    Every PNG carries the request as text (`prompt`, `seed`, and all of it as JSON in `attn`).

    Returns:
        The SHA-256 of each file, by its name relative to the folder.
    """
    files = {
        _numbered("image", ".png", index, output.images): _png(image, manifest)
        for index, image in enumerate(output.images)
    }
    files |= {
        _numbered("video", ".png", index, output.videos): write_animation(
            frames, manifest.request.fps or 1, _info(manifest)
        )
        for index, frames in enumerate(output.videos)
    }
    files |= {
        _numbered("text", ".txt", index, output.texts): text.encode()
        for index, text in enumerate(output.texts)
    }
    files |= {
        _numbered("history", ".json", index, output.histories): _json(history)
        for index, history in enumerate(output.histories)
    }
    files |= {
        _numbered("forming", ".jpg", index, output.forming): _sheet(frames)
        for index, frames in enumerate(output.forming)
    }
    if output.sketch is not None:
        ground = {
            name: value for name, value in output.sketch.info.items() if name == SKETCH_GROUND
        }
        files[SKETCH] = _png(output.sketch, manifest, ground)
    for name, data in files.items():
        write_atomic(folder / name, data)
    return {name: sha256(data).hexdigest() for name, data in files.items()}


def is_output(path: Path) -> bool:
    """Whether a file is what a generation leaves by its name, or was to become that."""
    return OUTPUT.fullmatch(path.name) is not None


def check_output(folder: Path, name: str, manifest: Manifest) -> None:
    """Check that an output of a trace is there and as it was written.

    Raises:
        TraceError: it cannot be read.
        DamagedError: it is not, or gone.
    """
    data = read_output(folder, name, manifest)
    if name.endswith(".png") and output_digest(manifest, name) is None:
        _check_image(folder / name, data, manifest)


def _check_image(path: Path, data: bytes, manifest: Manifest) -> None:
    """Check what a picture of an older trace, which lists no digests, says of itself."""
    try:
        text = decode_image(data).info
    except UndecodableImageError as exc:
        raise DamagedError(f"{path} is not a whole picture: {exc}. {AGAIN}") from exc
    request = manifest.request
    if (text.get("prompt"), text.get("seed")) != (request.prompt, str(request.seed)):
        raise DamagedError(f"{path} is the picture of another request. {AGAIN}")


def read_pictured(folder: Path) -> tuple[str, int] | None:
    """Return prompt and seed of a trace as its image says them, if there is a whole one."""
    for name in ("outputs/image.png", "outputs/image-0.png"):
        with suppress(TraceError, UndecodableImageError, KeyError, ValueError):
            texts = decode_image(read_bytes(folder / name, limit=MOST_BYTES)).info
            return str(texts["prompt"]), int(texts["seed"])
    return None


def _numbered(stem: str, ending: str, index: int, group: tuple[object, ...]) -> str:
    return f"outputs/{stem}{ending}" if len(group) == 1 else f"outputs/{stem}-{index}{ending}"


def _sheet(frames: Sequence[Image]) -> bytes:
    """Return frames of one size in rows of `FORMING_ROW`, as JPEG."""
    from PIL.Image import new

    width, height = frames[0].size
    columns, rows = min(len(frames), FORMING_ROW), ceil(len(frames) / FORMING_ROW)
    sheet = new("RGB", (width * columns, height * rows))
    for number, frame in enumerate(frames):
        row, column = divmod(number, FORMING_ROW)
        sheet.paste(frame.convert("RGB"), (column * width, row * height))
    data = BytesIO()
    sheet.save(data, "JPEG", quality=QUALITY, subsampling=0)
    return data.getvalue()


def _json(history: Mapping[str, Any]) -> bytes:
    return json.dumps(history, ensure_ascii=False).encode() + b"\n"


def _png(image: Image, manifest: Manifest, texts: Mapping[str, str] | None = None) -> bytes:
    data = BytesIO()
    image.save(data, "PNG", pnginfo=_info(manifest, texts))
    return data.getvalue()


def _info(manifest: Manifest, texts: Mapping[str, str] | None = None) -> PngInfo:
    """Return what a PNG says of the request that it is of."""
    from PIL.PngImagePlugin import PngInfo

    request = manifest.request
    info = PngInfo()
    info.add_text("prompt", request.prompt)
    info.add_text("seed", str(request.seed))
    info.add_text(
        "attn",
        json.dumps(
            {"backend": manifest.backend, "model": manifest.model, **asdict(request)}, default=str
        ),
    )
    for name, text in (texts or {}).items():
        info.add_text(name, text)
    return info


def environment() -> dict[str, str]:
    """Return the versions and the machine that a trace depends on."""
    versions = {name: find_version(name) for name in PACKAGES}
    return {
        **{name: number for name, number in versions.items() if number},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": _device(),
    }


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    threads = torch.get_num_threads() if torch is not None else os.cpu_count()
    return f"cpu, {threads} threads"


def peak_memory() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
