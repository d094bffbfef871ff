"""The versions of this package and of those that it stands on."""

from __future__ import annotations

from functools import cache


@cache
def find_version(package: str) -> str:
    """Return the version of an installed package; nothing where it is not installed."""
    from importlib.metadata import (  # noqa: PLC0415 - costs what `attn --help` need not
        PackageNotFoundError,
        version,
    )

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def attn_version() -> str:
    """Return the version of this package, also where it runs from a source tree."""
    return find_version("attn") or "0+unknown"
