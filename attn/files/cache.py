"""The user's cache: what can be made again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the folder in the environment variable `ATTN_CACHE`, or the platform's own."""
    return Path(os.environ.get("ATTN_CACHE") or platformdirs.user_cache_path("attn"))
