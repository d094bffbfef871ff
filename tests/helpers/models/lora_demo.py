"""LoRAs of the demo models in the names of kohya and peft, and what they make of the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.helpers.models import layouts
from tests.helpers.models.lora_files import write

ALPHA, RANK = 5.0, 3
SIZE = 0.4
"""Standard deviation of the factors: enough to see in the picture of a tiny model."""
PREFIXES = {
    "unet": "lora_unet_",
    "transformer": "lora_unet_",
    "text_encoder": "lora_te1_",
    "text_encoder_2": "lora_te2_",
    "text_encoder_3": "lora_te3_",
}
ENDS = {
    "unet": ("to_q", "to_k", "to_out.0", "ff.net.0.proj", "proj_in", "conv1"),
    "transformer": ("attn.to_q", "attn.add_k_proj", "attn.to_out.0", "ff.net.2", "norm1.linear"),
    "text_encoder": ("q_proj", "fc1"),
    "text_encoder_2": ("k_proj", "out_proj"),
    "text_encoder_3": ("SelfAttention.q",),
}
"""Layers of each component that `changes` makes factors for."""


class Pair(NamedTuple):
    """Factors of a change, ALPHA / RANK · up · down."""

    down: NDArray[Any]
    up: NDArray[Any]

    @property
    def change(self) -> NDArray[np.float64]:
        """The change itself."""
        up, down = (item.reshape(len(item), -1).astype(float) for item in (self.up, self.down))
        return (ALPHA / RANK * up @ down).reshape(len(up), *self.down.shape[1:])


Pairs = dict[tuple[str, str], Pair]
"""By component and path."""


def pair(rng: np.random.Generator, shape: tuple[int, ...]) -> Pair:
    """Return random factors of a change of this shape."""
    ones = (1,) * (len(shape) - 2)
    down = rng.standard_normal((RANK, *shape[1:])) * SIZE
    up = rng.standard_normal((shape[0], RANK, *ones)) * SIZE / 5
    return Pair(down.astype(np.float32), up.astype(np.float32))


def changes(pipe: Any, *components: str, seed: int = 3) -> Pairs:
    """Return random changes of some layers of a pipeline's components, or of all of them."""
    rng = np.random.default_rng(seed)
    result = {}
    for component in components or ENDS:
        model = getattr(pipe, component, None)
        for path, module in model.named_modules() if model is not None else ():
            if path.endswith(ENDS[component]) and hasattr(module, "weight"):
                result[component, path] = pair(rng, tuple(module.weight.shape))
    return result


def kohya(path: Path, pairs: Pairs, **metadata: str) -> Path:
    """Write changes as sd-scripts does."""
    tensors = {}
    for (component, name), item in pairs.items():
        stem = PREFIXES[component] + name.replace(".", "_")
        tensors |= {f"{stem}.lora_down.weight": item.down, f"{stem}.lora_up.weight": item.up}
        tensors[f"{stem}.alpha"] = np.array(ALPHA, np.float32)
    return write(path, tensors, **metadata)


def peft(path: Path, pairs: Pairs) -> Path:
    """Write changes as diffusers saves those of peft, with alpha in the metadata."""
    tensors, config = {}, {}
    for (component, name), item in pairs.items():
        stem = f"{component}.{name}"
        tensors |= {f"{stem}.lora_A.weight": item.down, f"{stem}.lora_B.weight": item.up}
        config |= {f"{component}.lora_alpha": ALPHA, f"{component}.r": RANK}
    return write(path, tensors, lora_adapter_metadata=json.dumps(config))


def original(denoiser: Any) -> layouts.State:
    """Return a denoiser's weights in the names that kohya's are made of: LDM's or Stability's."""
    is_unet = hasattr(denoiser, "up_blocks")
    return layouts.unet(denoiser) if is_unet else layouts.mmdit(denoiser)


def for_original(denoiser: Any, seed: int = 7) -> dict[str, Pair]:
    """Return a random change of every layer of a denoiser, by its path in the other layout."""
    rng = np.random.default_rng(seed)
    return {
        name.removesuffix(".weight"): pair(rng, tuple(value.shape))
        for name, value in original(denoiser).items()
        if name.endswith(".weight") and value.ndim > 1
    }


def merged(model: Any) -> Any:
    """Return a copy of a model with its active LoRAs in its weights, in float64, as peft merges."""
    from peft.tuners.lora import LoraLayer

    twin = deepcopy(model).double()
    for path, layer in list(twin.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            twin.set_submodule(path, layer.get_base_layer())
    return twin


def by_hand(model: Any, pairs: Mapping[str, Pair]) -> Any:
    """Return a copy of a model with changes, by path, added to its weights in float64."""
    import torch

    twin = deepcopy(model).double()
    for path, item in pairs.items():
        twin.get_submodule(path).weight.data += torch.from_numpy(item.change)
    return twin


def states(pipe: Any) -> dict[str, Any]:
    """Return the weights of a pipeline's parts with its active LoRAs in them, in float64."""
    parts = {part: getattr(pipe, part, None) for part in ENDS}
    return {
        f"{part}.{name}": values
        for part, model in parts.items()
        if model is not None
        for name, values in merged(model).state_dict().items()
    }
