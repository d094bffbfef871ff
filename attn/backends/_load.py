"""Load a pipeline part by part, and check that every weight arrived."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from attn.backends import _agree, _checkpoint, _source, _tokenizers
from attn.backends._checkpoint import Kind, Piece
from attn.backends._fit import Misfit, misshapen
from attn.backends._quiet import quiet
from attn.backends._source import read_object
from attn.backends._tokenizers import Found
from attn.errors import ModelError
from attn.headers import read_header

if TYPE_CHECKING:
    from attn.backends._recipe import Recipe

SKIPPED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that play no role in what is drawn from a text (the safety checker blacks pictures out)."""

ESSENTIAL = {"unet", "controlnet", "transformer", "vae", "scheduler", "tokenizer"}
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
        weights: False leaves every network on the meta device.
        extra: further arguments of the pipeline's constructor.

    Raises:
        ModelError: a part is missing, unreadable, or its weights do not fit.
    """
    taken = inspect.signature(cls.__init__).parameters
    listed = {name: entry for name, entry in recipe.entries.items() if name in taken}
    parts: dict[str, Any] = {name: None for name in SKIPPED if name in taken}
    with quiet():
        drawn = _draw(recipe, listed)
        if recipe.lacking is not None:
            raise recipe.lacking
        _agree.require_agreement(drawn, recipe.family)
        for name, entry in listed.items():
            if name in drawn:
                model = drawn.pop(name)
                parts[name] = _load_part(name, model, recipe, dtype) if weights else model
            elif name not in SKIPPED:
                parts[name] = _load_entry(name, entry, recipe)
    needed = {name for name, one in taken.items() if one.default is one.empty} - {"self"}
    absent = needed - {*parts} | {name for name in needed & ESSENTIAL if parts.get(name) is None}
    if absent:
        raise ModelError(
            f"{recipe.roots[0] / _source.INDEX} lists no {', '.join(sorted(absent))}, "
            f"which a {cls.__name__} needs"
        )
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
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} holds no network: expected {CONFIG} and {_source.SAFE} files")
    _refuse_pickled(folder)
    with quiet():
        if not weights:
            return _checkpoint.empty_model(Kind(cls, folder)).eval()
        with _explained(folder):
            return _load_model(cls, folder, dtype)


def load_tokenizer(cls: type[Any], folder: Path) -> Any:
    """Load a tokenizer of transformers from its folder.

    Raises:
        ModelError: its files are missing or damaged.
    """
    with quiet(), _explained(folder):
        _require_vocabulary(cls, folder)
        return cls.from_pretrained(folder, local_files_only=True)


def _draw(recipe: Recipe, listed: Mapping[str, Any]) -> dict[str, Any]:
    """Build every network without weights: all must fit before the first weight is read."""
    drawn = {}
    for name in dict.fromkeys([*recipe.places, *listed]):  # the denoiser, which tells most, first
        match listed.get(name):
            case [str(library), str(class_name)] if name not in SKIPPED:
                cls = find_class(library, class_name, name)
                if issubclass(cls, nn.Module):
                    drawn[name] = _draw_part(name, cls, recipe)
            case entry if name in recipe.places and name in listed:
                raise _no_entry(name, entry)
    return drawn


def _draw_part(name: str, cls: type[Any], recipe: Recipe) -> Any:
    place = recipe.places.get(name)
    if isinstance(place, Piece):
        folders = [place.config] if place.config else [root / name for root in recipe.roots]
        folders = [folder for folder in folders if (folder / CONFIG).is_file()]
        if not folders:
            raise ModelError(f"{recipe.roots[0]} describes no {name}: expected {name}/{CONFIG}")
        _agree.require_class(folders[0], cls, name)
        return _checkpoint.fitting_model(place, [Kind(cls, folder) for folder in folders])
    folder = place or recipe.roots[0] / name
    _require_folder(folder, recipe.entries[name])
    _agree.require_class(folder, cls, name)
    _refuse_pickled(folder)
    return _checkpoint.empty_model(Kind(cls, folder)).eval()


def _require_folder(folder: Path, entry: list[str]) -> None:
    if not folder.is_dir():
        raise ModelError(
            f"{folder} is missing: {_source.INDEX} lists it as {'.'.join(entry)}; "
            "download or save the model again"
        )


def _no_entry(name: str, entry: Any) -> ModelError:
    return ModelError(
        f"{_source.INDEX} says of {name}: {json.dumps(entry)}; expected [library, class]"
    )


def _load_part(name: str, model: Any, recipe: Recipe, dtype: torch.dtype) -> Any:
    """Read the weights of a network that was drawn."""
    place = recipe.places.get(name)
    if isinstance(place, Piece):
        return _checkpoint.load_weights(place, model, dtype)
    folder = place or recipe.roots[0] / name
    with _explained(folder):
        return _load_model(type(model), folder, dtype)


def _load_entry(name: str, entry: Any, recipe: Recipe) -> Any:
    """Load what model_index.json says of another argument of the pipeline: a part, or a setting."""
    match entry:
        case [_, None]:
            return None
        case [str(library), str(class_name)]:
            cls = find_class(library, class_name, name)
        case bool() | int() | float():
            return entry
        case _:
            raise _no_entry(name, entry)
    found = recipe.tokenizers.get(name, Found(recipe.roots[0] / name))
    folder = found.folder
    _require_folder(folder, entry)
    with _explained(folder):
        if hasattr(cls, "vocab_files_names"):
            _require_vocabulary(cls, folder)
            return _tokenizers.load(cls, found)
        if hasattr(cls, "config_name"):
            read_object(folder / cls.config_name)  # of a list, the library would ask the hub
        return cls.from_pretrained(folder, local_files_only=True)


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


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say what could not be loaded, and the first line of what the library said."""
    try:
        yield
    except (
        *(OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError),
        SafetensorError,
    ) as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise ModelError(f"cannot load {folder}: {first}") from exc


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


def _refuse_pickled(folder: Path) -> None:
    """Say why there is nothing to load; the libraries take that for another problem."""
    endings = {path.suffix for path in folder.iterdir()}
    pickled = sorted(endings & _source.REFUSED)
    if pickled and _source.SAFE not in endings:
        raise ModelError(
            f"{folder} has its weights in pickled files only ({', '.join(pickled)}), which could "
            "run any code when opened; convert them to .safetensors with a tool that you trust"
        )


def _load_model(cls: type[Any], folder: Path, dtype: torch.dtype) -> Any:
    if not any(folder.glob(f"*{_source.SAFE}")):
        raise ModelError(f"{folder} has no weights: expected a {_source.SAFE} file")
    variant = _variant(folder)
    for path in _weight_files(folder, variant):
        read_header(path)  # says what is wrong with a file; the libraries read on
    model, info = cls.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are told with the rest
        **({"variant": variant} if variant else {}),
    )
    missing, unexpected, mismatched = (
        tuple(sorted(map(_parameter, info.get(kind) or ())))
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
    )
    misfit = Misfit(missing, unexpected, mismatched)
    if misfit:
        raise ModelError(
            f"the weights in {folder} do not fit {cls.__name__}: {misfit}; they are of another "
            f"model than its {CONFIG}, or damaged: save or download the folder again"
        )
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
