"""Rename a LoRA from the names of peft to those of sd-scripts, as trainers publish them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]

PEFT = re.compile(r"(?P<model>\w+)\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
JOINT = re.compile(r"transformer_blocks\.(\d+)\.(attn2?)\.(\w+?)(?:\.0)?")
SIDES = {"A": "down", "B": "up"}
STREAMS = {
    "x_block": (("to_q", "to_k", "to_v"), "to_out"),
    "context_block": (("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out"),
}
"""Projections of SD3 that SAI's names join to `qkv`, and the one that they call `proj`."""


def rename(state: Mapping[str, Tensor]) -> State:
    """Return the same LoRA with `lora_unet_…` names and alphas.

    UNets keep the names of diffusers, as sd-scripts accepts them; joint transformers get those of
    SAI, in which query, key and value are one projection: the ranks of the three add up.

    Args:
        state: `<model>.<module>.lora_A.weight` (rank, in) and `lora_B` (out, rank); scale 1.
    """
    modules: dict[str, State] = {}
    for name, tensor in state.items():
        match = PEFT.fullmatch(name)
        if match is None:
            raise ValueError(f"{name} is no name of peft")
        modules.setdefault(match["module"], {})[SIDES[match["side"]]] = tensor
    if any(JOINT.fullmatch(module) for module in modules):
        modules = dict(_joined(modules))
    renamed: State = {}
    for module, pair in modules.items():
        stem = f"lora_unet_{module.replace('.', '_')}"
        for side, tensor in pair.items():
            renamed[f"{stem}.lora_{side}.weight"] = tensor
        renamed[f"{stem}.alpha"] = torch.tensor(float(len(pair["down"])))
    return renamed


def _joined(modules: Mapping[str, State]) -> Iterator[tuple[str, State]]:
    blocks: dict[tuple[str, str], dict[str, State]] = {}
    for module, pair in modules.items():
        match = JOINT.fullmatch(module)
        if match is None:
            raise ValueError(f"{module} has no name in SAI's layout")
        blocks.setdefault((match[1], match[2]), {})[match[3]] = pair
    for (block, attention), result in blocks.items():
        for stream, (inputs, output) in STREAMS.items():
            stem = f"joint_blocks.{block}.{stream}.{attention}"
            if set(inputs) <= result.keys():
                yield f"{stem}.qkv", _stack([result[name] for name in inputs])
            if output in result:
                yield f"{stem}.proj", result[output]


def _stack(pairs: list[State]) -> State:
    """Join LoRAs that read the same input: their ranks side by side, their outputs below."""
    return {
        "down": torch.cat([pair["down"] for pair in pairs]),
        "up": torch.block_diag(*(pair["up"] for pair in pairs)),
    }
