"""Models and LoRAs that can be chosen: by name, from the folders that the command line names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attn.demo.shipped import LORAS
from attn.errors import UsageError
from attn.files.disk import reported
from attn.studio.options import StudioOptions
from attn.verbs.lora_folders import lora_files

WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class Choices:
    """What names stand for; a name that is not listed stands for nothing.

    Attributes:
        backend: family of the first page.
        models: paths by name, that every family is offered.
        first: the model that was named for the family of the first page, by name.
        loras: paths by name.
    """

    backend: str
    models: Mapping[str, str] = field(default_factory=dict)
    first: Mapping[str, str] = field(default_factory=dict)
    loras: Mapping[str, str] = field(default_factory=dict)

    def models_of(self, backend: str, demos: Sequence[str]) -> dict[str, str]:
        """Return the models of a family, by name, the one that stands first included.

        Args:
            backend: name of the family.
            demos: names of its demo models.
        """
        named = self.first if backend == self.backend else {}
        return {**named, **{name: name for name in demos}, **self.models}

    @property
    def all_loras(self) -> dict[str, str]:
        """Return the LoRAs by name, those of the demos included."""
        return {**{name: name for name in LORAS}, **self.loras}


def make_choices(options: StudioOptions, backend: str) -> Choices:
    """Look into the folders.

    Args:
        options: of the server.
        backend: name of the first page's family.

    Raises:
        UsageError: one is no folder, or holds nothing to choose from.
        ModelError: a folder holds no LoRA.
    """
    first = {} if options.model is None else {Path(options.model).name: str(options.model)}
    models = {} if options.model_dir is None else _models(Path(options.model_dir))
    loras = {} if options.lora_dir is None else _loras(Path(options.lora_dir))
    return Choices(backend, models, first, loras)


def _models(folder: Path) -> dict[str, str]:
    _require_folder("model-dir", folder)
    with reported(folder, "read"):
        listed = sorted(
            path for path in folder.iterdir() if path.is_dir() or path.suffix == WEIGHTS
        )
    if not listed:
        raise UsageError(
            f"--model-dir {folder} holds no model: expected {WEIGHTS} files, or folders as "
            "diffusers saves them"
        )
    return {path.name: str(path) for path in listed}


def _loras(folder: Path) -> dict[str, str]:
    _require_folder("lora-dir", folder)
    return {Path(path).name: path for path in lora_files(str(folder))}


def _require_folder(option: str, folder: Path) -> None:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"--{option} {folder} {what}: name a folder")
