"""The user's cache: what can be made again, and a key that tells what was made here."""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_bytes

import platformdirs

from attn.files.disk import is_file, reported, write_atomic
from attn.files.locks import folder_lock
from attn.files.outside import read_bytes

KEY = "key"
KEY_BYTES = 32
HINT = "Set ATTN_CACHE to a folder that can be written."


def cache_folder() -> Path:
    """Return the folder in the environment variable `ATTN_CACHE`, or the platform's own."""
    return Path(os.environ.get("ATTN_CACHE") or platformdirs.user_cache_path("attn"))


def cache_key(*, make: bool = False) -> bytes | None:
    """Return random bytes that stay: what they sign was written by somebody with this cache.

    Args:
        make: them, if there are none.

    Returns:
        None where there are none.

    Raises:
        TraceError: they cannot be read or written.
    """
    path = cache_folder() / KEY
    if make and not is_file(path):
        with reported(path, hint=HINT):
            path.parent.mkdir(parents=True, exist_ok=True)
        with reported(path, hint=HINT), folder_lock(path.parent, wait=True):
            if not is_file(path):  # another process was here first
                write_atomic(path, token_bytes(KEY_BYTES))
    return read_bytes(path, limit=KEY_BYTES, hint=HINT) if is_file(path) else None
