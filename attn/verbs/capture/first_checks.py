"""What costs little is checked first: before a family is imported, which takes seconds.

A backend may read more kinds of files, and words in place of files: whatever could be such a thing
is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from attn.checkpoints.headers import Header, read_header
from attn.errors import ModelError, UsageError
from attn.files.disk import is_folder
from attn.files.images import read_drawing
from attn.files.names import SAFETENSORS
from attn.files.outside import refuse_special
from attn.lora.source import read_lora_header
from attn.schema import Lora
from attn.verbs.capture.folders import refuse_contents, refuse_parts

MODEL = "a .safetensors file or the folder of a model"
LORA = "a .safetensors file or the folder of a LoRA"


def check_model(model: object) -> None:
    """Refuse a model that is no regular file or folder, or a damaged .safetensors file.

    Raises:
        ModelError: says what it is.
    """
    if isinstance(model, str | Path):
        _check_weights(Path(model), MODEL, read_header)


def check_loras(loras: Sequence[Lora]) -> None:
    """Refuse LoRAs that are no regular files or folders, or files that are damaged or too large.

    Raises:
        ModelError: says what it is.
    """
    for lora in loras:
        _check_weights(Path(lora.path), LORA, read_lora_header)


def check_drawing(name: str | None) -> None:
    """Refuse a drawing that is no picture, damaged or too large; what may be a word is left.

    Raises:
        UsageError: says what it is.
    """
    path = Path(name or "").expanduser()
    if path.suffix or path.parent != Path():
        read_drawing(path)


def check_folder(out: str | Path | None, *, resume: bool) -> None:
    """Refuse a folder for a capture that is not new, or part of a trace or of results.

    Raises:
        UsageError: there is none to go on with.
        AttnError: it is not to be written into.
    """
    if out is None and resume:
        raise UsageError("resume: say which folder to go on with, with --out DIR")
    if out is not None:
        refuse_parts(Path(out))
        if not resume:
            refuse_contents(Path(out))


def _check_weights(typed: Path, expected: str, read: Callable[[Path], Header]) -> None:
    path = typed.expanduser()
    refuse_special(path, expected, ModelError)
    if path.suffix.lower() == SAFETENSORS and not is_folder(path):
        read(path)
