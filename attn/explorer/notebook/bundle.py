"""What a notebook shows of traces: the page itself, and a still picture where no page may run."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.errors import AttnError
from attn.explorer.listing.items import Item
from attn.explorer.listing.library import Library
from attn.explorer.listing.thumbs import thumbnail
from attn.explorer.opened import picture_of
from attn.explorer.page import make_page
from attn.files.safe_text import visible
from attn.trace.trace import Trace, open_trace

if TYPE_CHECKING:
    from PIL import Image

SIZE = 4_000_000
"""Bytes of a page in a notebook, which holds it as often as its cell was run."""
MOST = 6
"""Traces that the still picture shows."""
SIDE = 192
SHORT = 3
"""Letters up to which a word is shown only if there is no longer one."""
INFERNO = np.array([
    (0, 0, 4), (27, 12, 65), (74, 12, 107), (120, 28, 109), (165, 44, 96),
    (207, 68, 70), (237, 105, 37), (251, 155, 6), (247, 209, 61), (252, 255, 164),
])  # fmt: skip


def mimebundle(library: Library, plain: str) -> dict[str, str]:
    """Return what a notebook shows.

    Args:
        library: the traces.
        plain: for where only text is shown.
    """
    still = "".join(map(_still, library.items[:MOST]))
    more = len(library.items) - MOST
    rest = f"<p>and {more} more</p>" if more > 0 else ""
    try:
        page = make_page(library, SIZE).text
        live = (
            f'<iframe srcdoc="{escape(page)}" sandbox="allow-scripts allow-downloads" title="attn" '
            'style="width:100%;height:800px;border:1px solid #ccc"></iframe>'
        )
    except AttnError as error:  # too many traces for a page of this size, or a damaged one
        live = f"<p>{escape(visible(str(error)))}</p>"
    details = f"<details open><summary>Still picture</summary>{still}{rest}</details>"
    picture = _sheet(library.items[:MOST])
    images = {"image/png": b64encode(picture).decode()} if picture else {}
    return {"text/plain": plain, "text/html": details + live} | images


def _still(item: Item) -> str:
    """Return the picture of a trace, and the map of the word that tells most."""
    label = escape(visible(item.label))
    try:
        trace = open_trace(item.folder)
        images = [_data(data) for data in _images(item, trace)]
        prompt = escape(visible(trace.manifest.request.prompt))
    except AttnError as error:
        return f"<p>{label}: {escape(visible(str(error)))}</p>"
    shown = "".join(f'<img src="{source}" alt="{label}" height="{SIDE}"> ' for source in images)
    return f"<figure>{shown}<figcaption>{label}: {prompt}{_told(trace)}</figcaption></figure>"


def _sheet(items: Sequence[Item]) -> bytes | None:
    """Return the first trace's picture and map as a PNG, for where no HTML is shown."""
    from PIL import Image

    for item in items:
        try:
            images = [Image.open(BytesIO(data)) for data in _images(item, open_trace(item.folder))]
        except AttnError:  # the HTML says what is wrong
            continue
        if images:
            sheet = Image.new("RGB", (sum(image.width for image in images), SIDE), "white")
            for number, image in enumerate(images):
                sheet.paste(image, (sum(before.width for before in images[:number]), 0))
            return _encoded(sheet, "PNG", optimize=True)
    return None


def _images(item: Item, trace: Trace) -> list[bytes]:
    return [data for data in (_picture(item), _map(trace)) if data]


def _picture(item: Item) -> bytes | None:
    path = picture_of(item)
    return thumbnail(path) if path else None


def _told(trace: Trace) -> str:
    word = _telling(trace)
    return f" – right: attention to “{escape(visible(trace.words[word[0]].text))}”" if word else ""


def _map(trace: Trace) -> bytes | None:
    """Return the map of the word whose peak is highest above its mean."""
    from PIL import Image

    word = _telling(trace)
    if word is None:
        return None
    levels = word[1] / word[1].max() * (len(INFERNO) - 1)
    channels = [np.interp(levels, range(len(INFERNO)), channel) for channel in INFERNO.T]
    image = Image.fromarray(np.stack(channels, -1).astype(np.uint8))
    return _encoded(image.resize((SIDE * image.width // image.height, SIDE)), "JPEG", quality=85)


def _telling(trace: Trace) -> tuple[int, np.ndarray] | None:
    """Return place and map of the word whose peak is highest above its mean; None without maps."""
    try:
        maps = trace.word_maps().isel(sample=0).sum("segment").values
    except AttnError:  # a text, or no maps were kept
        return None
    peaks = maps.max((1, 2), initial=0) / np.maximum(maps.mean((1, 2)), 1e-12)
    is_long = np.array([len(word.text) > SHORT for word in trace.words], bool)
    peaks[~is_long] *= not is_long.any()
    return (int(peaks.argmax()), maps[peaks.argmax()]) if peaks.size else None


def _encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def _data(data: bytes) -> str:
    return f"data:image/jpeg;base64,{b64encode(data).decode()}"
