"""Folders and globs of LoRAs: the files of a training, in the order of its epochs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path

from attn.errors import ModelError
from attn.files.disk import is_file, is_folder, is_there
from attn.files.names import SAFETENSORS
from attn.wording import list_some

LISTED = 5
"""So many names are told of what is in a folder."""


def lora_files(path: str) -> list[str]:
    """Return the LoRAs that a path stands for, in natural order, the end of a training last.

    Args:
        path: a file, or a folder as a library saves one LoRA, which stands for themselves; a folder
            of LoRA files, or of such folders; or a glob.

    Raises:
        ModelError: a folder or glob without a LoRA, with what is there.
    """
    if is_folder(Path(path)):
        return _of_folder(Path(path))
    if has_magic(path) and not is_there(Path(path)):
        return _of_glob(path)
    return [path]


def _of_folder(folder: Path) -> list[str]:
    if _is_saved_lora(folder):
        return [str(folder)]
    there = sorted(folder.iterdir())
    found = list(_loras(there))
    if found:
        return in_order(found)
    shown = list_some((path.name for path in there), LISTED)
    raise ModelError(
        f"{folder} holds no LoRA; there is {shown}. Give a folder of {SAFETENSORS} files as "
        "kohya, peft, diffusers or LyCORIS save them"
    )


def _of_glob(pattern: str) -> list[str]:
    there = [Path(path) for path in glob(pattern, recursive=True)]  # noqa: PTH207 - may be absolute
    found = list(_loras(there))
    if found:
        return in_order(found)
    folder = Path(pattern).parent
    near = sorted(path.name for path in folder.glob("*")) if not has_magic(str(folder)) else []
    shown = f"; {folder} holds {list_some(near, LISTED)}" if is_folder(folder) else ""
    raise ModelError(
        f"no LoRA matches {pattern}{shown}. Give a folder of LoRAs, or a pattern of "
        f"{SAFETENSORS} files"
    )


def in_order(paths: Iterable[str]) -> list[str]:
    """Return paths in natural order; a name without the number that others end in is the last.

    Trainers write `style-000001`, `style-000002`, …, and `style` at the end.
    """
    listed = list(paths)
    stems = {re.sub(r"[-_]?\d+\Z", "", _stem(path)) for path in listed if _is_numbered(path)}

    def key(path: str) -> tuple[str, bool, list[tuple[int, str]]]:
        is_end = not _is_numbered(path) and _stem(path) in stems
        digits = re.split(r"(\d+)", _stem(path))
        return (
            str(Path(path).parent),
            is_end,
            [(int(d), "") if d.isdecimal() else (0, d) for d in digits],
        )

    return sorted(listed, key=key)


def _stem(path: str) -> str:
    return Path(path).name.removesuffix(SAFETENSORS)


def _is_numbered(path: str) -> bool:
    return re.search(r"\d\Z", _stem(path)) is not None


def _is_saved_lora(folder: Path) -> bool:
    """Whether a library saved one LoRA as this folder."""
    from attn.lora.source import NAMES

    return any(is_file(folder / name) for name in NAMES)


def _loras(paths: Iterable[Path]) -> Iterator[str]:
    """Yield those paths that hold a LoRA, or what looks like one and cannot be read."""
    from attn.checkpoints.headers import read_header
    from attn.lora import is_lora

    for path in paths:
        if is_folder(path):
            if _is_saved_lora(path):
                yield str(path)
        elif path.name.lower().endswith(SAFETENSORS):
            try:
                is_other = not is_lora(read_header(path))
            except ModelError:  # which is said when it is read
                is_other = False
            if not is_other:
                yield str(path)
