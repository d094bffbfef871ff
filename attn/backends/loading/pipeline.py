"""Load a pipeline part by part, and check that every weight arrived."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from attn.backends.loading import compatibility, tokenizers
from attn.backends.loading.explain import explained
from attn.backends.loading.library_classes import find_class
from attn.backends.loading.quiet import quiet
from attn.backends.loading.recipe import Recipe
from attn.backends.loading.scheduler import read_scheduler
from attn.backends.loading.tokenizers import TokenizerFiles
from attn.backends.loading.weights import checkpoint
from attn.backends.loading.weights.checkpoint import ModelSpec, Piece
from attn.backends.loading.weights.folder import refuse_pickled_weights
from attn.backends.loading.weights.misfit import shown
from attn.checkpoints.folders import CONFIG, INDEX
from attn.errors import ModelError
from attn.files.disk import is_file, is_folder
from attn.files.names import SAFETENSORS

SKIPPED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that play no role in what is empty from a text (the safety checker blacks pictures out)."""

ESSENTIAL = {"unet", "controlnet", "transformer", "vae", "scheduler"}
"""Parts that a pipeline which takes them cannot do without, beside the tokenizers of its family."""


def load_pipeline(
    recipe: Recipe, cls: type[Any], *, dtype: torch.dtype, weights: bool, extra: dict[str, Any]
) -> Any:
    """Build a pipeline without touching the network.

    Args:
        recipe: what it is made of.
        cls: the pipeline class.
        dtype: of every weight.
        weights: False leaves every network on the meta device.
        extra: further arguments of the pipeline's constructor.

    Raises:
        ModelError: a part is missing, unreadable, or its weights do not fit.
    """
    taken = inspect.signature(cls.__init__).parameters
    listed = {name: entry for name, entry in recipe.entries.items() if name in taken}
    parts: dict[str, Any] = {name: None for name in SKIPPED if name in taken}
    with quiet():
        classes = _classes(cls, listed)
        empty = _build_empty(recipe, listed, classes)
        if recipe.lacking is not None:
            raise recipe.lacking
        compatibility.require_agreement(empty, recipe.family)
        for name, entry in listed.items():
            if name in empty:
                model = empty.pop(name)
                parts[name] = _load_part(name, model, recipe, dtype) if weights else model
            elif name not in SKIPPED:
                parts[name] = _load_entry(name, entry, recipe, classes.get(name))
        compatibility.require_tokens(parts, recipe.roots[0], recipe.family)
    needed = {name for name, item in taken.items() if item.default is item.empty} - {"self"}
    essential = ESSENTIAL | {part.tokenizer for part in recipe.family.parts if not part.optional}
    absent = needed - {*parts} | {name for name in needed & essential if parts.get(name) is None}
    if absent:
        raise ModelError(
            f"{recipe.roots[0] / INDEX} lists no {', '.join(sorted(absent))}, "
            f"which a {cls.__name__} needs"
        )
    with explained(f"cannot put {recipe.roots[0]} together"):
        return cls(**parts | extra)


def load_network(cls: type[Any], folder: Path, *, dtype: torch.dtype, weights: bool = True) -> Any:
    """Load one network of diffusers or transformers from its folder, in evaluation mode.

    Args:
        cls: its class.
        folder: with config.json and the weights as .safetensors files.
        dtype: of every weight.
        weights: False reads the configuration only, and leaves the network on the meta device.

    Raises:
        ModelError: a file is missing, damaged or pickled, or a weight is missing, left over or of
            another shape.
    """
    if not is_file(folder / CONFIG):
        raise ModelError(f"{folder} holds no network: expected {CONFIG} and {SAFETENSORS} files")
    refuse_pickled_weights(folder)
    with quiet():
        model = checkpoint.empty_model(ModelSpec(cls, folder), tables=weights)
        return (checkpoint.load_folder(folder, model, dtype) if weights else model).eval()


def load_tokenizer(cls: type[Any], folder: Path) -> Any:
    """Load a tokenizer of transformers from its folder.

    Raises:
        ModelError: its files are missing or damaged.
    """
    with quiet():
        return tokenizers.load(cls, TokenizerFiles(folder))


