"""What a notebook shows of traces: the page itself, and a still picture where no page may run."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from attn.errors import AttnError
from attn.explorer.comparisons import read_comparison
from attn.explorer.listing.items import Item
from attn.explorer.listing.library import Library
from attn.explorer.listing.thumbs import thumbnail
from attn.explorer.matrices import describe_matrices
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
CELLS = 2**25
"""Cells of matrices that are read for it; of more steps, evenly spread ones."""
SIDE, SUMMARY_SIDE = 192, 720
SHORT = 3
"""Letters up to which a word is shown only if there is no longer one."""
INFERNO = np.array([
    (0, 0, 4), (27, 12, 65), (74, 12, 107), (120, 28, 109), (165, 44, 96),
    (207, 68, 70), (237, 105, 37), (251, 155, 6), (247, 209, 61), (252, 255, 164),
])  # fmt: skip


@dataclass(frozen=True)
class Still:
    """What is shown of a trace or comparison where no page may run.

    Attributes:
        images: encoded, side by side.
        caption: below them, a text.
        height: of the images, pixels; None is their own.
    """

    images: tuple[bytes, ...]
    caption: str
    height: int | None = SIDE


def mimebundle(library: Library, plain: str) -> dict[str, str]:
    """Return what a notebook shows.

    Args:
        library: the traces.
        plain: for where only text is shown.
    """
    stills = [_still(library, item) for item in library.items[:MOST]]
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
    figures = "".join(map(_figure, stills))
    details = f"<details open><summary>Still image</summary>{figures}{rest}</details>"
    sheets = [still for still in stills if still.images]
    images = {"image/png": b64encode(_sheet(sheets[0])).decode()} if sheets else {}
    return {"text/plain": plain, "text/html": details + live} | images


def _still(library: Library, item: Item) -> Still:
    """Return picture and map of a trace, or the summary of a comparison."""
    label = visible(item.label)
    try:
        picture = picture_of(library.brought(item))
        if item.kind == "comparison":
            summary = thumbnail(picture, SUMMARY_SIDE) if picture else None
            told = visible(read_comparison(item.folder).answer)
            return Still((summary,) if summary else (), f"{label}: {told}", height=None)
        images = [thumbnail(picture)] if picture else []
        trace = open_trace(item.folder)
        caption = f"{label}: {visible(trace.manifest.request.prompt)}"
        telling = _telling_word(trace) or _telling_matrix(trace)
    except AttnError as error:
        return Still((), f"{label}: {visible(str(error))}")
    if telling:
        caption += f" – {'right: ' if images else ''}{visible(telling[0])}"
        images.append(_painted(telling[1]))
    return Still(tuple(filter(None, images)), caption)


def _figure(still: Still) -> str:
    caption = escape(still.caption)
    size = f'height="{still.height}"' if still.height else 'style="max-width:100%"'
    shown = "".join(
        f'<img src="data:image/jpeg;base64,{b64encode(data).decode()}" alt="{caption}" {size}> '
        for data in still.images
    )
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _sheet(still: Still) -> bytes:
    """Return images beside each other, all as high, as a PNG: for where no HTML is shown."""
    from PIL import Image

    opened = [Image.open(BytesIO(data)) for data in still.images]
    high = still.height or opened[0].height
    scaled = [image.resize((high * image.width // image.height, high)) for image in opened]
    sheet = Image.new("RGB", (sum(image.width for image in scaled), high))
    for number, image in enumerate(scaled):
        sheet.paste(image, (sum(before.width for before in scaled[:number]), 0))
    return _encoded(sheet, "PNG", optimize=True)


def _painted(levels: np.ndarray) -> bytes:
    """Return a map, 0 to 1, in colours."""
    from PIL import Image

    places = np.linspace(0, 1, len(INFERNO))
    channels = [np.interp(levels, places, channel) for channel in INFERNO.T]
    image = Image.fromarray(np.stack(channels, -1).astype(np.uint8))
    return _encoded(image.resize((SIDE * image.width // image.height, SIDE)), "JPEG", quality=85)


def _telling_word(trace: Trace) -> tuple[str, np.ndarray] | None:
    """Return what is shown, and the map of the word whose peak is highest above its mean.

    None of a text, or where no maps were kept.
    """
    try:
        maps = trace.word_maps().isel(sample=0).sum("segment").values
    except AttnError:
        return None
    peaks = maps.max((1, 2), initial=0) / np.maximum(maps.mean((1, 2)), 1e-12)
    is_long = np.array([len(word.text) > SHORT for word in trace.words], bool)
    peaks[~is_long] *= not is_long.any()
    if not peaks.size:
        return None
    word = int(peaks.argmax())
    return f"attention to “{trace.words[word].text}”", maps[word] / maps[word].max()


def _telling_matrix(trace: Trace) -> tuple[str, np.ndarray] | None:
    """Return what is shown, and who reads whom in a layer in the middle, on a scale of the root.

    None where no maps were kept.
    """
    for kind in describe_matrices(trace.manifest):
        layers = [layer["index"] for layer in kind["layers"]]
        layer = layers[len(layers) // 2]
        try:
            maps = trace.maps(layer, kind["block"]).isel(branch=0, sample=0)
        except AttnError:
            continue
        if "step" in maps.dims:
            most = max(1, CELLS // max(1, maps[0].size))
            maps = maps.isel(step=np.unique(np.linspace(0, len(maps) - 1, most).astype(int)))
            there = maps.notnull().sum("step")
            maps = maps.sum("step") / there.where(there > 0, 1)  # of each row that was computed
        levels = np.sqrt(maps.values.reshape(-1, maps.shape[-1]))
        said = f"who reads whom in layer {layer}: rows read, columns are read"
        return said, levels / max(float(np.nanmax(levels)), 1e-12)
    return None


def _encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()
