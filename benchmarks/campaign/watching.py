"""What a command must not do, whatever it reads: start processes, or leave its folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attn.backends.loading.templates import process

SCRIPT = Path(process.__file__)
"""What fills chat templates, in bounds: the only process that a command may start."""
STARTS = {"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "os.spawn"}
"""Audit events of processes."""


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Refuse, in the block, processes, a look at the canary, and writing outside the folder."""
    is_on, canary = True, folder.resolve() / "canary"
    canary.mkdir()
    (canary / "secret.txt").write_text("secret")

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not is_on:
            return
        is_ours = event == "subprocess.Popen" and str(SCRIPT) in arguments[1]
        assert event not in STARTS or is_ours, f"a process was started: {event} {arguments[:2]}"
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = Path(os.path.realpath(os.fsdecode(arguments[0])))
            assert not path.is_relative_to(canary), "the canary was opened"
            if (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
                is_inside = path.is_relative_to(folder.resolve()) or str(path).startswith("/dev/")
                assert is_inside, f"{path} was written, which lies outside"

    sys.addaudithook(watch)
    try:
        yield
    finally:
        is_on = False
