"""Find out what a model is made of: a folder, a file, parts of their own, or a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn.backends.loading import source as sources
from attn.backends.loading import tokenizers as tokenizer_files
from attn.backends.loading.compatibility import require_class
from attn.backends.loading.family import Family, Part, part_overrides
from attn.backends.loading.library_classes import find_class
from attn.backends.loading.locate import (
    CheckpointFile,
    Location,
    is_listed,
    look_into,
    part_of_model,
    part_of_override,
)
from attn.backends.loading.source import Source
from attn.backends.loading.tokenizers import TokenizerFiles
from attn.backends.loading.weights.checkpoint import Piece
from attn.checkpoints.folders import INDEX, is_pipeline, read_index
from attn.checkpoints.probe import CONFIGS, Checkpoint
from attn.errors import ModelError
from attn.files.disk import is_file, is_folder


@dataclass(frozen=True)
class Recipe:
    """What a model is made of.

    Attributes:
        family: that it is of.
        roots: diffusers folders with configurations; the first has the pipeline's and the
            scheduler's, those after it describe parts that it does not.
        entries: what the pipeline takes, by name, as model_index.json lists it.
        pieces: by component, tensors in a file, or a folder.
        tokenizers: by the pipeline's name.
        lacking: the error that says which tokenizers were not found, or None.
        checkpoint: of the denoiser's file, or None if it comes from a folder.
        files: what is read, by name, for `fingerprints.fingerprint`.
        warnings: what the user should know.
    """

    family: Family
    roots: tuple[Path, ...]
    entries: Mapping[str, Any]
    pieces: Mapping[str, Piece | Path]
    tokenizers: Mapping[str, TokenizerFiles]
    lacking: ModelError | None
    checkpoint: Checkpoint | None
    files: Mapping[str, Path]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Sources:
    """What was looked into.

    Attributes:
        base: the model from which the parts come that are not given; None if all are.
        overrides: the parts that options name.
        config: folder of configurations that an option names.
        tokenizers: folder of tokenizers that an option names.
    """

    base: Location | None
    overrides: Mapping[str, Location]
    config: Path | None
    tokenizers: Path | None

    @property
    def folder(self) -> Path | None:
        """The diffusers folder, if the model is one."""
        return self.base if isinstance(self.base, Path) else None

    @property
    def is_plain(self) -> bool:
        """Whether the model is a diffusers folder just as it is."""
        return self.folder is not None and not (self.overrides or self.config or self.tokenizers)


def collect(source: Source, family: Family, options: Any) -> Recipe:
    """Find everything that a model is made of.

    Args:
        source: what `--model` names, or the denoiser's own file or folder.
        family: that the model must be of.
        options: with the family's parts, `config` and `tokenizers`.

    Raises:
        ModelError: something is not there, of another family, or still missing.
    """
    inputs = _look(source, family, options)
    pieces = _pieces(inputs, family)
    if inputs.folder is None:  # else the loader compares its index with what the pipeline takes
        _require_parts(pieces, source, family)
    denoiser = inputs.overrides.get(family.denoiser.name, inputs.base)
    checkpoint = denoiser.checkpoint if isinstance(denoiser, CheckpointFile) else None
    roots = _roots(inputs, checkpoint, family)
    entries = _entries(roots, pieces, inputs, family)
    tokenizers, lacking = _find_tokenizers(entries, inputs, source, family)
    files: dict[str, Path] = {} if source.revision is not None else {"": source.path}
    if not inputs.is_plain:
        files = _files(inputs, roots, pieces, tokenizers)
    warnings = inputs.base.left_out() if isinstance(inputs.base, CheckpointFile) else ()
    return Recipe(family, roots, entries, pieces, tokenizers, lacking, checkpoint, files, warnings)


def _look(source: Source, family: Family, options: Any) -> _Sources:
    overrides = {
        name: look_into(sources.existing(value, name))
        for name, value in part_overrides(family, options).items()
    }
    denoiser = overrides.get(family.denoiser.name)
    base: Location | None = None
    if isinstance(denoiser, CheckpointFile) and denoiser.path == source.path:
        base = denoiser
    elif denoiser != source.path or is_pipeline(source.path):
        base = look_into(source.path)
    if isinstance(base, CheckpointFile):
        base.require(family)
    return _Sources(
        base,
        overrides,
        *(_folder(name, getattr(options, name, None)) for name in ("config", "tokenizers")),
    )


def _folder(option: str, value: str | None) -> Path | None:
    if value is None:
        return None
    folder = Path(value).expanduser()
    if not is_folder(folder):
        raise ModelError(f"{option}={value}: there is no such folder")
    return folder


def _pieces(inputs: _Sources, family: Family) -> dict[str, Piece | Path]:
    pieces: dict[str, Piece | Path] = {}
    for part in family.parts:
        if part.name in inputs.overrides:
            piece = part_of_override(inputs.overrides[part.name], part, family)
            _require_kind(piece, part, family)
            pieces[part.component] = piece
        elif inputs.base is not None and (held := part_of_model(inputs.base, part)) is not None:
            pieces[part.component] = held
    return pieces


def _require_kind(piece: Piece | Path, part: Part, family: Family) -> None:
    """Refuse the folder of another part, whatever else is missing."""
    folder = piece if isinstance(piece, Path) else piece.config
    if folder is not None and family.config is not None:
        library, class_name = read_index(CONFIGS / family.config)[part.component]
        require_class(folder, find_class(library, class_name, part.component), part.name)


def _require_parts(pieces: Mapping[str, Piece | Path], source: Source, family: Family) -> None:
    held = [part.name for part in family.parts if part.component in pieces]
    absent = [part.name for part in family.parts if part.name not in held and not part.optional]
    if absent:
        wanted = " ".join(f"--set {name}=PATH" for name in absent)
        raise ModelError(
            f"{source.requested} is not a whole model: {', '.join(held)} found, "
            f"{', '.join(absent)} missing; give what is missing, each a "
            f".safetensors file or a folder: {wanted}"
        )


def _roots(inputs: _Sources, checkpoint: Checkpoint | None, family: Family) -> tuple[Path, ...]:
    if inputs.config is not None:
        return (inputs.config,)
    roots = [] if inputs.folder is None else [inputs.folder]
    if checkpoint is not None and checkpoint.config is not None:
        roots.append(CONFIGS / checkpoint.config)
    roots += [CONFIGS / family.config] if family.config is not None else []
    if not roots:
        raise ModelError(
            f"{family.name} opens diffusers folders only, since it brings no configurations for "
            "other files: give the folder that the model was saved to"
        )
    return tuple(dict.fromkeys(roots))


def _entries(
    roots: Sequence[Path], pieces: Mapping[str, Piece | Path], inputs: _Sources, family: Family
) -> dict[str, Any]:
    """Return the first root's index, corrected by what is there."""
    indices = [read_index(root) for root in roots]
    entries = dict(indices[0])
    for part in family.parts:
        for name in filter(None, (part.component, part.tokenizer)):
            if part.component in pieces:
                listed = (index[name] for index in indices if is_listed(index.get(name)))
                entries[name] = next(listed, [None, None])
            elif inputs.folder is None:
                entries[name] = [None, None]
    return entries


