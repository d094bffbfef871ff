"""Where a LoRA's tensors are: a file, or a folder as peft and diffusers save them."""

from __future__ import annotations

from pathlib import Path

from rich import filesize

from attn.checkpoints.headers import Header, read_header
from attn.errors import ModelError
from attn.files.disk import is_folder
from attn.files.names import SAFETENSORS
from attn.lora.adapters import WEIGHTS

NAMES = (WEIGHTS, "pytorch_lora_weights.safetensors")
"""What peft and diffusers call the file in a folder."""
LARGEST = 2**33
"""Bytes of a file: more than the differences of all weights of SDXL take, in float16."""


def read_lora_header(path: Path) -> Header:
    """Read the header of a LoRA's file, whose bytes are few enough to read all of them.

    Args:
        path: a file, or a folder as for `weights_file`.

    Raises:
        ModelError: the file cannot be read, is damaged, or larger than any LoRA.
    """
    header = read_header(weights_file(path))
    size = size_of(header)
    if size > LARGEST:
        raise ModelError(
            f"{header.path} has {filesize.decimal(size)}, more than any LoRA: at most "
            f"{filesize.decimal(LARGEST)} are read; is it a model? that goes to --model"
        )
    return header


def size_of(header: Header) -> int:
    """Return the bytes of a file that has tensors."""
    return max((info.stop for info in header.tensors.values()), default=0)


def weights_file(path: Path) -> Path:
    """Return the file of a LoRA; of a folder that which its library reads, or the only one.

    Raises:
        ModelError: a folder without such a file, or with several.
    """
    if not is_folder(path):
        return path
    there = sorted(file.name for file in path.glob(f"*{SAFETENSORS}"))
    names = [name for name in NAMES if name in there] or there
    if len(names) == 1:
        return path / names[0]
    if names:
        raise ModelError(
            f"{path} holds {len(names)} files that may be the LoRA ({', '.join(names[:4])}); "
            "give one of them"
        )
    pickled = next((file.name for file in sorted(path.glob("*.bin"))), "")
    told = f"; {pickled} is pickled, which is not read: save it as .safetensors" if pickled else ""
    others = sorted(entry.name for entry in path.iterdir())[:4]
    found = told or f"; there is {', '.join(others) or 'nothing'}"
    raise ModelError(f"{path} holds no LoRA: expected {' or '.join(NAMES)} in this folder{found}")
