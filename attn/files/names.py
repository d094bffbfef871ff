"""Names of files that several parts read; and URLs, which are no names of files here."""

from __future__ import annotations

import re
from pathlib import Path

SAFETENSORS = ".safetensors"
"""Ending of weights, of LoRAs, and of the tensors of a trace."""
COLLECTION = "index.json"
"""What lists the traces of a collection, in its folder."""
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(?:://|::\S*://)")
"""How a URL begins, also one of an archive: `zip://RUN::s3://BUCKET/FILE.zip`."""
HERE = ("file", "local")
"""Kinds of URL that name a path of this machine."""


def path_or_url(text: str | Path) -> Path | str:
    """Return a URL as it is, and anything else as a path; `file:///FOLDER` is a path."""
    match = URL.match(text) if isinstance(text, str) else None
    if match is None:
        return Path(text)
    plain = str(text)
    is_here = match[1].lower() in HERE and "::" not in plain
    return Path(plain[match.end() :]) if is_here else plain


def is_url(text: object) -> bool:
    """Whether something is the URL of files that are elsewhere."""
    return isinstance(text, str) and isinstance(path_or_url(text), str)


def shown_url(url: str) -> str:
    """Return a URL for messages: without a password."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:…@", url)