def _classes(pipeline: type[Any], listed: Mapping[str, Any]) -> dict[str, type[Any]]:
    """Return the classes that model_index.json names, each of the kind that the pipeline takes.

    Raises:
        ModelError: a class is of another kind, of somebody else, or does not exist.
    """
    hints = get_type_hints(pipeline.__init__)
    classes = {}
    for name, entry in listed.items():
        match entry:
            case [str(library), str(class_name)] if name not in SKIPPED:
                classes[name] = find_class(library, class_name, name)
                _require_kind(classes[name], hints[name], name)
            case None | bool() | int() | float() if not _is_setting(entry, hints[name]):
                raise _no_entry(name, entry)
            case [int(), *_] if not _is_setting(entry, hints[name]):
                raise _no_entry(name, entry)
    return classes


def _is_setting(entry: Any, hint: Any) -> bool:
    """Whether a pipeline takes a number, a flag, or a list of numbers."""
    kinds = get_args(hint) or (hint,)
    if isinstance(entry, list):
        lists = (kind for kind in kinds if get_origin(kind) in (list, tuple))
        numbers = any(int in get_args(kind) for kind in lists)
        return numbers and all(type(number) is int for number in entry)
    return type(entry) in kinds


def _require_kind(cls: Any, hint: Any, name: str) -> None:
    kinds = [kind for kind in (get_args(hint) or [hint]) if isinstance(kind, type)]
    if KarrasDiffusionSchedulers in kinds or any(issubclass(of, SchedulerMixin) for of in kinds):
        kinds = [SchedulerMixin]  # published models have others than are named
    if AutoTokenizer in kinds:  # which makes one of any class
        kinds = [PreTrainedTokenizerBase]
    if not any(issubclass(cls, kind) for kind in kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ModelError(
            f"{INDEX} says that {name} is a {cls.__name__}; this pipeline takes {expected}"
        )


def _build_empty(
    recipe: Recipe, listed: Mapping[str, Any], classes: Mapping[str, type[Any]]
) -> dict[str, Any]:
    """Build every network without weights: all must fit before the first weight is read."""
    empty = {}
    for name in dict.fromkeys([*recipe.pieces, *listed]):  # the denoiser, which tells most, first
        if name in classes and issubclass(classes[name], nn.Module):
            empty[name] = _draw_part(name, classes[name], recipe)
        elif name in recipe.pieces and name in listed:
            raise _no_entry(name, listed[name])
    return empty


def _draw_part(name: str, cls: type[Any], recipe: Recipe) -> Any:
    piece = recipe.pieces.get(name)
    if isinstance(piece, Piece):
        folders = [piece.config] if piece.config else [root / name for root in recipe.roots]
        folders = [folder for folder in folders if is_file(folder / CONFIG)]
        if not folders:
            raise ModelError(f"{recipe.roots[0]} describes no {name}: expected {name}/{CONFIG}")
        compatibility.require_class(folders[0], cls, recipe.family.title_of(name))
        return checkpoint.fitting_model(piece, [ModelSpec(cls, folder) for folder in folders])
    folder = piece or recipe.roots[0] / name
    _require_folder(folder, recipe.entries[name])
    compatibility.require_class(folder, cls, recipe.family.title_of(name))
    refuse_pickled_weights(folder)
    return checkpoint.empty_model(ModelSpec(cls, folder)).eval()


def _require_folder(folder: Path, entry: list[str]) -> None:
    if not is_folder(folder):
        raise ModelError(
            f"{folder} is missing: {INDEX} lists it as {'.'.join(entry)}; "
            "download or save the model again"
        )


def _no_entry(name: str, entry: Any) -> ModelError:
    return ModelError(
        f"{INDEX} says of {name}: {shown(json.dumps(entry))}; expected [library, class]"
    )


def _load_part(name: str, model: Any, recipe: Recipe, dtype: torch.dtype) -> Any:
    """Read the weights of a network that was empty."""
    piece = recipe.pieces.get(name)
    if isinstance(piece, Piece):
        return checkpoint.load_weights(piece, model, dtype)
    return checkpoint.load_folder(piece or recipe.roots[0] / name, model, dtype)


def _load_entry(name: str, entry: Any, recipe: Recipe, cls: type[Any] | None) -> Any:
    """Load what model_index.json says of another argument of the pipeline: a part, or a setting."""
    match entry:
        case [_, None]:
            return None
        case [str(), str()] if cls is not None:
            folder = recipe.roots[0] / name
        case None | bool() | int() | float() | [int(), *_]:
            return entry
        case _:
            raise _no_entry(name, entry)
    if issubclass(cls, SchedulerMixin):
        _require_folder(folder, entry)
        return read_scheduler(cls, folder)
    files = recipe.tokenizers.get(name, TokenizerFiles(folder))
    _require_folder(files.folder, entry)
    return tokenizers.load(cls, files)
