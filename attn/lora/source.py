"""Where a LoRA's tensors are: a file, or a folder as peft and diffusers save them."""

from __future__ import annotations

from pathlib import Path

from attn.errors import ModelError
from attn.files.disk import is_folder
from attn.lora.adapters import WEIGHTS

NAMES = (WEIGHTS, "pytorch_lora_weights.safetensors")
"""What peft and diffusers call the file in a folder."""


def weights_file(path: Path) -> Path:
    """Return the file of a LoRA; of a folder that which its library reads, or the only one.

    Raises:
        ModelError: a folder without such a file, or with several.
    """
    if not is_folder(path):
        return path
    there = sorted(file.name for file in path.glob("*.safetensors"))
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
