"""One LoRA in the spellings of the programs that train and load them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

Factors = Mapping[str, tuple[Tensor, Tensor]]
"""Down and up of each module."""

SPELLINGS = {
    "diffusers": ("transformer.{}.lora_A.weight", "transformer.{}.lora_B.weight"),
    "peft": ("base_model.model.{}.lora_A.weight", "base_model.model.{}.lora_B.weight"),
    "ai-toolkit": ("transformer.{}.lora_down.weight", "transformer.{}.lora_up.weight"),
    "kohya": ("lora_unet_{}.lora_down.weight", "lora_unet_{}.lora_up.weight"),
    "comfyui": ("diffusion_model.{}.lora_A.weight", "diffusion_model.{}.lora_B.weight"),
}
"""By program, the names of down and up; the last two name modules as the model's authors do."""
OF_AUTHORS = ("kohya", "comfyui")


def write(folder: Path, library: Factors, authors: Factors) -> Path:
    """Write a file for each spelling, and return the folder.

    Args:
        folder: where to.
        library: the changes by diffusers' paths.
        authors: the same by the paths of the model's authors.
    """
    for spelling, patterns in SPELLINGS.items():
        factors = authors if spelling in OF_AUTHORS else library
        tensors = {
            pattern.format(name.replace(".", "_") if spelling == "kohya" else name): factor
            for name, pair in factors.items()
            for pattern, factor in zip(patterns, pair, strict=True)
        }
        save_file(tensors, folder / f"{spelling}.safetensors")
    return folder
