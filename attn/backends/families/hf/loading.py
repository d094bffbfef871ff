"""Weights of language models, in files that are looked at before one is read.

Transformers renames and merges weights of older checkpoints when it loads them (`embed_out`,
experts one by one); it does so here too, but is given the tensors, no folder and no name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from attn.backends.loading.explain import explained
from attn.backends.loading.quiet import quiet
from attn.backends.loading.weights import checkpoint
from attn.backends.loading.weights.checkpoint import ModelSpec
from attn.backends.loading.weights.folder import refuse_pickled_weights, weight_files
from attn.backends.loading.weights.misfit import Misfit
from attn.checkpoints.folders import CONFIG
from attn.checkpoints.headers import read_header
from attn.errors import ModelError


def load_model(cls: type[Any], folder: Path, dtype: torch.dtype, *, weights: bool) -> Any:
    """Load a language model from its folder, in evaluation mode.

    Args:
        cls: its class in transformers.
        folder: with config.json and the weights as .safetensors files.
        dtype: of every weight.
        weights: False leaves the model on the meta device.

    Raises:
        ModelError: a file is missing, damaged or pickled, or a weight is missing, left over or of
            another shape.
    """
    refuse_pickled_weights(folder)
    with quiet():
        empty = checkpoint.empty_model(ModelSpec(cls, folder)).eval()
        if not weights:
            return empty
        with explained(f"cannot load {folder}"):
            state = _read(folder)
            model, report = cls.from_pretrained(
                None,
                config=empty.config,
                state_dict=state,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    misfit = _misfit(report)
    if misfit:
        raise ModelError(
            f"the weights in {folder} do not fit {cls.__name__}: {misfit}; they are of another "
            f"model than its {CONFIG}, or damaged: save or download the folder again"
        )
    return model.eval()


def _read(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        names = read_header(path).tensors
        with safe_open(path, framework="pt") as file:
            state |= {name: file.get_tensor(name) for name in names}
    return state


def _misfit(report: dict[str, Any]) -> Misfit:
    """Return what does not fit, of what transformers reports."""
    shapes = (entry if isinstance(entry, str) else entry[0] for entry in report["mismatched_keys"])
    return Misfit(
        missing=tuple(sorted(report["missing_keys"])),
        unexpected=tuple(sorted(report["unexpected_keys"])),
        misshapen=tuple(sorted(shapes)),
    )
