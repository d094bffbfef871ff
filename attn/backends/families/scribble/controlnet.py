"""Put a ControlNet beside the model that it steers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusers import ControlNetModel

from attn.backends.loading import source
from attn.backends.loading.locate import is_listed
from attn.backends.loading.recipe import Recipe
from attn.backends.loading.source import Source
from attn.backends.loading.weights.checkpoint import Piece
from attn.checkpoints import folders
from attn.checkpoints.families import pipelines
from attn.checkpoints.folders import CONFIG
from attn.checkpoints.headers import read_header
from attn.checkpoints.probe import probe
from attn.errors import ModelError
from attn.files.disk import is_file
from attn.files.names import SAFETENSORS

COMPONENT = "controlnet"
ENTRY = ("diffusers", "ControlNetModel")
LDM = "control_model."
"""Prefix of the names in the authors' own files."""
SHARED_FIELDS = (
    *("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"),
    "addition_embed_type",
)
"""What the configurations of a ControlNet and its UNet must have in common for residuals to fit."""


def base_family(origin: Source) -> str:
    """Return the family of the model that is steered: `sdxl` or `sd15`.

    Raises:
        ModelError: it is of another family, or a ControlNet itself.
    """
    if is_file(origin.path):
        held = probe(read_header(origin.path))
        if held.family in ("sdxl", "sd15"):
            return held.family
        raise ModelError(f"{origin.path}: this is {held.title}; {held.advice or _expected()}")
    if _is_controlnet(origin.path):
        raise ModelError(
            f"{origin.path} is a ControlNet, which steers a model and cannot draw alone; give the "
            "model with --model, and this with --set controlnet=PATH"
        )
    if not folders.is_pipeline(origin.path) and is_file(origin.path / CONFIG):
        width = folders.read_object(origin.path / CONFIG).get("addition_embed_type")
        return "sdxl" if width else "sd15"  # a UNet's own folder
    name = str(folders.read_index(origin.path)["_class_name"])
    if pipelines().get(name) not in ("sdxl", "sd15", "scribble"):
        raise ModelError(f"{origin.path}: this is a {name}; {_expected()}")
    return "sdxl" if "XL" in name else "sd15"


def with_controlnet(recipe: Recipe, origin: Source, name: str | None) -> Recipe:
    """Add the ControlNet to what a model is made of.

    Args:
        recipe: of the model.
        origin: the model.
        name: what `--set controlnet=` names; None takes the model's own.

    Raises:
        ModelError: there is none, or no ControlNet where one is named.
    """
    if name is None:
        if is_listed(recipe.entries.get(COMPONENT)):
            return recipe
        raise ModelError(
            f"{origin.requested} has no ControlNet; give one with --set controlnet=PATH: a folder, "
            f"a {SAFETENSORS} file, or a hub id such as lllyasviel/sd-controlnet-scribble"
        )
    named = source.resolve(
        name,
        "scribble",
        expected=f"the folder of a ControlNet, a {SAFETENSORS} file",
        download=_download,
    )
    location = _location(named.path)
    files = dict(recipe.files) | {
        COMPONENT: location.path if isinstance(location, Piece) else location
    }
    return replace(
        recipe,
        entries=dict(recipe.entries) | {COMPONENT: list(ENTRY)},
        pieces=dict(recipe.pieces) | {COMPONENT: location},
        files=files,
    )


def require_agreement(pipe: Any) -> None:
    """Refuse a ControlNet whose residuals do not fit the UNet.

    Raises:
        ModelError: names the first difference; or the pipeline has several ControlNets.
    """
    kind = type(pipe.controlnet)
    if not issubclass(kind, ControlNetModel):
        raise ModelError(f"the pipeline has a {kind.__name__}; expected one ControlNetModel")
    configs: tuple[Any, Any] = (pipe.controlnet.config, pipe.unet.config)
    for name in SHARED_FIELDS:
        actual, needed = (getattr(config, name, None) for config in configs)
        if _plain(actual) != _plain(needed):
            raise ModelError(
                f"the ControlNet does not fit the UNet: {name} is {actual}, expected {needed}; it "
                "was made for another model"
            )


def _location(path: Path) -> Piece | Path:
    if is_file(path):
        return _piece(path)
    folder = path / COMPONENT if folders.is_pipeline(path) else path
    if not _is_controlnet(folder):
        raise ModelError(
            f"controlnet={path}: expected the folder of a ControlNet (with a {CONFIG} that says "
            f"{ENTRY[1]}), or of a pipeline that has one"
        )
    return folder


def _piece(path: Path) -> Piece:
    tensors = read_header(path).tensors
    prefix = LDM if any(name.startswith(LDM) for name in tensors) else ""
    unprefixed = {name.removeprefix(prefix): info for name, info in tensors.items()}
    if not any(name.startswith(("zero_convs.", "controlnet_down_blocks.")) for name in unprefixed):
        raise ModelError(f"controlnet={path}: this is {probe(read_header(path)).title}")
    return Piece(COMPONENT, path, prefix, unprefixed, "a ControlNet")


def _is_controlnet(folder: Path) -> bool:
    path = folder / CONFIG
    return is_file(path) and folders.read_object(path).get("_class_name") == ENTRY[1]


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=["*.json", f"*{SAFETENSORS}"]))


def _expected() -> str:
    return "expected Stable Diffusion XL or 1.x, with a ControlNet or with --set controlnet=PATH"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
