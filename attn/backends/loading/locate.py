"""Look into the files and folders that parts come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attn.backends.loading.compatibility import require_scaling
from attn.backends.loading.family import Family, Part
from attn.backends.loading.weights.checkpoint import Piece
from attn.checkpoints.families import base_family
from attn.checkpoints.folders import CONFIG, is_pipeline, read_index
from attn.checkpoints.headers import read_header
from attn.checkpoints.probe import Checkpoint, Members, members, probe
from attn.errors import ModelError
from attn.files.disk import is_file, is_folder
from attn.files.names import SAFETENSORS
from attn.wording import list_some

NAMED = 3


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint file that was looked into."""

    path: Path
    checkpoint: Checkpoint
    members: Members

    def piece(self, part: Part) -> Piece | None:
        """Return the tensors of one part."""
        if part.name not in self.members.parts:
            return None
        prefix, tensors = self.checkpoint.parts[part.name], self.members.parts[part.name]
        return Piece(part.name, self.path, prefix, tensors, self.checkpoint.title)

    def require(self, family: Family) -> None:
        """Refuse what is no model of a family.

        Raises:
            ModelError: says what it is, and which backend takes it or why none does.
        """
        checkpoint = self.checkpoint
        if checkpoint.family not in (family.name, base_family(family.name)):
            advice = (
                f"use --backend {checkpoint.family}" if checkpoint.family else checkpoint.advice
            )
            raise ModelError(f"{self.path}: this is {checkpoint.title}; {advice}")

    def left_out(self) -> tuple[str, ...]:
        """Return a warning if the file holds what belongs to no part."""
        names = self.members.unknown
        if not names:
            return ()
        first = list_some((ascii(name)[1:-1] for name in names), NAMED)
        return (f"{self.path.name}: what belongs to no part of the model is left out: {first}",)


Location = CheckpointFile | Path
"""A file, or a folder."""


def look_into(path: Path) -> Location:
    """Read the header of a file; leave a folder for later.

    Raises:
        ModelError: the file is damaged, or no safetensors file.
    """
    if is_folder(path):
        return path
    header = read_header(path)
    checkpoint = probe(header)
    return CheckpointFile(path, checkpoint, members(header, checkpoint))


def part_of_override(location: Location, part: Part, family: Family) -> Piece | Path:
    """Locate the weights of a part in the file or folder that its option names.

    Raises:
        ModelError: it holds no such part, or one of another family.
    """
    if isinstance(location, Path):
        return _folder_of_override(location, part, family)
    piece, checkpoint = location.piece(part), location.checkpoint
    where = f"{part.name}={location.path}: this is {checkpoint.title}"
    if piece is None:
        raise ModelError(f"{where}; it holds no {part.name} that is known here")
    if part is family.denoiser:
        location.require(family)
    if (
        part.name == "vae"
        and checkpoint.family
        and base_family(checkpoint.family) != base_family(family.name)
    ):
        raise ModelError(f"{where}; its VAE scales latents otherwise than {family.name} does")
    return piece


def _folder_of_override(folder: Path, part: Part, family: Family) -> Piece | Path:
    """Return the one file of a part's folder with its configuration; of several, the folder."""
    folder = _part_folder(folder, part, family)
    files = list(folder.glob(f"*{SAFETENSORS}"))
    file = look_into(files[0]) if len(files) == 1 else folder
    if isinstance(file, Path) or file.piece(part) is None:
        return folder
    piece = part_of_override(file, part, family)
    return replace(piece, config=folder) if isinstance(piece, Piece) else piece


def part_of_model(location: Location, part: Part) -> Piece | Path | None:
    """Locate the weights of a part in a model; None if it has none."""
    if isinstance(location, CheckpointFile):
        return location.piece(part)
    listed = is_listed(read_index(location).get(part.component))
    return location / part.component if listed else None


def is_listed(entry: Any) -> bool:
    """Whether an entry of model_index.json says that there is something."""
    return entry is not None and not (isinstance(entry, list) and None in entry)


def _part_folder(folder: Path, part: Part, family: Family) -> Path:
    """Return the folder of one part: the folder itself, or the one in a pipeline's folder."""
    if is_pipeline(folder):
        folder = folder / part.component
    if not is_file(folder / CONFIG):
        raise ModelError(
            f"{part.name}={folder}: expected the folder of a part (with {CONFIG}), or of a "
            "whole model (with model_index.json) that has this part"
        )
    if part.name == "vae":
        require_scaling(folder, family)
    return folder
