"""Which LoRA files a model can be changed by: all that the files say, before a model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from attn.checkpoints.families import backend_of
from attn.checkpoints.lora_kinds import LoraFamily
from attn.errors import ModelError
from attn.lora.adapters import CONFIG
from attn.lora.file import LoraFile
from attn.lora.reader import read
from attn.lora.source import weights_file
from attn.schema import Lora
from attn.wording import list_some

NAMED = 3
"""So many modules are named, more are counted."""
REMEMBERED = 8
"""Files whose contents are kept, so that many requests with the same LoRA read it once."""


def completed(loras: Sequence[Lora], families: Sequence[str]) -> tuple[Lora, ...]:
    """Return LoRAs with their digests, in an order that does not depend on that of the arguments.

    Args:
        loras: in any order.
        families: that the model may be of, as `attn.lora.families` names them.

    Raises:
        ModelError: see `usable`.
    """
    completed_loras = [_with_digests(lora, usable(lora, families)) for lora in loras]
    return tuple(sorted(completed_loras, key=_order))


def _order(lora: Lora) -> tuple[object, ...]:
    seed = -1 if lora.null is None else lora.null
    return lora.sha256 or "", lora.scale, lora.parts, lora.path, lora.modules, seed


def _with_digests(lora: Lora, file: LoraFile) -> Lora:
    return replace(lora, sha256=file.sha256, config_sha256=file.config_sha256)


def usable(lora: Lora, families: Sequence[str]) -> LoraFile:
    """Read a LoRA file that a model of one of these families may be changed by.

    Raises:
        ModelError: it cannot be read, holds no LoRA, was replaced since its digests were taken, is
            of another family, of a kind that is not applied, damaged, or not finite.
    """
    path = Path(lora.path).expanduser()
    file = _read(path, lora.adapter, _stamp(path))
    if lora.sha256 is not None and lora != _with_digests(lora, file):
        was, now = (lora.sha256, lora.config_sha256), (file.sha256, file.config_sha256)
        what, old, new = (
            (path, was[0], now[0]) if was[0] != now[0] else (f"{CONFIG} of {path}", was[1], now[1])
        )
        raise ModelError(
            f"{what} was replaced: its SHA-256 was {old} and is {new} now; "
            "give the same file again, or begin another run"
        )
    flaw = next(_flaws(file, families), None)
    if flaw is not None:
        raise ModelError(f"{path}: {flaw} (`attn lora FILE` lists its modules)")
    return file


@lru_cache(maxsize=REMEMBERED)
def _read(path: Path, adapter: str | None, stamp: tuple[int, ...]) -> LoraFile:
    return read(path, adapter=adapter)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return numbers that change when a file or its configuration changes."""
    file = weights_file(path)
    stamps = (_stamp_of(path) for path in (file, file.parent / CONFIG))
    return tuple(number for stamp in stamps for number in (len(stamp), *stamp))


def _stamp_of(path: Path) -> tuple[int, ...]:
    """Return numbers of a file, none if it is not there, which `read` will tell."""
    try:
        info = path.stat()
    except OSError:
        return ()
    return (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _flaws(file: LoraFile, families: Sequence[str]) -> Iterator[str]:
    """Yield why a file cannot be used, the most fundamental first."""
    if file.family.is_certain and file.family.name not in (None, *families):
        yield other_family(file.family, families[0])
    if file.obstacles:
        names = list(
            dict.fromkeys(
                name for names_of_reason in file.obstacles.values() for name in names_of_reason
            )
        )
        told = f": {list_some(names, NAMED)}" if names else ""
        yield f"this LoRA cannot be applied: {', '.join(file.obstacles)}{told}"


def other_family(family: LoraFamily, of_model: str) -> str:
    """Describe a LoRA of another family than the model's, with the remedy."""
    because = f", since {family.evidence[0]}" if family.evidence else ""
    backend = backend_of(family.name)
    way = f"a model of its family (--backend {backend})" if backend else "another LoRA"
    lacking = "" if backend else ", for which there is no backend here"
    return (
        f"this LoRA is for {family.title} ('{family.name}'){lacking}{because}; the model is of the "
        f"family '{of_model}': choose {way}"
    )
