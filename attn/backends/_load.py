"""Load a pipeline part by part, and check that every weight arrived."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from safetensors import SafetensorError
from torch import nn

from attn.backends import _checkpoint, _source, _tokenizers
from attn.backends._checkpoint import Kind, Piece
from attn.backends._fit import Misfit, misshapen
from attn.backends._quiet import quiet
from attn.backends._tokenizers import Found
from attn.errors import ModelError
from attn.headers import read_header

if TYPE_CHECKING:
    from attn.backends._recipe import Recipe

SKIPPED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that play no role in what is drawn from a text (the safety checker blacks pictures out)."""

ESSENTIAL = {"unet", "transformer", "vae", "scheduler", "tokenizer"}
"""Parts that a pipeline which takes them cannot do without."""

CONFIG = "config.json"
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.safetensors"
)


def load_pipeline(
    recipe: Recipe, cls: type[Any], *, dtype: torch.dtype, weights: bool, extra: dict[str, Any]
) -> Any:
    """Build a pipeline without touching the network.

    Args:
        recipe: what it is made of.
        cls: the pipeline class.
        dtype: of every weight.
        weights: False builds denoiser and VAE on the meta device and leaves the encoders out.
        extra: further arguments of the pipeline's constructor.

    Raises:
        ModelError: a part is missing, unreadable, or its weights do not fit.
    """
    taken = inspect.signature(cls.__init__).parameters
    listed = {name: entry for name, entry in recipe.entries.items() if name in taken}
    with quiet():
        fitted = {
            name: _fit(name, place, recipe)
            for name, place in recipe.places.items()
            if isinstance(place, Piece)
        }
        if recipe.lacking is not None:
            raise recipe.lacking
        parts: dict[str, Any] = {name: None for name in SKIPPED if name in taken}
        for name, entry in listed.items():
            place = recipe.places.get(name)
            if isinstance(place, Piece):
                parts[name] = _load_piece(place, fitted.pop(name), dtype, weights)
            elif name not in SKIPPED:
                parts[name] = _load_entry(name, entry, recipe, dtype, weights)
    needed = {name for name, one in taken.items() if one.default is one.empty} - {"self"}
    absent = needed - {*parts} | {name for name in needed & ESSENTIAL if parts.get(name) is None}
    if absent:
        raise ModelError(
            f"{recipe.roots[0] / _source.INDEX} lists no {', '.join(sorted(absent))}, "
            f"which a {cls.__name__} needs"
        )
    return cls(**parts | extra)


def _load_entry(name: str, entry: Any, recipe: Recipe, dtype: torch.dtype, weights: bool) -> Any:
    """Load what model_index.json says of one argument of the pipeline: a part, or a setting."""
    match entry:
        case [_, None]:
            return None
        case [str(library), str(class_name)]:
            cls = find_class(library, class_name, name)
        case bool() | int() | float():
            return entry
        case _:
            raise ModelError(
                f"model_index.json says of {name}: {json.dumps(entry)}; expected [library, class]"
            )
    place = recipe.places.get(name)
    folder = place if isinstance(place, Path) else recipe.roots[0] / name
    found = recipe.tokenizers.get(name, Found(folder))
    if not found.folder.is_dir():
        raise ModelError(
            f"{found.folder} is missing: model_index.json lists it as {library}.{class_name}; "
            "download or save the model again"
        )
    return _load_part(found, cls, dtype, weights)


def _fit(name: str, piece: Piece, recipe: Recipe) -> Any:
    """Build what comes from a file, without weights: all parts must fit before any is read."""
    folders = [root / name for root in recipe.roots if (root / name / CONFIG).is_file()]
    match recipe.entries[name]:
        case [str(library), str(class_name)] if folders:
            cls = find_class(library, class_name, name)
            return _checkpoint.fitting_model(piece, [Kind(cls, folder) for folder in folders])
    raise ModelError(
        f"{recipe.roots[0]} describes no {name}: expected {name}/{CONFIG}, and its class in "
        f"{_source.INDEX}"
    )


def _load_piece(piece: Piece, model: Any, dtype: torch.dtype, weights: bool) -> Any:
    if weights:
        return _checkpoint.load_weights(piece, model, dtype)
    is_encoder = not isinstance(model, diffusers.ModelMixin)
    return None if is_encoder else model


