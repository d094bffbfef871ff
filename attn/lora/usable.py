"""Which LoRA files a model can be changed by: all that the files say, before a model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from attn.errors import ModelError
from attn.lora.file import LoraFile
from attn.lora.oddities import obstacles
from attn.lora.reader import read
from attn.schema import Lora

NAMED = 3
"""So many modules are named, more are counted."""
REMEMBERED = 8
"""Files whose contents are kept, so that many requests with the same LoRA read it once."""


def completed(loras: Sequence[Lora], family: str) -> tuple[Lora, ...]:
    """Return LoRAs with their SHA-256, in an order that does not depend on that of the arguments.

    Args:
        loras: in any order.
        family: of the model, as `attn.lora.families` names it.

    Raises:
        ModelError: see `usable`.
    """
    known = [replace(one, sha256=usable(one, family).sha256) for one in loras]
    return tuple(sorted(known, key=lambda one: (one.sha256 or "", one.scale, one.path)))


def usable(lora: Lora, family: str) -> LoraFile:
    """Read a LoRA file that a model of this family can be changed by.

    Raises:
        ModelError: it cannot be read, holds no LoRA, was replaced since its SHA-256 was taken, is
            of another family, of a kind that is not applied, damaged, not finite, or all zeros.
    """
    path = Path(lora.path).expanduser()
    file = _read(path, _stamp(path))
    if lora.sha256 not in (None, file.sha256):
        raise ModelError(
            f"{path} was replaced: its SHA-256 was {lora.sha256} and is {file.sha256} now; "
            "give the same file again, or begin another run"
        )
    flaw = next(_flaws(file, family), None)
    if flaw is not None:
        raise ModelError(f"{path}: {flaw} (`attn lora FILE` lists its modules)")
    return file


@lru_cache(maxsize=REMEMBERED)
def _read(path: Path, stamp: tuple[int, ...]) -> LoraFile:
    return read(path)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file does; nothing if it is not there, which `read` will tell."""
    try:
        info = path.stat()
    except OSError:
        return ()
    return (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _flaws(file: LoraFile, family: str) -> Iterator[str]:
    """Yield why a file cannot be used, the most fundamental first."""
    of = file.family
    if of.name not in (None, family):
        because = f", since {of.evidence[0]}" if of.evidence else ""
        yield (
            f"this LoRA is for {of.title} ('{of.name}'){because}; the model is of the family "
            f"'{family}': choose the backend of the LoRA's family, or another LoRA"
        )
    if found := obstacles(file.modules):
        names = list(dict.fromkeys(name for own in found.values() for name in own))
        told = f": {listed(names)}" if names else ""
        yield f"this LoRA cannot be applied: {', '.join(found)}{told}"


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many there are beyond."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
