"""SHA-256 of what is listed and looked at, held against what is written, in the background."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from time import monotonic, sleep

from attn.errors import TraceError
from attn.explorer.listing.library import Library
from attn.explorer.opened import manifest_of
from attn.files.digests import require_digest

HEAD_START = 5e8
"""Bytes of a trace for which the page has the disk to itself for a second, two at most."""


@dataclass
class Checks:
    """What is known of the files of one trace.

    Attributes:
        files: how many there are.
        checked: how many were held against their digest.
        damaged: why some are not as they were written.
    """

    files: int = 0
    checked: int = 0
    damaged: list[str] = field(default_factory=list)


class Checker:
    """Checks every trace once, each in a thread of its own that ends with the process."""

    def __init__(self) -> None:
        self._checks: dict[Path, Checks] = {}
        self._is_listed = False
        self._lock = Lock()

    def look_at_list(self, library: Library) -> None:
        """Begin, once, to hold the manifests that are listed against their digests."""
        with self._lock:
            if self._is_listed:
                return
            self._is_listed = True
        Thread(target=_check_list, args=(library,), daemon=True).start()

    def look(self, folder: Path) -> Checks:
        """Return what is known of a trace; the first look begins the check.

        Raises:
            TraceError: its manifest cannot be read.
        """
        manifest = manifest_of(folder)
        with self._lock:
            if folder in self._checks:
                return self._checks[folder]
            checks = self._checks[folder] = Checks(len(manifest.shards))
        listed = [(folder / shard.file, shard.sha256) for shard in manifest.shards]
        wait = min(2, sum(shard.bytes for shard in manifest.shards) / HEAD_START)
        Thread(target=_check, args=(listed, checks, wait), daemon=True).start()
        return checks


def _check_list(library: Library) -> None:
    began = monotonic()
    for _ in library.check():
        sleep(monotonic() - began)  # half of the time is the page's
        began = monotonic()


def _check(listed: list[tuple[Path, str]], checks: Checks, wait: float) -> None:
    for path, digest in listed:
        sleep(wait)
        began = monotonic()
        try:
            require_digest(path, digest)
        except TraceError as error:
            checks.damaged.append(str(error))
        checks.checked += 1
        wait = monotonic() - began  # half of the time is the page's
