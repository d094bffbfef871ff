"""The options of `attn view`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from attn.verbs import checks
from attn.verbs.options import About, validate

HIGHEST_PORT = 2**16 - 1


LOOPBACK = "127.0.0.1"
Port = Annotated[
    int | None, About("Default: the first free one from 7860.", least=0, most=HIGHEST_PORT)
]
Host = Annotated[str, About("Address to listen at.", check=checks.text)]
AllowHost = Annotated[
    Sequence[str],
    About("A further name of this server; may be repeated.", check=checks.host_names),
]
Browser = Annotated[
    bool, About("Open the page, or print its address.", ("--browser/--no-browser",))
]
"""Options of every server of pages."""


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How traces are shown."""

    out: Annotated[
        str | Path | None,
        About("Write one file that opens anywhere, offline.", ("--out", "-o"), check=checks.page),
    ] = None
    size: Annotated[
        int | str,
        About(
            "Bytes of that file; what does not fit is left out, and said.",
            python="Bytes of the file, or a text such as 20MB; what does not fit is left out.",
            check=checks.byte_limit,
        ),
    ] = "20MB"
    port: Port = None
    host: Host = LOOPBACK
    allow_host: AllowHost = ()
    browser: Browser = True

    def __post_init__(self) -> None:
        validate(self)

    @property
    def limit(self) -> int:
        """The bytes of `size`."""
        return checks.byte_limit("size", self.size)
