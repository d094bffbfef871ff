"""The first and the last fields of a manifest, without what lies between.

A manifest has a hundred kilobytes, most of them tokens and layers. Its first fields say of what a
trace is, its last ones what was made: of ten thousand manifests, two small reads each.
"""

from __future__ import annotations

import os
from typing import TypeVar

from attn.files.digests import is_sealed
from attn.files.outside import DAMAGED, decode, open_regular
from attn.trace.store import MANIFEST

T = TypeVar("T")

END = 4096
"""Bytes that are read of each end."""
FIELD = b',\n "'
"""What a field begins with, as `encode_json` lays it out; fields inside of it stand further in."""


def read_ends(folder: str, kind: type[T]) -> T | None:
    """Return fields of a manifest, all of which lie near its ends.

    It is not held against its digest: who believes it must do so later.

    Args:
        folder: of the trace.
        kind: a type with these fields.

    Returns:
        None of a manifest that is not sealed, or that must be read altogether.
    """
    try:
        with open_regular(f"{folder}/{MANIFEST}") as stream:
            head = stream.read(END)
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - END))
            tail = stream.read(END)
    except OSError:
        return None
    stop, start = head.rfind(FIELD), tail.find(FIELD)
    if min(stop, start) < 0 or not is_sealed(tail):
        return None
    try:
        return decode(head[:stop] + tail[start:], kind)
    except DAMAGED:
        return None
