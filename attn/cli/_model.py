"""What a model's file or folder holds, for `attn backends --model`; no torch, no weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.backends.loading import source
from attn.checkpoints.headers import read_header
from attn.checkpoints.probe import OPTIONAL, PIPELINES, members, parameters, probe
from attn.cli._text import aligned

if TYPE_CHECKING:
    from attn.checkpoints.headers import TensorInfo

Facts = dict[str, Any]


def describe(model: str) -> Facts:
    """Describe a model file or folder as plain data for `--json`.

    Raises:
        ModelError: there is none, or it cannot be read or understood.
    """
    path = source.existing(model, "model")
    return _folder(path) if path.is_dir() else _file(path)


def lines(facts: Facts, backend: str | None) -> list[str]:
    """Return the same for people.

    Args:
        facts: from `describe`.
        backend: the one that was asked about; None if none was.
    """
    rows = [
        ("model", facts["path"]),
        ("this is", facts["title"]),
        ("backend", _backend(facts["family"], backend)),
        *((name, str(facts[name])) for name in ("layout", "config") if facts.get(name)),
        *_prediction(facts),
    ]
    where = "CLASS" if facts["kind"] == "folder" else "PREFIX"
    if any("file" in part for part in facts["parts"]):
        where = "FILE OR CLASS"
    table = [("PART", where, "TENSORS", "PARAMETERS", "DTYPE"), *map(_row, facts["parts"])]
    table += [(part, _absent(part), "", "", "") for part in facts["missing"]]
    text = [*aligned(rows), "", *(aligned(table) if len(table) > 1 else ["no parts of a model"])]
    for word in ("unused", "unknown"):
        if facts[word]:
            text += ["", f"{word}: {_some(facts[word])}"]
    return text if facts["advice"] is None else [*text, "", f"Note: {facts['advice']}."]


def _file(path: Path) -> Facts:
    header = read_header(path)
    probed = probe(header)
    sorted_in = members(header, probed)
    return {
        "path": str(path),
        "kind": "file",
        "title": probed.title,
        "family": probed.family,
        "layout": probed.layout,
        "config": probed.config,
        "prediction": probed.prediction,
        "zero_snr": probed.zero_snr,
        "parts": [
            {"part": part, "prefix": probed.parts[part], **_weights(tensors)}
            for part, tensors in sorted_in.parts.items()
        ],
        "missing": list(probed.missing),
        "unused": sorted_in.unused,
        "unknown": sorted_in.unknown,
        "advice": probed.advice,
    }


def _language(path: Path) -> Facts:
    """Describe a folder of MMaDA or LLaDA."""
    config = source.read_object(path / source.CONFIG)
    layers, heads, width = (config[name] for name in ("n_layers", "n_heads", "d_model"))
    weights, named = _tensors(path), config.get("architectures")
    name = str(named[0] if isinstance(named, list) and named else config.get("model_type", "?"))
    tokenizer = (path / "tokenizer.json").is_file()
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


def _drawn(path: Path) -> Facts:
    """Describe a checkpoint of ScribbleDiffusion, with the parts of its base model if it has it."""
    is_whole = source.is_pipeline(path)
    base = _pipeline(path) if is_whole else {"parts": [], "missing": []}
    files = {name.removesuffix(source.SAFE): path / name for name in source.DRAWN}
    listed = [
        {"part": part, "file": file.name, **_weights(read_header(file).tensors)}
        for part, file in files.items()
        if file.is_file()
    ]
    advice = "it lacks the Stable Diffusion 1.x that it was made of: --set base=FOLDER names one"
    return {
        "path": str(path),
        "kind": "folder",
        "title": "a checkpoint of ScribbleDiffusion, which reads a text and a drawing",
        "family": "scribble",
        "layout": "ScribbleDiffusion",
        "parts": [*listed, *(part for part in base["parts"] if part["part"] not in files)],
        "missing": [
            *(part for part, file in files.items() if not file.is_file()),
            *(part for part in base["missing"] if part not in files),
        ],
        "unused": [],
        "unknown": [],
        "advice": None if is_whole else advice,
    }


def _folder(path: Path) -> Facts:
    if source.is_language_model(path):
        return _language(path)
    return _drawn(path) if source.is_drawn(path) else _pipeline(path)


def _pipeline(path: Path) -> Facts:
    """Describe a diffusers folder."""
    index = source.read_index(path)
    name = str(index["_class_name"])
    listed = {
        part: str(entry[1])
        for part, entry in index.items()
        if isinstance(entry, list) and len(entry) > 1 and entry[1] is not None
    }
    family = PIPELINES.get(name)
    return {
        "path": str(path),
        "kind": "folder",
        "title": f"a diffusers folder of a {name}",
        "family": family,
        "layout": "diffusers",
        "parts": [
            {"part": part, "class": cls, **_weights(_tensors(path / part))}
            for part, cls in listed.items()
            if (path / part).is_dir()
        ],
        "missing": [part for part in listed if not (path / part).is_dir()],
        "unused": [],
        "unknown": [],
        "advice": None if family else "no backend for it is built in",
    }


def _tensors(folder: Path) -> dict[str, TensorInfo]:
    """Return the tensors of a folder; shards add up, variants in another dtype count once."""
    headers = [read_header(path) for path in sorted(folder.glob("*.safetensors"))]
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


def _row(part: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    where = next((part[key] for key in ("file", "class", "prefix") if part.get(key)), "none")
    if not part["tensors"]:
        return part["part"], where, "", "", ""
    dtypes = ", ".join(part["dtypes"])
    return part["part"], where, str(part["tensors"]), f"{part['parameters']:,}", dtypes


def _absent(part: str) -> str:
    return "not here; the model runs without" if part in OPTIONAL else "not here"


def _backend(family: str | None, requested: str | None) -> str:
    if family is None:
        return "none by itself"
    return (
        family
        if requested in (None, family)
        else f"{family}, not {requested}: use --backend {family}"
    )


def _prediction(facts: Facts) -> list[tuple[str, str]]:
    if facts["kind"] == "folder" or not any(part["part"] == "unet" for part in facts["parts"]):
        return []
    text = facts["prediction"] or "not said; epsilon is assumed"
    return [("prediction", f"{text}, with zero terminal SNR" if facts["zero_snr"] else text)]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    first = ", ".join(ascii(name[:60])[1:-1] for name in names[:3])
    return f"{len(names)} ({first}{', …' if len(names) > 3 else ''})"  # noqa: PLR2004
