"""Make `lycoris.safetensors` with the library lycoris-lora; see README.md."""

from __future__ import annotations

from pathlib import Path

import torch
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from safetensors.torch import save_file
from torch import nn

ROWS, COLUMNS, KERNEL, RANK = 24, 10, (1, 3), 4
HALF = 0.5
"""The other strength, for the kinds whose strength multiplies all of the change."""

CASES = {
    "lora": (LoConModule, "linear", {"alpha": 3.0}),
    "locon": (LoConModule, "conv", {"alpha": 3.0}),
    "locon-tucker": (LoConModule, "conv", {"alpha": 3.0, "use_tucker": True}),
    "lora-rs": (LoConModule, "linear", {"alpha": 3.0, "rs_lora": True}),
    "dora-out": (LoConModule, "conv", {"alpha": 3.0, "weight_decompose": True}),
    "dora-in": (LoConModule, "conv", {"weight_decompose": True, "wd_on_out": False}),
    "loha": (LohaModule, "linear", {"alpha": 3.0}),
    "loha-conv": (LohaModule, "conv", {"alpha": 3.0}),
    "loha-tucker": (LohaModule, "conv", {"alpha": 3.0, "use_tucker": True}),
    "loha-dora": (LohaModule, "linear", {"alpha": 3.0, "weight_decompose": True}),
    "lokr": (LokrModule, "linear", {"alpha": 3.0, "lora_dim": 1, "factor": 2}),
    "lokr-both": (LokrModule, "linear",
                  {"alpha": 3.0, "lora_dim": 1, "decompose_both": True, "factor": 4}),
    "lokr-whole": (LokrModule, "linear", {"alpha": 3.0, "full_matrix": True}),
    "lokr-conv": (LokrModule, "conv", {"alpha": 3.0, "lora_dim": 1, "factor": 2}),
    "lokr-tucker": (LokrModule, "conv",
                    {"alpha": 3.0, "lora_dim": 1, "factor": 2, "use_tucker": True}),
    "lokr-dora": (LokrModule, "linear", {"lora_dim": 1, "factor": 2, "weight_decompose": True}),
    "ia3": (IA3Module, "linear", {}),
    "ia3-conv": (IA3Module, "conv", {}),
    "ia3-input": (IA3Module, "linear", {"train_on_input": True}),
    "ia3-input-conv": (IA3Module, "conv", {"train_on_input": True}),
    "glora": (GLoRAModule, "linear", {"alpha": 3.0}),
    "oft": (DiagOFTModule, "linear", {}),
    "oft-conv": (DiagOFTModule, "conv", {"constraint": 2**-6}),
    "oft-rescaled": (DiagOFTModule, "linear", {"rescaled": True}),
    "boft": (ButterflyOFTModule, "linear", {"lora_dim": 6}),
    "boft-rescaled": (ButterflyOFTModule, "conv",
                      {"lora_dim": 6, "constraint": 2**-6, "rescaled": True}),
    "full": (FullModule, "linear", {}),
}  # fmt: skip
HALVED = ("locon", "loha", "ia3-conv", "ia3-input", "glora", "oft")
"""Cases that are stored at both strengths. DoRA, BOFT and a rescaled OFT are not among them: there
LyCORIS does not multiply all of the change."""


def effective(module: nn.Module, layer: nn.Module) -> torch.Tensor:
    """Return the weight that a layer acts with, from what it answers to each unit input."""
    shape = layer.weight.shape[1:]
    units = torch.eye(shape.numel(), dtype=torch.float64).reshape(-1, *shape)
    answers = module(units).reshape(len(units), -1) - layer.bias
    return answers.T.reshape(layer.weight.shape)


def make_layer(kind: str) -> nn.Module:
    """Return the layer that is changed."""
    layer = nn.Linear(COLUMNS, ROWS) if kind == "linear" else nn.Conv2d(COLUMNS, ROWS, KERNEL)
    return layer.double().requires_grad_(False)


def main() -> None:
    """Write the file."""
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # OFT turns to float32 before it inverts
    tensors = {}
    for case, (kind, layer_kind, options) in CASES.items():
        layer = make_layer(layer_kind)
        module = kind("", layer, **{"lora_dim": RANK} | options).double().requires_grad_(False)
        for name, parameter in module.named_parameters():
            spread = 0.2 if "oft" in name else 0.5
            noise = spread * torch.randn_like(parameter)
            parameter.copy_(1 + noise if name in {"rescale", "dora_scale"} else noise)
        # float32, as in files: what is compared is made of the numbers that are stored
        for parameter in (*module.parameters(), *layer.parameters()):
            parameter.copy_(parameter.to(torch.float32).double())
        before = layer.weight.clone()
        state = {name: value.to(torch.float32) for name, value in module.state_dict().items()}
        if kind is FullModule:
            state = {
                "diff": module.weight.to(torch.float32),
                "diff_b": module.bias.to(torch.float32),
            }
            tensors |= {f"{case}|weight|1": before + module.weight}
        else:
            for strength in (1, HALF) if case in HALVED else (1,):
                module.multiplier = strength
                tensors[f"{case}|weight|{strength}"] = effective(module, layer)
        tensors |= {f"{case}|base": before.to(torch.float32)}
        tensors |= {f"{case}|part|{name}": value for name, value in state.items()}
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    save_file(contiguous, Path(__file__).parent / "lycoris.safetensors")


if __name__ == "__main__":
    main()
