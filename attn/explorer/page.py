"""One file with everything in it: the page, and as much of the traces as fits.

It opens from a disk, offline, in any browser, and asks for nothing: each file of a trace stands in
it as text, compressed, under the name that the page would ask a server for.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
from rich import filesize

from attn.errors import TraceError, UsageError
from attn.explorer.joined import STATIC, join_script, join_styles, page_body
from attn.explorer.listing.items import Item
from attn.explorer.listing.library import Library
from attn.explorer.listing.thumbs import SHOWN, thumbnail
from attn.explorer.opened import facts_of, file_of, manifest_of, picture_of
from attn.explorer.reduction import Reduced, reduce
from attn.explorer.shelf import to_shard, to_text
from attn.files.digests import read_output
from attn.files.images import UndecodableImageError, decode_image
from attn.files.outside import read_bytes
from attn.schema import VIDEO
from attn.wording import count_noun

MARK = "<!-- made by attn view -->"
LICENCES = ("vendor/LICENSE-preact", "vendor/LICENSE-htm")
LARGE_PICTURE = 2 * 2**20
"""Bytes of a picture above which a smaller one is put in its place."""
PICTURE_SIDE = 1024
KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
OTHERS = (".json", ".txt", ".csv")
"""Other outputs that a page shows."""
ROUNDED = (
    "Values are rounded: each is within 0.4 % of the largest value that its token has in that map."
)
ASKS = "asks"
"""Name of what says in a page that the page around it answers what is not in it."""
SMALLEST = 100_000
"""Bytes for a trace below which no page is made."""


@dataclass
class Page:
    """A page in one file.

    Attributes:
        text: of the file, HTML.
        left_out: what did not fit, in sentences.
    """

    text: str
    left_out: list[str]


@dataclass
class _Parts:
    """What stands in the page beside its code: texts by name, and what kind each is."""

    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(len(text) for _, text in self.texts.values())

    def put_json(self, name: str, value: Any) -> None:
        self.texts[name] = ("application/json", to_text(msgspec.json.encode(value)))

    def put_picture(self, name: str, kind: str, data: bytes) -> None:
        self.texts[name] = (kind, b64encode(data).decode())


def make_page(library: Library, size: int) -> Page:
    """Return the page of some traces.

    Args:
        library: what is shown.
        size: bytes that it may have.

    Raises:
        TraceError: none of the traces can be read.
        UsageError: the size is too small for anything.
    """
    each = (size - code_size()) / max(1, len(library.items))
    if each < SMALLEST:
        least = code_size() + SMALLEST * len(library.items)
        traces = count_noun(len(library.items), "trace")
        raise UsageError(
            f"--size {filesize.decimal(int(size))} is too small for a page of {traces}: it takes "
            f"at least {least / 1e6:.1f}MB. Give a larger one, or fewer traces."
        )
    return _fill(library, lambda parts, item: _put_trace(parts, item, each))


def make_asking_page(library: Library) -> str:
    """Return the page of some traces without their tensors, which it asks the page around it for.

    Raises:
        TraceError: none of the traces can be read.
    """

    def put(parts: _Parts, item: Item) -> None:
        list(_put_outputs(parts, item, f"t/{item.id}"))
        _put_thumb(parts, item)
        parts.put_json(f"t/{item.id}/trace.json", msgspec.json.decode(facts_of(item, library)))
        parts.put_json(ASKS, {})

    return _fill(library, put).text


def _fill(library: Library, put: Callable[[_Parts, Item], None]) -> Page:
    """Return the page with all that can be read of the traces and comparisons."""
    parts, rows = _Parts(), list(msgspec.json.decode(library.index())["items"])
    for item, row in zip(library.items, rows, strict=True):
        if "error" in row:
            continue
        try:
            if item.kind == "comparison":
                _put_comparison(parts, item, library)
            else:
                put(parts, library.brought(item))
        except TraceError as error:
            row["error"] = str(error)
    if all("error" in row for row in rows):
        raise TraceError(str(rows[0]["error"]))
    parts.put_json("index.json", {"items": rows, "next": None, "failures": library.failures})
    data = "\n".join(_element(name, *entry) for name, entry in parts.texts.items())
    return Page(_code().replace("<!-- data -->", data), parts.left_out)


def code_size() -> int:
    """Return the bytes of a page without traces."""
    return len(_code().encode())


def _put_trace(parts: _Parts, item: Item, budget: float) -> None:
    before, at = parts.size, f"t/{item.id}"
    said = list(_put_outputs(parts, item, at))
    _put_thumb(parts, item)
    reduced = reduce(item.folder, budget - (parts.size - before) - SMALLEST / 2)
    shards = {file: to_shard(tensors) for file, tensors in reduced.files.items()}
    for file, data in shards.items():
        parts.texts[f"{at}/{file}"] = ("application/octet-stream", to_text(data))
    left_out = [*said, *reduced.facts["left_out"]]
    facts = _with_sizes(reduced, shards) | {"label": item.label, "left_out": left_out}
    parts.put_json(f"{at}/trace.json", facts | {"rounded": ROUNDED})
    parts.left_out += [f"{item.label}: {sentence}" for sentence in left_out]


def _put_comparison(parts: _Parts, item: Item, library: Library) -> None:
    """Put the tables of a comparison into the page."""
    facts = msgspec.json.decode(facts_of(item, library))
    for name in facts["tables"]:
        path = file_of(item, name)
        if path is not None:
            parts.texts[f"t/{item.id}/{name}"] = ("text/plain", to_text(read_bytes(path)))
    _put_thumb(parts, item)
    parts.put_json(f"t/{item.id}/trace.json", facts)


def _with_sizes(reduced: Reduced, shards: Mapping[str, bytes]) -> dict[str, Any]:
    for shard in reduced.facts["manifest"]["shards"]:
        shard["bytes"] = len(shards[shard["file"]])
    return reduced.facts


def _put_outputs(parts: _Parts, item: Item, at: str) -> Iterator[str]:
    """Put pictures and texts into the page, and say which are smaller than they were."""
    manifest = manifest_of(item.folder)
    for name in manifest.outputs:
        suffix = Path(name).suffix.lower()
        is_shown = suffix in (*OTHERS, *KINDS) and not name.startswith(VIDEO)
        if file_of(item, name) is None or not is_shown:
            continue
        try:
            data = read_output(item.folder, name, manifest)
        except TraceError as error:
            yield f"{name} is not there: {error}"
            continue
        if suffix in OTHERS:
            kind = "application/json" if suffix == ".json" else "text/plain"
            parts.texts[f"{at}/{name}"] = (kind, to_text(data))
        elif len(data) <= LARGE_PICTURE:
            parts.put_picture(f"{at}/{name}", KINDS[suffix], data)
        else:
            yield f"{name} {_put_smaller(parts, f'{at}/{name}', data)}."


def _put_smaller(parts: _Parts, name: str, data: bytes) -> str:
    """Put a picture into the page that is smaller than it was, and say so."""
    try:
        parts.put_picture(name, "image/webp", _smaller(data))
    except UndecodableImageError as error:
        return f"is not there: {error}"
    return f"is smaller than it was made: {PICTURE_SIDE} pixels at most"


def _put_thumb(parts: _Parts, item: Item) -> None:
    """Put the small picture of the list into the page."""
    picture = picture_of(item)
    small = thumbnail(picture) if picture else None
    if small is not None:
        parts.put_picture(f"t/{item.id}/thumb", "image/jpeg", small)


def _smaller(data: bytes) -> bytes:
    small = decode_image(data, SHOWN).convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    stream = BytesIO()
    small.save(stream, "WEBP", quality=90)
    return stream.getvalue()


def _element(name: str, kind: str, text: str) -> str:
    return (
        f'<script type="text/plain" data-name="{escape(name)}" data-kind="{kind}">{text}</script>'
    )


@cache
def _code() -> str:
    """Return the page without its data; only its own script and styles may do anything in it."""
    script, styles = join_script(), join_styles()
    allowed = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(styles)}; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    licences = "\n".join((STATIC / name).read_text("utf-8") for name in LICENCES)
    return f"""<!doctype html>
{MARK}
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>attn</title>
<link rel="icon" href="data:,">
<style>{styles}</style>
<!-- It holds preact and htm, under these licences:
{licences.replace("--", "- -")}
-->
</head>
<body>
{page_body()}
<!-- data -->
<script type="module">{script}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