def find_class(library: str, class_name: str, name: str) -> Any:
    """Return a class of diffusers or transformers.

    Args:
        library: whose class it is.
        class_name: of the class.
        name: of what needs it, for messages.

    Raises:
        ModelError: it is code of somebody else, which is not run, or does not exist.
    """
    if library not in ("diffusers", "transformers"):
        raise ModelError(f"{name} needs code of '{library}.{class_name}', which is not run")
    cls = getattr(importlib.import_module(library), class_name, None)
    if cls is None:
        raise ModelError(f"{name} needs {library}.{class_name}, which this {library} does not have")
    return cls


def _load_part(found: Found, cls: type[Any], dtype: torch.dtype, weights: bool) -> Any:
    folder = found.folder
    try:
        if hasattr(cls, "vocab_files_names"):
            _require_vocabulary(cls, folder)
            return _tokenizers.load(cls, found)
        if not issubclass(cls, nn.Module):
            return cls.from_pretrained(folder, local_files_only=True)
        if weights:
            return _load_model(cls, folder, dtype)
        return _empty_model(cls, folder)
    except (
        *(OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError),
        SafetensorError,
    ) as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        fact = first.partition(". If you want to")[0]  # diffusers goes on to its own arguments
        raise ModelError(f"cannot load {folder}: {fact}") from exc


def _require_vocabulary(cls: type[Any], folder: Path) -> None:
    """Refuse a tokenizer without its files, of which the library would make an empty one."""
    files: dict[str, str] = dict(getattr(cls, "vocab_files_names", {}))
    whole = files.pop("tokenizer_file", None)
    if whole is None or (folder / whole).is_file():
        return
    missing = [file for file in files.values() if not (folder / file).is_file()]
    if missing:
        others = " and ".join(missing)
        raise ModelError(f"{folder} has no vocabulary: expected {whole}, or {others}")


def _require_weights(folder: Path) -> None:
    """Say why there is nothing to load; the libraries take that for another problem."""
    endings = {path.suffix for path in folder.iterdir()}
    if ".safetensors" in endings:
        return
    pickled = sorted(endings & _source.REFUSED)
    if pickled:
        raise ModelError(
            f"{folder} has its weights in pickled files only ({', '.join(pickled)}), which could "
            "run any code when opened; convert them to .safetensors with a tool that you trust"
        )
    raise ModelError(f"{folder} has no weights: expected a .safetensors file")


def _load_model(cls: type[Any], folder: Path, dtype: torch.dtype) -> Any:
    _require_weights(folder)
    variant = _variant(folder)
    for path in _weight_files(folder, variant):
        read_header(path)  # says what is wrong with a file; the libraries read on
    # diffusers stops at a wrong shape itself, and says which
    lenient = {} if issubclass(cls, diffusers.ModelMixin) else {"ignore_mismatched_sizes": True}
    model, info = cls.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=dtype,
        output_loading_info=True,
        **({"variant": variant} if variant else {}),
        **lenient,
    )
    missing, unexpected, mismatched = (
        tuple(sorted(map(_parameter, info.get(kind) or ())))
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
    )
    misfit = Misfit(missing, unexpected, mismatched)
    if misfit:
        raise ModelError(f"the weights in {folder} do not fit {cls.__name__}: {misfit}")
    return model.eval()


def _parameter(entry: str | tuple[Any, ...]) -> str:
    """Return the name of a parameter, and its two shapes where they differ."""
    return entry if isinstance(entry, str) else misshapen(*entry)


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    """Return the files of weights of one variant; None is the plain one."""
    return [
        path
        for path in sorted(folder.iterdir())
        if (match := WEIGHTS.fullmatch(path.name)) and match["variant"] == variant
    ]


def _variant(folder: Path) -> str | None:
    """Return the variant (`fp16`) of weights that exist in no plain form."""
    files = sorted(path.name for path in folder.iterdir())
    names = [match["variant"] for name in files if (match := WEIGHTS.fullmatch(name))]
    return names[0] if names and None not in names else None


def _empty_model(cls: type[Any], folder: Path) -> Any:
    if not issubclass(cls, diffusers.ModelMixin):
        return None
    return _checkpoint.empty_model(Kind(cls, folder)).eval()
