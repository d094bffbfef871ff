"""Checkpoints of SD3.5 with gates, in every layout, and what they compute, plainly in float64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attn import demo
from attn.demo import stability
from tests.helpers.models import layouts
from tests.helpers.models.layouts import State

Numbers = NDArray[np.float64]
LAYOUTS = ("fused", "separate", "targeted")
TYPES = ("headwise", "elementwise")
MODELS = ("sd35", "sd35:medium")
JOINED = ".qkv.weight"


def gates(pipe: Any, kind: str, *, seed: int = 5, only: str = "") -> State:
    """Return random gates by the names of their attention in the file.

    Args:
        pipe: whose transformer.
        kind: `headwise` or `elementwise`.
        seed: of the numbers.
        only: what the name of an attention must hold.
    """
    heads = pipe.transformer.config.num_attention_heads
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for name, joined in layouts.mmdit(pipe.transformer).items():
        if name.endswith(JOINED) and only in name:
            width = joined.shape[1]
            rows = heads if kind == "headwise" else width
            stem = name.removesuffix(JOINED)
            result[f"{stem}.weight"] = torch.randn(rows, width, generator=generator) / width**0.5
            result[f"{stem}.bias"] = torch.randn(rows, generator=generator)
    return result


def some(pipe: Any, layout: str, kind: str) -> State:
    """Return the gates of a layout: of every attention, or of the targeted ones."""
    is_medium = bool(pipe.transformer.config.dual_attention_layers)
    only = ("attn2" if is_medium else ".2.") if layout == "targeted" else ""
    return gates(pipe, kind, only=only)


def fold(state: State, own: Mapping[str, torch.Tensor], layout: str) -> State:
    """Return a transformer's state with gates in one layout."""
    if layout != "separate":
        return stability.with_gates(state, own)
    projections = {}
    for name, gate in own.items():
        stem, _, end = name.rpartition(".")
        projections[f"{stem}.gate_proj.{end}"] = gate
    return state | projections


def save(
    pipe: Any, name: str, folder: Path, own: Mapping[str, torch.Tensor], layout: str = "fused"
) -> tuple[Path, dict[str, str]]:
    """Write a gated model as sd-scripts does; return the file and the options that open it."""
    files = {
        key: path for key, path in layouts.parts(pipe, folder).items() if key not in ("dit", "vae")
    }
    state = fold(layouts.mmdit(pipe.transformer), own, layout)
    state = layouts.within(layouts.DENOISER, state) | layouts.within(
        layouts.VAE, layouts.vae(pipe.vae)
    )
    settings = {key: str(path) for key, path in files.items()}
    settings["config"] = str(demo.checkpoint(name))
    return layouts.write(state, folder / "model.safetensors"), settings


def attend(
    state: Mapping[str, Numbers], block: int, name: str, x: Numbers, text: Numbers | None = None
) -> tuple[Numbers, Numbers | None]:
    """Compute one gated attention of a file in float64, as the formula says.

    Per stream: q, k, v, g = rows of W x + b; q and k normed per head; softmax(q kᵀ / √d) v over the
    tokens of all streams, times sigmoid(g) per head or channel; then the output projection.

    Args:
        state: of the transformer, names as in the file without prefix.
        block: its number.
        name: `attn` or `attn2`.
        x: (token, channel) of the image, normed and modulated.
        text: likewise, or None.

    Returns:
        The output of both; None for a text that ends here.
    """
    stems = [f"joint_blocks.{block}.x_block.{name}"]
    stems += [f"joint_blocks.{block}.context_block.{name}"] if text is not None else []
    inputs = [x] if text is None else [x, text]
    size = len(state[f"{stems[0]}.ln_q.weight"])
    projected = [_project(state, *pair, size) for pair in zip(stems, inputs, strict=True)]
    query, key, value = (np.concatenate([item[at] for item in projected]) for at in range(3))
    heads = []
    for head in range(query.shape[1]):
        logits = query[:, head] @ key[:, head].T / np.sqrt(size)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ value[:, head])
    output = np.stack(heads, 1)
    results, start = [], 0
    for stem, item, (_, _, _, gate) in zip(stems, inputs, projected, strict=True):
        own = output[start : start + len(item)]
        start += len(item)
        if gate is not None:
            own = own * gate
        results.append(
            own.reshape(len(item), -1) @ state[f"{stem}.proj.weight"].T + state[f"{stem}.proj.bias"]
            if f"{stem}.proj.weight" in state
            else None
        )
    return results[0], results[1] if text is not None else None


def gate_values(state: Mapping[str, Numbers], stem: str, x: Numbers, size: int) -> Numbers | None:
    """Return sigmoid of a stream's gate, (token, head, 1 or channel of the head), or None."""
    width = x.shape[-1]
    if f"{stem}.gate_proj.weight" in state:
        weight, bias = (state[f"{stem}.gate_proj.{end}"] for end in ("weight", "bias"))
    else:
        weight, bias = (state[f"{stem}.qkv.{end}"][3 * width :] for end in ("weight", "bias"))
    if not len(weight):
        return None
    return (1 / (1 + np.exp(-(x @ weight.T + bias)))).reshape(len(x), width // size, -1)


def _project(state: Mapping[str, Numbers], stem: str, x: Numbers, size: int) -> Any:
    width = x.shape[-1]
    joined = x @ state[f"{stem}.qkv.weight"][: 3 * width].T + state[f"{stem}.qkv.bias"][: 3 * width]
    query, key, value = joined.reshape(len(x), 3, width // size, size).transpose(1, 0, 2, 3)
    norms = [state[f"{stem}.ln_{item}.weight"] for item in "qk"]
    query, key = (
        item / np.sqrt((item**2).mean(-1, keepdims=True) + 1e-6) * norm
        for item, norm in zip((query, key), norms, strict=True)
    )
    return query, key, value, gate_values(state, stem, x, size)
