"""Packages that the environment switches off."""

from __future__ import annotations

import os

DISABLE = "ATTN_DISABLE_PLUGINS"
ALL = ("1", "true", "all")
NONE = ("", "0", "false", "none")


def is_switched_off(names: set[str]) -> bool:
    """Whether the environment switches a plugin off, by any of its names or with all others."""
    return bool(switched_off_names() & {*ALL, *names})


def switched_off_names() -> set[str]:
    """Return the names, in their normal form, that the environment switches off."""
    return {normalise(name) for name in os.environ.get(DISABLE, "").split(",")} - {""}


def normalise(name: str) -> str:
    """Return the name of a package in its normal form."""
    return name.strip().lower().replace("_", "-").replace(".", "-")
