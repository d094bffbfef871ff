"""The files of one part's folder that are read: its configuration, and which hold its weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn.backends.loading.source import REFUSED
from attn.checkpoints.folders import read_object
from attn.errors import ModelError
from attn.files.disk import is_file
from attn.files.names import SAFETENSORS
from attn.files.outside import read_json

LARGEST_NUMBER = 2**24
"""Beyond any size in a configuration: it would only fill the memory."""
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?\.safetensors"
)
STEMS = ("diffusion_pytorch_model", "model")
"""What files of weights are called by diffusers and by transformers."""


def read_settings(path: Path) -> dict[str, Any]:
    """Return a configuration.

    Raises:
        ModelError: it cannot be read, is no JSON object, or has a number beyond any size.
    """
    settings = read_object(path)
    sections = [settings, *(value for value in settings.values() if isinstance(value, dict))]
    for name, value in (entry for section in sections for entry in section.items()):
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, int) and abs(number) > LARGEST_NUMBER for number in numbers):
            raise ModelError(
                f"{path}: {name} is beyond any size, expected at most {LARGEST_NUMBER}; download "
                "or save the model again"
            )
    return settings


@dataclass(frozen=True)
class _PipelineIndex:
    weight_map: dict[str, str]


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights of a part: plain ones before a variant (`fp16`).

    Raises:
        ModelError: there are none, pickled ones only, or the index lists a file that is not there.
    """
    variant = _variant(folder)
    infix = f".{variant}" if variant else ""
    for stem in STEMS:
        whole = folder / f"{stem}{infix}{SAFETENSORS}"
        index = f"{stem}{SAFETENSORS}.index{infix}.json"
        if is_file(whole):
            return [whole]
        if is_file(folder / index):
            return listed_files(folder, index)
    refuse_pickled_weights(folder)
    raise ModelError(f"{folder} has no weights: expected a {SAFETENSORS} file")


def refuse_pickled_weights(folder: Path) -> None:
    """Explain an absence of weights, also when none are to be loaded yet.

    Raises:
        ModelError: there are pickled files, and no others.
    """
    endings = {path.suffix for path in folder.iterdir()}
    pickled = sorted(endings & REFUSED)
    if pickled and SAFETENSORS not in endings:
        raise ModelError(
            f"{folder} has its weights in pickled files only ({', '.join(pickled)}), which could "
            "run any code when opened; convert them to .safetensors with a tool that you trust"
        )


def listed_files(folder: Path, index: str) -> list[Path]:
    """Return the files that an index of weights lists: safetensors files beside it, nothing else.

    Raises:
        ModelError: it cannot be read, or lists a file that is not there or of another kind.
    """
    path = folder / index
    listed = read_json(path, _PipelineIndex, expected="an index of weights", error=ModelError)
    names = sorted(set(listed.weight_map.values()))
    foreign = [ascii(name) for name in names if not _is_beside(name)]
    if foreign or not names:
        raise ModelError(
            f"{path} lists {', '.join(foreign[:3]) or 'nothing'}; expected names of "
            f"{SAFETENSORS} files in its own folder: nothing else is read"
        )
    missing = [name for name in names if not is_file(folder / name)]
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of the {len(names)} files that {index} lists: "
            f"{', '.join(missing[:3])}; download them into the folder"
        )
    return [folder / name for name in names]


def _is_beside(name: str) -> bool:
    return Path(name).name == name and name.endswith(SAFETENSORS) and "\0" not in name


def _variant(folder: Path) -> str | None:
    """Return the variant of weights that exist in no plain form."""
    files = sorted(path.name for path in folder.iterdir())
    names = [match["variant"] for name in files if (match := WEIGHTS.fullmatch(name))]
    return names[0] if names and None not in names else None
