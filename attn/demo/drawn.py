"""The files of a ScribbleDiffusion checkpoint, beside the folder of the pipeline around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

ENCODER = "sketch_encoder"


def save_states(folder: Path, unet: torch.nn.Module, encoder: Mapping[str, torch.Tensor]) -> None:
    """Add the three files of a checkpoint; its combiner has no weights.

    Args:
        folder: of the pipeline.
        unet: its UNet.
        encoder: weights of the sketch encoder, by name.
    """
    states = {"unet": unet.state_dict(), ENCODER: encoder, "sketch_text_combiner": {}}
    for name, state in states.items():
        dense = {key: tensor.detach().clone().contiguous() for key, tensor in state.items()}
        save_file(dense, folder / f"{name}.safetensors")
