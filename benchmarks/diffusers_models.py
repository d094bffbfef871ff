"""Tiny transformers of diffusers: configurations, and what each is called with.

`diffusers_models.json` has them by class: `config`, and `inputs` by the name of the argument. A
tensor is {"tensor": {dtype, shape}} with its `values`, or all `fill`; without these it is noise.
A tuple is {"tuple": […]}. The sizes follow those of diffusers' own tests.
"""

import json
from pathlib import Path
from typing import Any

import torch

FILE = Path(__file__).with_suffix(".json")


def read_models() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return (configuration, arguments of a call) by the name of a class."""
    listed = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        name: (build(entry["config"]), build(entry["inputs"])) for name, entry in listed.items()
    }


def noise(*shape: int) -> torch.Tensor:
    """Return numbers that are the same in every run."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def build(value: Any) -> Any:
    """Return what a value of the file stands for."""
    if isinstance(value, list):
        return [build(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"tuple"}:
        return tuple(map(build, value["tuple"]))
    if value.keys() == {"tensor"}:
        return _tensor(value["tensor"])
    return {name: build(each) for name, each in value.items()}


def _tensor(described: dict[str, Any]) -> torch.Tensor:
    shape, dtype = described["shape"], getattr(torch, described["dtype"])
    if "values" in described:
        return torch.tensor(described["values"], dtype=dtype).reshape(shape)
    if "fill" in described:
        return torch.full(shape, described["fill"], dtype=dtype)
    return noise(*shape).to(dtype)