def _find_tokenizers(
    entries: Mapping[str, Any], inputs: _Sources, source: Source, family: Family
) -> tuple[dict[str, TokenizerFiles], ModelError | None]:
    index = {} if inputs.folder is None else read_index(inputs.folder)
    beside = inputs.folder or source.path.absolute().parent
    folders = [folder for folder in (inputs.tokenizers, inputs.config, beside) if folder]
    tokenizers: dict[str, TokenizerFiles] = {}
    missing = []
    _require_tokenizers(inputs.tokenizers, family)
    for part in family.parts:
        if (name := part.tokenizer) is None:
            continue
        match entries.get(name):
            case [str(library), str(class_name)]:
                cls = find_class(library, class_name, name)
            case _:
                continue
        if inputs.folder is not None and is_listed(index.get(name)):
            candidates = (folder / name for folder in folders)
            usable = (
                candidate
                for candidate in candidates
                if tokenizer_files.has_vocabulary(cls, candidate)
            )
            tokenizers[name] = TokenizerFiles(next(usable, inputs.folder / name))
        elif (files := tokenizer_files.find(part, cls, folders)) is not None:
            tokenizers[name] = files
        else:
            missing.append(name)
    lacking = tokenizer_files.missing(family.repository, missing, folders) if missing else None
    return tokenizers, lacking


def _require_tokenizers(folder: Path | None, family: Family) -> None:
    """Refuse a folder that an option names and that holds none of what it was named for."""
    names = [part.tokenizer for part in family.parts if part.tokenizer]
    if folder is not None and not any(is_folder(folder / name) for name in names):
        wanted = ", ".join(f"{name}/" for name in names)
        raise ModelError(f"tokenizers={folder}: expected a folder that holds {wanted}")


def _files(
    inputs: _Sources,
    roots: Sequence[Path],
    pieces: Mapping[str, Piece | Path],
    tokenizers: Mapping[str, TokenizerFiles],
) -> dict[str, Path]:
    """Name everything that is read, but for our own configurations; files may be renamed."""
    labels = {
        piece.path: name
        for name, piece in inputs.overrides.items()
        if isinstance(piece, CheckpointFile)
    }
    if isinstance(inputs.base, CheckpointFile):
        labels[inputs.base.path] = "model"
    files = {label: path for path, label in labels.items()}
    for name, piece in pieces.items():
        folder = piece if isinstance(piece, Path) else piece.config
        if folder is not None:
            files[name] = folder
    for name, entry in tokenizers.items():
        files |= _present(name, entry.folder, tokenizer_files.FILES)
    configs = [f"{name}/config.json" for name in pieces]
    for root in roots:
        if root.parent != CONFIGS:
            listed = (INDEX, "scheduler/scheduler_config.json", *configs)
            files |= _present("config", root, listed)
    return files


def _present(label: str, folder: Path, names: Sequence[str]) -> dict[str, Path]:
    return {f"{label}/{name}": folder / name for name in names if is_file(folder / name)}
