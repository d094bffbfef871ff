"""Small LoRA files of every kind, and the changes they stand for, formed explicitly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[Any]

ROWS, COLUMNS, RANK, OTHER, ALPHA = 13, 11, 5, 3, 2.0
KERNEL = (2, 7)


@dataclass(frozen=True)
class Sample:
    """Tensors by their endings, and the change that they stand for (None: base dependent)."""

    tensors: dict[str, Array]
    change: Array | None
    rank: int | None

    def named(self, stem: str) -> dict[str, Array]:
        return {f"{stem}.{ending}": array for ending, array in self.tensors.items()}


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def write(path: Path, tensors: Mapping[str, Array], **metadata: str) -> Path:
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path,
              metadata=metadata or None)  # fmt: skip
    return path


def pair(rng: np.random.Generator, down: str = "lora_down", up: str = "lora_up") -> Sample:
    """LoRA of a linear layer, ΔW = alpha / rank · up · down."""
    d, u = normal(rng, RANK, COLUMNS), normal(rng, ROWS, RANK)
    change = ALPHA / RANK * (u.astype(float) @ d.astype(float))
    tensors = {f"{down}.weight": d, f"{up}.weight": u, "alpha": np.float32(ALPHA)}
    return Sample(tensors, change, RANK)


def convolution(rng: np.random.Generator) -> Sample:
    """LoCon: the kernel is in the first factor."""
    d, u = normal(rng, RANK, COLUMNS, *KERNEL), normal(rng, ROWS, RANK, 1, 1)
    change = ALPHA / RANK * np.einsum("pi,iqkl->pqkl", u[..., 0, 0].astype(float), d)
    tensors = {"lora_down.weight": d, "lora_up.weight": u, "alpha": np.float32(ALPHA)}
    return Sample(tensors, change, RANK)


def tucker(rng: np.random.Generator) -> Sample:
    """LoCon with the kernel between the factors."""
    d, u = normal(rng, RANK, COLUMNS, 1, 1), normal(rng, ROWS, OTHER, 1, 1)
    m = normal(rng, OTHER, RANK, *KERNEL)
    change = (
        ALPHA / RANK * np.einsum("pi,ijkl,jq->pqkl", u[..., 0, 0].astype(float), m, d[..., 0, 0])
    )
    tensors = {"lora_down.weight": d, "lora_up.weight": u, "lora_mid.weight": m}
    return Sample(tensors | {"alpha": np.float32(ALPHA)}, change, RANK)


def loha(rng: np.random.Generator) -> Sample:
    a1, b1 = normal(rng, ROWS, RANK), normal(rng, RANK, COLUMNS)
    a2, b2 = normal(rng, ROWS, RANK), normal(rng, RANK, COLUMNS)
    change = ALPHA / RANK * (a1.astype(float) @ b1) * (a2.astype(float) @ b2)
    tensors = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2}
    return Sample(tensors | {"alpha": np.float32(ALPHA)}, change, RANK)


def loha_tucker(rng: np.random.Generator) -> Sample:
    tensors, change = {}, np.float64(ALPHA / RANK)
    for number in "12":
        t = normal(rng, RANK, RANK, *KERNEL)
        a, b = normal(rng, RANK, ROWS), normal(rng, RANK, COLUMNS)
        tensors |= {f"hada_t{number}": t, f"hada_w{number}_a": a, f"hada_w{number}_b": b}
        change = change * np.einsum("ijkl,jr,ip->prkl", t.astype(float), b, a)
    return Sample(tensors | {"alpha": np.float32(ALPHA)}, change, RANK)


def lokr(rng: np.random.Generator) -> Sample:
    """Only the second factor is decomposed."""
    w1, a, b = normal(rng, 2, 3), normal(rng, ROWS, RANK), normal(rng, RANK, COLUMNS)
    change = ALPHA / RANK * np.kron(w1.astype(float), a.astype(float) @ b)
    tensors = {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": np.float32(ALPHA)}
    return Sample(tensors, change, RANK)


def lokr_first(rng: np.random.Generator) -> Sample:
    """Only the first factor is decomposed."""
    a, b, w2 = normal(rng, 2, RANK), normal(rng, RANK, 3), normal(rng, ROWS, COLUMNS)
    change = ALPHA / RANK * np.kron(a.astype(float) @ b, w2.astype(float))
    tensors = {"lokr_w1_a": a, "lokr_w1_b": b, "lokr_w2": w2, "alpha": np.float32(ALPHA)}
    return Sample(tensors, change, RANK)


def lokr_whole(rng: np.random.Generator) -> Sample:
    """No factor is decomposed: alpha means nothing."""
    w1, w2 = normal(rng, 2, 3), normal(rng, ROWS, COLUMNS)
    tensors = {"lokr_w1": w1, "lokr_w2": w2, "alpha": np.float32(ALPHA)}
    return Sample(tensors, np.kron(w1.astype(float), w2.astype(float)), None)


def lokr_tucker(rng: np.random.Generator) -> Sample:
    """Both factors are decomposed, the second with a kernel."""
    a1, b1 = normal(rng, 2, RANK), normal(rng, RANK, 3)
    t, a2, b2 = normal(rng, RANK, RANK, *KERNEL), normal(rng, RANK, ROWS), normal(rng, RANK, 11)
    w1 = a1.astype(float) @ b1
    w2 = np.einsum("ijkl,ip,jr->prkl", t.astype(float), a2, b2)
    change = ALPHA / RANK * np.einsum("ab,prkl->apbrkl", w1, w2)
    tensors = {"lokr_w1_a": a1, "lokr_w1_b": b1, "lokr_t2": t, "lokr_w2_a": a2, "lokr_w2_b": b2}
    return Sample(tensors | {"alpha": np.float32(ALPHA)}, change, RANK)


def full(rng: np.random.Generator) -> Sample:
    diff = normal(rng, ROWS, COLUMNS)
    return Sample({"diff": diff, "diff_b": normal(rng, ROWS)}, diff.astype(float), None)


def norm_layer(rng: np.random.Generator) -> Sample:
    diff = normal(rng, ROWS)
    return Sample({"w_norm": diff, "b_norm": normal(rng, ROWS)}, diff.astype(float), None)


def ia3(rng: np.random.Generator, *, on_input: bool = False) -> Sample:
    vector = normal(rng, COLUMNS if on_input else ROWS)
    tensors = {"weight": vector, "on_input": np.array(int(on_input))}
    return Sample(tensors, None, None)


def glora(rng: np.random.Generator, *, is_early: bool = False) -> Sample:
    a, b = normal(rng, COLUMNS, RANK), normal(rng, RANK, COLUMNS)
    c, d = normal(rng, ROWS, RANK), normal(rng, RANK, COLUMNS)
    names = ("a2", "a1", "b2", "b1") if is_early else ("a1", "a2", "b1", "b2")
    tensors = {f"{name}.weight": array for name, array in zip(names, (a, b, c, d), strict=True)}
    return Sample(tensors | {"alpha": np.float32(ALPHA)}, None, RANK)


def oft(rng: np.random.Generator) -> Sample:
    return Sample({"oft_blocks": normal(rng, 2, 3, 3), "alpha": np.float32(0.1)}, None, None)


def boft(rng: np.random.Generator) -> Sample:
    return Sample({"oft_blocks": normal(rng, 2, 2, 6, 6), "alpha": np.float32(0.1)}, None, None)


MEASURED: dict[str, tuple[str, Callable[[np.random.Generator], Sample]]] = {
    "lora": ("lora", pair),
    "locon": ("lora", convolution),
    "tucker": ("lora", tucker),
    "loha": ("loha", loha),
    "loha-tucker": ("loha", loha_tucker),
    "lokr": ("lokr", lokr),
    "lokr-first": ("lokr", lokr_first),
    "lokr-whole": ("lokr", lokr_whole),
    "lokr-tucker": ("lokr", lokr_tucker),
    "full": ("full", full),
    "norm": ("norm", norm_layer),
}
"""Kinds whose change is in the file alone, by a name for the test."""

RELATIVE: dict[str, tuple[str, Callable[[np.random.Generator], Sample]]] = {
    "ia3": ("ia3", ia3),
    "glora": ("glora", glora),
    "oft": ("oft", oft),
    "boft": ("boft", boft),
}
"""Kinds whose change depends on the weight that is changed."""

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn{}.{}"
KOHYA = "lora_unet_" + ATTENTION.replace(".", "_")
