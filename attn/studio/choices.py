"""Models and LoRAs that can be chosen: by name, from the folders that the command line names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attn.demo.shipped import LORAS, with_names
from attn.errors import TraceError, UsageError
from attn.files.disk import reported, resolved
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
        left_out: what lies in the folders and is not offered, with the reason.
    """

    backend: str
    models: Mapping[str, str] = field(default_factory=dict)
    first: Mapping[str, str] = field(default_factory=dict)
    loras: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

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

    def with_names(self, text: str) -> str:
        """Return a message in which models and LoRAs are called as the page calls them."""
        paths = {path: name for named in (self.models, self.loras) for name, path in named.items()}
        for path in sorted(paths, key=len, reverse=True):  # one may begin with another
            text = text.replace(path, paths[path])
        return with_names(text)


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
    left_out: list[str] = []
    models, loras = (
        {} if folder is None else _offered(option, Path(folder), list_paths, left_out)
        for option, folder, list_paths in (
            ("model-dir", options.model_dir, _models),
            ("lora-dir", options.lora_dir, lora_files),
        )
    )
    return Choices(backend, models, first, loras, tuple(left_out))


def _offered(
    option: str, folder: Path, list_paths: Callable[[str], list[str]], left_out: list[str]
) -> dict[str, str]:
    """Return what lies inside a folder, by name; links that lead out of it are left out.

    Raises:
        UsageError: it is no folder, or nothing is left.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"--{option} {folder} {what}: name a folder")
    paths = [Path(path) for path in list_paths(str(folder))]
    inside = [path for path in paths if _is_inside(path, folder)]
    names = [path.name for path in paths if path not in inside]
    left_out += [f"{name} of --{option}: it is, or holds, a link that leads out" for name in names]
    if not inside:
        raise UsageError(
            f"--{option} {folder} holds links that lead out of it alone: {', '.join(names[:5])}"
        )
    return {path.name: str(path) for path in inside}


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether all of a file or folder is in another folder, wherever links lead."""
    root = resolved(folder)
    try:
        return all(resolved(each).is_relative_to(root) for each in (path, *path.rglob("*")))
    except TraceError:  # links in a circle
        return False


def _models(name: str) -> list[str]:
    folder = Path(name)
    with reported(folder, "read"):
        there = sorted(path for path in folder.iterdir() if path.is_dir() or path.suffix == WEIGHTS)
    if not there:
        raise UsageError(
            f"--model-dir {folder} holds no model: expected {WEIGHTS} files, or folders as "
            "diffusers saves them"
        )
    return [str(path) for path in there]
