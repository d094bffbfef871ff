"""SHA-256 of what is listed and looked at, held against what is written, in the background."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from time import monotonic, sleep

from attn.errors import TraceError
from attn.explorer.listing.items import Item
from attn.explorer.listing.library import Library
from attn.explorer.opened import manifest_of, version_of
from attn.files.digests import output_digest, require_digest
from attn.schema import Manifest

HEAD_START = 5e8
"""Bytes of a trace for which the page has the disk to itself for a second, two at most."""


@dataclass
class Checks:
    """What is known of the files of one trace.

    Attributes:
        files: how many there are.
        checked: how many were held against their digest.
        damaged: why some are not as they were written.
        version: another one when what is opened was written again.
    """

    files: int = 0
    checked: int = 0
    damaged: list[str] = field(default_factory=list)
    version: str = ""


Findings = dict[tuple[str, str], str | None]
"""What is wrong with a file of a digest: nothing, or a sentence; None while it is checked."""


class Checker:
    """Checks every file once, those of a trace in a thread that ends with the process."""

    def __init__(self) -> None:
        self._findings: dict[Path, Findings] = {}
        self._is_listed = False
        self._lock = Lock()

    def look_at_list(self, library: Library) -> None:
        """Begin, once, to hold the manifests that are listed against their digests."""
        with self._lock:
            if self._is_listed:
                return
            self._is_listed = True
        Thread(target=_check_list, args=(library,), daemon=True).start()

    def look(self, item: Item) -> Checks:
        """Return what is known of a trace or comparison; files that are new begin to be checked.

        Raises:
            TraceError: its index cannot be read, or is not there any more.
        """
        version = version_of(item)
        if item.kind == "comparison":
            return Checks(version=version)
        sizes = _sizes(manifest_of(item.folder))
        with self._lock:
            findings = self._findings.setdefault(item.folder, {})
            new = [key for key in sizes if key not in findings]
            findings.update(dict.fromkeys(new))
            known = [findings[key] for key in sizes]
        if new:
            wait = min(2, sum(sizes[key] for key in new) / HEAD_START)
            Thread(target=_check, args=(item.folder, new, findings, wait), daemon=True).start()
        done = [finding for finding in known if finding is not None]
        return Checks(len(known), len(done), [finding for finding in done if finding], version)


def _sizes(manifest: Manifest) -> dict[tuple[str, str], int]:
    """Return the bytes of files by name and digest; outputs come first, and count nothing."""
    outputs = {name: output_digest(manifest, name) for name in manifest.outputs}
    sizes = {(name, digest): 0 for name, digest in outputs.items() if digest is not None}
    return sizes | {(shard.file, shard.sha256): shard.bytes for shard in manifest.shards}


def _check_list(library: Library) -> None:
    began = monotonic()
    for _ in library.check():
        sleep(monotonic() - began)  # half of the time is the page's
        began = monotonic()


def _check(folder: Path, listed: list[tuple[str, str]], findings: Findings, wait: float) -> None:
    for file, digest in listed:
        sleep(wait)
        began = monotonic()
        try:
            require_digest(folder / file, digest)
            findings[file, digest] = ""
        except TraceError as error:
            findings[file, digest] = str(error)
        wait = monotonic() - began  # half of the time is the page's
