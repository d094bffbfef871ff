"""The published models without a byte of weights: modules on the meta device, headers without data.

A file that holds only a header costs nothing, whatever it announces: the rest is a hole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights

from attn.checkpoints.headers import Header, TensorInfo
from attn.checkpoints.probe import CONFIGS
from attn.engine.plan import Keep, make_plan
from attn.schema import Request

NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
ITEM = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "F8_E4M3": 1, "U8": 1}
LIBRARIES = {"diffusers": diffusers, "transformers": transformers}


def network(config: str, component: str) -> Any:
    """Return one network of a shipped configuration, on the meta device."""
    index = json.loads((CONFIGS / config / "model_index.json").read_text())
    library, name = index.get(component, ("diffusers", "ControlNetModel"))
    cls, folder = getattr(LIBRARIES[library], name), CONFIGS / config / component
    with init_empty_weights(include_buffers=True):
        if library == "diffusers":
            return cls.from_config(cls.load_config(folder, local_files_only=True))
        return cls(cls.config_class.from_pretrained(folder, local_files_only=True))


def networks(config: str) -> list[str]:
    """Return the names of the networks of a shipped configuration."""
    return sorted(path.parent.name for path in (CONFIGS / config).glob("*/config.json"))


def pipeline(config: str) -> Any:
    """Return the networks of a shipped configuration, as attributes like those of a pipeline."""
    return SimpleNamespace(**{name: network(config, name) for name in networks(config)})


def shapes(state: Mapping[str, torch.Tensor], dtype: str = "F16") -> dict[str, TensorInfo]:
    """Return a state as a header lists it, stored in one dtype; integers stay what they are."""
    result, end = {}, 0
    for name, value in state.items():
        kind = dtype if value.is_floating_point() else NAMES[value.dtype]
        start, end = end, end + value.numel() * ITEM[kind]
        result[name] = TensorInfo(kind, tuple(value.shape), start, end)
    return result


def header(state: Mapping[str, torch.Tensor], **metadata: str) -> Header:
    """Return the header that a file of this state would have."""
    return Header(Path("model.safetensors"), shapes(state), metadata)


def write(tensors: Mapping[str, TensorInfo], path: Path, **metadata: str) -> Path:
    """Write a file whose header is whole and whose tensors are a hole."""
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    for name, (dtype, shape, start, stop) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    end = max((info.stop for info in tensors.values()), default=0)
    os.truncate(path, path.stat().st_size + end)
    return path


def level_sizes(session: Any) -> list[int]:
    """Return the planned bytes of a capture by level, the least detail first."""
    request = session.complete(Request("a red cat", steps=5))
    sequences = {"cond": session.sequence(request, "cond")}
    return [
        make_plan(
            session.layers(request), sequences, Keep(level=level), samples=1, steps=5, dtype="F16"
        ).bytes
        for level in ("mass", "means", "maps", "heads")
    ]
