"""What a model's file or folder holds, as plain data; no torch, no weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.checkpoints import folders
from attn.checkpoints.families import family_of
from attn.checkpoints.headers import read_header
from attn.checkpoints.inventory import members, parameters
from attn.checkpoints.probe import probe
from attn.files.disk import is_file, is_folder
from attn.files.names import SAFETENSORS

if TYPE_CHECKING:
    from attn.checkpoints.headers import TensorInfo

Facts = dict[str, Any]


def describe(path: Path) -> Facts:
    """Return what a file or folder is, as JSON can hold it.

    Raises:
        ModelError: it cannot be read or understood.
    """
    if not is_folder(path):
        return _file(path)
    if folders.is_language_model(path):
        return _language(path)
    return _scribble(path) if folders.is_scribble_diffusion(path) else _pipeline(path)


def _file(path: Path) -> Facts:
    header = read_header(path)
    checkpoint = probe(header)
    sorted_in = members(header, checkpoint)
    return {
        "path": str(path),
        "kind": "file",
        "title": checkpoint.title,
        "family": checkpoint.family,
        "layout": checkpoint.layout,
        "config": checkpoint.config,
        "prediction": checkpoint.prediction,
        "zero_snr": checkpoint.zero_snr,
        "parts": [
            {"part": part, "prefix": checkpoint.parts[part], **_weights(tensors)}
            for part, tensors in sorted_in.parts.items()
        ],
        "missing": list(checkpoint.missing),
        "unused": sorted_in.unused,
        "unknown": sorted_in.unknown,
        "advice": checkpoint.advice,
    }


def _language(path: Path) -> Facts:
    """Describe a folder of MMaDA or LLaDA."""
    config = folders.read_object(path / folders.CONFIG)
    layers, heads, width = (config[name] for name in ("n_layers", "n_heads", "d_model"))
    weights, named = _tensors(path), config.get("architectures")
    name = str(named[0] if isinstance(named, list) and named else config.get("model_type", "?"))
    tokenizer = is_file(path / "tokenizer.json")
    return {
        "path": str(path),
        "kind": "folder",
        "title": f"a language model of {layers} layers of {heads} heads, width {width}",
        "family": "mmada",
        "layout": "MMaDA and LLaDA",
        "parts": [{"part": "llm", "class": name, **_weights(weights)}] if weights else [],
        "missing": [] if weights else ["llm"],
        "unused": [],
        "unknown": [],
        "advice": None if tokenizer else "it has no tokenizer.json: --set tokenizer=DIR names one",
    }


def _scribble(path: Path) -> Facts:
    """Describe a checkpoint of ScribbleDiffusion, with the parts of its base model if it has it."""
    is_whole = folders.is_pipeline(path)
    base = _pipeline(path) if is_whole else {"parts": [], "missing": []}
    files = {name.removesuffix(SAFETENSORS): path / name for name in folders.SCRIBBLE_FILES}
    files_here = [
        {"part": part, "file": file.name, **_weights(read_header(file).tensors)}
        for part, file in files.items()
        if is_file(file)
    ]
    advice = "it lacks the Stable Diffusion 1.x that it was made of: --set base=FOLDER names one"
    return {
        "path": str(path),
        "kind": "folder",
        "title": "a checkpoint of ScribbleDiffusion, which reads a text and a drawing",
        "family": "scribble",
        "layout": "ScribbleDiffusion",
        "parts": [*files_here, *(part for part in base["parts"] if part["part"] not in files)],
        "missing": [
            *(part for part, file in files.items() if not is_file(file)),
            *(part for part in base["missing"] if part not in files),
        ],
        "unused": [],
        "unknown": [],
        "advice": None if is_whole else advice,
    }


def _pipeline(path: Path) -> Facts:
    """Describe a diffusers folder."""
    index = folders.read_index(path)
    name = str(index["_class_name"])
    listed = {
        part: str(entry[1])
        for part, entry in index.items()
        if isinstance(entry, list) and len(entry) > 1 and entry[1] is not None
    }
    family = family_of(name, folders.read_unet(path))
    return {
        "path": str(path),
        "kind": "folder",
        "title": f"a diffusers folder of a {name}",
        "family": family,
        "layout": "diffusers",
        "parts": [
            {"part": part, "class": cls, **_weights(_tensors(path / part))}
            for part, cls in listed.items()
            if is_folder(path / part)
        ],
        "missing": [part for part in listed if not is_folder(path / part)],
        "unused": [],
        "unknown": [],
        "advice": None if family else "no backend for it is built in",
    }


def _tensors(folder: Path) -> dict[str, TensorInfo]:
    """Return the tensors of a folder; shards add up, variants in another dtype count once."""
    headers = [read_header(path) for path in sorted(folder.glob(f"*{SAFETENSORS}"))]
    return {name: info for header in headers for name, info in header.tensors.items()}


def _weights(tensors: Mapping[str, TensorInfo]) -> Facts:
    sizes: dict[str, int] = {}
    for info in tensors.values():
        sizes[info.dtype] = sizes.get(info.dtype, 0) + info.elements
    return {
        "tensors": len(tensors),
        "parameters": parameters(tensors),
        "dtypes": sorted(sizes, key=lambda dtype: -sizes[dtype]),
    }
