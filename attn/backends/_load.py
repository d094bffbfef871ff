"""Load a diffusers folder part by part, and check that every weight arrived."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError
from torch import nn

from attn.backends import _source
from attn.backends._quiet import quiet
from attn.errors import ModelError

SKIPPED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that play no role in what is drawn from a text (the safety checker blacks pictures out)."""

ESSENTIAL = {"unet", "transformer", "vae", "scheduler", "tokenizer"}
"""Parts that a pipeline which takes them cannot do without."""

WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.safetensors"
)


def read_index(folder: Path) -> dict[str, Any]:
    """Return `model_index.json` of a diffusers folder.

    Raises:
        ModelError: missing, or not a JSON object.
    """
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text())
    except FileNotFoundError as exc:
        raise ModelError(
            f"{folder} is not a diffusers folder: it has no model_index.json; "
            "give the folder that the model was downloaded or saved to"
        ) from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"cannot read {path}: {exc}") from exc
    if not isinstance(index, dict) or "_class_name" not in index:
        raise ModelError(f"{path} does not say which pipeline it is (no _class_name)")
    return index


def load_pipeline(
    folder: Path, cls: type[Any], *, dtype: torch.dtype, weights: bool, extra: dict[str, Any]
) -> Any:
    """Build a pipeline from a diffusers folder without touching the network.

    Args:
        folder: with model_index.json.
        cls: the pipeline class.
        dtype: of every weight.
        weights: False builds denoiser and VAE on the meta device and leaves the encoders out.
        extra: further arguments of the pipeline's constructor.

    Raises:
        ModelError: a part is missing, unreadable, or its weights do not fit.
    """
    taken = inspect.signature(cls.__init__).parameters
    listed = {name: entry for name, entry in read_index(folder).items() if name in taken}
    with quiet():
        parts: dict[str, Any] = {
            name: None if name in SKIPPED else _load_entry(folder / name, entry, dtype, weights)
            for name, entry in (dict.fromkeys(SKIPPED) | listed).items()
            if name in taken
        }
    needed = {name for name, one in taken.items() if one.default is one.empty} - {"self"}
    absent = needed - {*parts} | {name for name in needed & ESSENTIAL if parts.get(name) is None}
    if absent:
        raise ModelError(
            f"{folder / 'model_index.json'} lists no {', '.join(sorted(absent))}, "
            f"which a {cls.__name__} needs"
        )
    return cls(**parts | extra)


def _load_entry(folder: Path, entry: Any, dtype: torch.dtype, weights: bool) -> Any:
    """Load what model_index.json says of one argument of the pipeline: a part, or a setting."""
    match entry:
        case [_, None]:
            return None
        case [str(library), str(class_name)]:
            return _load_part(folder, library, class_name, dtype, weights)
        case bool() | int() | float():
            return entry
    raise ModelError(
        f"model_index.json says of {folder.name}: {json.dumps(entry)}; expected [library, class]"
    )


def _load_part(
    folder: Path, library: str, class_name: str, dtype: torch.dtype, weights: bool
) -> Any:
    if library not in ("diffusers", "transformers"):
        raise ModelError(f"{folder.name} needs code of '{library}.{class_name}', which is not run")
    if not folder.is_dir():
        raise ModelError(
            f"{folder} is missing: model_index.json lists it as {library}.{class_name}; "
            "download or save the model again"
        )
    cls: Any = getattr(importlib.import_module(library), class_name, None)
    if cls is None:
        raise ModelError(
            f"{folder.name} needs {library}.{class_name}, which this {library} does not have"
        )
    try:
        if not issubclass(cls, nn.Module):
            _require_vocabulary(cls, folder)
            return cls.from_pretrained(folder, local_files_only=True)
        if weights:
            return _load_model(cls, folder, dtype)
        return _empty_model(cls, folder)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as exc:
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
    # diffusers stops at a wrong shape itself, and says which
    lenient = {} if issubclass(cls, diffusers.ModelMixin) else {"ignore_mismatched_sizes": True}
    model, info = cls.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=dtype,
        output_loading_info=True,
        **_variant(folder),
        **lenient,
    )
    problems = [
        f"{len(info[kind])} {word} ({', '.join(sorted(map(_parameter, info[kind]))[:3])} …)"
        for kind, word in (
            ("missing_keys", "missing"),
            ("unexpected_keys", "unexpected"),
            ("mismatched_keys", "of another shape"),
        )
        if info.get(kind)
    ]
    if problems:
        raise ModelError(
            f"the weights in {folder} do not fit {cls.__name__}: {'; '.join(problems)}"
        )
    return model.eval()


def _parameter(entry: str | tuple[Any, ...]) -> str:
    """Return the name of a parameter, and its two shapes where they differ."""
    if isinstance(entry, str):
        return entry
    name, got, expected = entry
    return f"{name}: {list(got)}, expected {list(expected)}"


def _variant(folder: Path) -> dict[str, str]:
    """Return the variant (`fp16`) of weights that exist in no plain form."""
    files = sorted(path.name for path in folder.iterdir())
    names = [match["variant"] for name in files if (match := WEIGHTS.fullmatch(name))]
    return {"variant": names[0]} if names and None not in names else {}


def _empty_model(cls: type[Any], folder: Path) -> Any:
    if not issubclass(cls, diffusers.ModelMixin):
        return None
    with init_empty_weights(include_buffers=True):  # tables of positions take seconds
        return cls.from_config(cls.load_config(folder, local_files_only=True)).eval()
