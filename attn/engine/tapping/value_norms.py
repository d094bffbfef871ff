"""How much a key moves where it is attended to: the norm of its value behind the projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn.engine.attention import Attention
from attn.errors import CaptureError

NAMES = ("o_proj", "out_proj", "to_out.0", "c_proj", "o", "wo", "proj", "dense", "output.dense")
"""What modules of attention call their output projection, and their neighbours theirs."""


def find_projection(model: nn.Module, path: str, name: bool | str) -> Tensor:
    """Return the weight (output, head · channel) of a module's output projection.

    Args:
        model: that is tapped.
        path: of the attention in it.
        name: path of the projection inside of the attention or of the module around it; True
            searches the usual names.

    Raises:
        CaptureError: there is none.
    """
    parents = [path, path.rpartition(".")[0]]
    for parent in parents:
        for each in NAMES if name is True else (str(name),):
            try:
                module = model.get_submodule(f"{parent}.{each}".strip("."))
            except AttributeError:
                continue
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor):
                return weight if isinstance(module, nn.Linear) else weight.mT  # GPT-2's is turned
    raise CaptureError(
        f"value_norm: {path} has no output projection called {'so' if name is True else name!r}; "
        f"give its path inside of the layer, as in value_norm='o_proj' (searched: "
        f"{', '.join(NAMES) if name is True else name})"
    )


def value_norm(path: str, attention: Attention, weight: Tensor) -> Tensor:
    """Return |value · projection| of every head and key, (batch, head, key) float32.

    Raises:
        CaptureError: the values are not known, or do not fit the projection.
    """
    value = attention.value
    if value is None:
        raise CaptureError(
            f"value_norm: the values of {path} cannot be told; the model lays them out in a way "
            "of its own"
        )
    _, heads, _, _ = attention.shape
    value = value.float().repeat_interleave(heads // value.shape[1], 1)
    if weight.shape[1] != heads * value.shape[-1]:
        raise CaptureError(
            f"value_norm: the output projection of {path} takes {weight.shape[1]} channels, its "
            f"values have {heads} x {value.shape[-1]}; give the path of another"
        )
    parts = weight.detach().float().unflatten(1, (heads, -1)).permute(1, 2, 0)
    norms: Tensor = torch.linalg.vector_norm(value @ parts, dim=-1)
    return norms


def keep_norms(
    model: nn.Module, path: str, attention: Attention, name: bool | str
) -> dict[str, list[Tensor]]:
    """Return `value_norm` of every row of a batch, as it is named in a trace."""
    projection = find_projection(model, path, name)
    return {"value_norm.all.all": list(value_norm(path, attention, projection))}
