"""One LoRA in the spellings of the programs that train and load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from attn.backends.types import Session
from attn.lora.base.fit import fit
from attn.lora.base.weights import open_base
from attn.lora.reader import read
from attn.schema import Lora, Request

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


def write_cross_key(folder: Path) -> Path:
    """Write one that changes the key of a cross-attention, which PixArt and Sana call alike."""
    generator = torch.Generator().manual_seed(0)
    down, up = (torch.randn(*shape, generator=generator) for shape in ((5, 24), (24, 5)))
    return write(
        folder,
        {"transformer_blocks.1.attn2.to_k": (down, up)},
        {"blocks.1.cross_attn.kv_linear": (down, torch.cat([up, torch.zeros(24, 5)]))},
    )


def check_spelling(
    session: Session, folder: Path, spelling: str, models: Sequence[Path], placed: int, **more: Any
) -> None:
    """Check that a spelling draws what `diffusers` draws, leaves nothing, and fits the models.

    Args:
        session: of a tiny model.
        folder: what `write` returned.
        spelling: of the file.
        models: the same model in other layouts.
        placed: modules that the file changes.
        more: of the request.
    """

    def picture(*loras: Lora) -> NDArray[np.uint8]:
        request = Request("a red cat", loras=loras, steps=2, width=96, height=64, **more)
        return np.asarray(session.generate([session.complete(request)], None)[0].images[0])

    path = folder / f"{spelling}.safetensors"
    plain, changed = picture(), picture(Lora(str(path)))
    assert not np.array_equal(plain, changed)
    assert np.array_equal(changed, picture(Lora(str(folder / "diffusers.safetensors"))))
    assert np.array_equal(plain, picture())
    for model in models:
        result = fit(read(path), open_base(model))
        assert (len(result.placed), result.misfits) == (placed, ())
