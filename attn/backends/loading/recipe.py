"""Find out what a model is made of: a folder, a file, parts of their own, or a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn.backends.loading import source as sources
from attn.backends.loading import tokenizers as tokenizer_files
from attn.backends.loading.checkpoint import Piece
from attn.backends.loading.compatibility import require_class
from attn.backends.loading.family import Family, Part, given_parts
from attn.backends.loading.locate import File, Place, given_part, is_listed, look_into, own_part
from attn.backends.loading.pipeline import find_class
from attn.backends.loading.source import Source, is_pipeline, read_index
from attn.backends.loading.tokenizers import Found
from attn.checkpoints.probe import CONFIGS, Checkpoint
from attn.errors import ModelError


@dataclass(frozen=True)
class Recipe:
    """What a model is made of.

    Attributes:
        family: that it is of.
        roots: diffusers folders with configurations; the first has the pipeline's and the
            scheduler's, those after it describe parts that it does not.
        entries: what the pipeline takes, by name, as model_index.json lists it.
        places: by component, tensors in a file, or a folder.
        tokenizers: by the pipeline's name.
        lacking: the error that says which tokenizers were not found, or None.
        checkpoint: of the denoiser's file, or None if it comes from a folder.
        files: what is read, by name, for `_source.fingerprint`.
        warnings: what the user should know.
    """

    family: Family
    roots: tuple[Path, ...]
    entries: Mapping[str, Any]
    places: Mapping[str, Piece | Path]
    tokenizers: Mapping[str, Found]
    lacking: ModelError | None
    checkpoint: Checkpoint | None
    files: Mapping[str, Path]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Sources:
    """What was looked into.

    Attributes:
        base: the model from which the parts come that are not given; None if all are.
        given: the parts that options name.
        config: folder of configurations that an option names.
        tokenizers: folder of tokenizers that an option names.
    """

    base: Place | None
    given: Mapping[str, Place]
    config: Path | None
    tokenizers: Path | None

    @property
    def folder(self) -> Path | None:
        """The diffusers folder, if the model is one."""
        return self.base if isinstance(self.base, Path) else None

    @property
    def is_plain(self) -> bool:
        """Whether the model is a diffusers folder just as it is."""
        return self.folder is not None and not (self.given or self.config or self.tokenizers)


def collect(source: Source, family: Family, options: Any) -> Recipe:
    """Find everything that a model is made of.

    Args:
        source: what `--model` names, or the denoiser's own file or folder.
        family: that the model must be of.
        options: with the family's parts, `config` and `tokenizers`.

    Raises:
        ModelError: something is not there, of another family, or still missing.
    """
    found = _look(source, family, options)
    places = _places(found, family)
    if found.folder is None:  # else the loader compares its index with what the pipeline takes
        _require_parts(places, source, family)
    denoiser = found.given.get(family.denoiser.name, found.base)
    checkpoint = denoiser.checkpoint if isinstance(denoiser, File) else None
    roots = _roots(found, checkpoint, family)
    entries = _entries(roots, places, found, family)
    tokenizers, lacking = _find_tokenizers(entries, found, source, family)
    files: dict[str, Path] = {} if source.revision is not None else {"": source.path}
    if not found.is_plain:
        files = _files(found, roots, places, tokenizers)
    warnings = found.base.left_out() if isinstance(found.base, File) else ()
    return Recipe(family, roots, entries, places, tokenizers, lacking, checkpoint, files, warnings)


def _look(source: Source, family: Family, options: Any) -> _Sources:
    given = {
        name: look_into(sources.existing(value, name))
        for name, value in given_parts(family, options).items()
    }
    denoiser = given.get(family.denoiser.name)
    base: Place | None = None
    if isinstance(denoiser, File) and denoiser.path == source.path:
        base = denoiser
    elif denoiser != source.path or is_pipeline(source.path):
        base = look_into(source.path)
    if isinstance(base, File):
        base.require(family)
    return _Sources(
        base,
        given,
        *(_folder(name, getattr(options, name, None)) for name in ("config", "tokenizers")),
    )


def _folder(option: str, asked: str | None) -> Path | None:
    if asked is None:
        return None
    folder = Path(asked).expanduser()
    if not folder.is_dir():
        raise ModelError(f"{option}={asked}: there is no such folder")
    return folder


def _places(found: _Sources, family: Family) -> dict[str, Piece | Path]:
    places: dict[str, Piece | Path] = {}
    for part in family.parts:
        if part.name in found.given:
            place = given_part(found.given[part.name], part, family)
            _require_kind(place, part, family)
            places[part.component] = place
        elif found.base is not None and (own := own_part(found.base, part)) is not None:
            places[part.component] = own
    return places


def _require_kind(place: Piece | Path, part: Part, family: Family) -> None:
    """Refuse the folder of another part, whatever else is missing."""
    folder = place if isinstance(place, Path) else place.config
    if folder is not None and family.config is not None:
        library, class_name = read_index(CONFIGS / family.config)[part.component]
        require_class(folder, find_class(library, class_name, part.component), part.component)


def _require_parts(places: Mapping[str, Piece | Path], source: Source, family: Family) -> None:
    held = [part.name for part in family.parts if part.component in places]
    absent = [part.name for part in family.parts if part.name not in held and not part.optional]
    if absent:
        wanted = " ".join(f"--set {name}=PATH" for name in absent)
        raise ModelError(
            f"{source.asked} is not a whole model: {', '.join(held)} found, {', '.join(absent)} "
            f"missing; give what is missing, each a .safetensors file or a folder: {wanted}"
        )


def _roots(found: _Sources, checkpoint: Checkpoint | None, family: Family) -> tuple[Path, ...]:
    if found.config is not None:
        return (found.config,)
    roots = [] if found.folder is None else [found.folder]
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
    roots: Sequence[Path], places: Mapping[str, Piece | Path], found: _Sources, family: Family
) -> dict[str, Any]:
    """Return the first root's index, corrected by what is there."""
    indices = [read_index(root) for root in roots]
    entries = dict(indices[0])
    for part in family.parts:
        for name in filter(None, (part.component, part.tokenizer)):
            if part.component in places:
                listed = (index[name] for index in indices if is_listed(index.get(name)))
                entries[name] = next(listed, [None, None])
            elif found.folder is None:
                entries[name] = [None, None]
    return entries


def _find_tokenizers(
    entries: Mapping[str, Any], found: _Sources, source: Source, family: Family
) -> tuple[dict[str, Found], ModelError | None]:
    own = {} if found.folder is None else read_index(found.folder)
    beside = found.folder or source.path.absolute().parent
    folders = [folder for folder in (found.tokenizers, found.config, beside) if folder]
    tokenizers: dict[str, Found] = {}
    missing = []
    _require_tokenizers(found.tokenizers, family)
    for name in filter(None, (part.tokenizer for part in family.parts)):
        match entries.get(name):
            case [str(library), str(class_name)]:
                cls = find_class(library, class_name, name)
            case _:
                continue
        if found.folder is not None and is_listed(own.get(name)):
            places = (folder / name for folder in folders)
            usable = (place for place in places if tokenizer_files.has_vocabulary(cls, place))
            tokenizers[name] = Found(next(usable, found.folder / name))
        elif (one := tokenizer_files.find(name, cls, folders)) is not None:
            tokenizers[name] = one
        else:
            missing.append(name)
    lacking = tokenizer_files.missing(family.name, missing, folders) if missing else None
    return tokenizers, lacking


def _require_tokenizers(folder: Path | None, family: Family) -> None:
    """Refuse a folder that an option names and that holds none of what it was named for."""
    names = [part.tokenizer for part in family.parts if part.tokenizer]
    if folder is not None and not any((folder / name).is_dir() for name in names):
        wanted = ", ".join(f"{name}/" for name in names)
        raise ModelError(f"tokenizers={folder}: expected a folder that holds {wanted}")


def _files(
    found: _Sources,
    roots: Sequence[Path],
    places: Mapping[str, Piece | Path],
    tokenizers: Mapping[str, Found],
) -> dict[str, Path]:
    """Name everything that is read, but for our own configurations; files may be renamed."""
    labels = {place.path: name for name, place in found.given.items() if isinstance(place, File)}
    if isinstance(found.base, File):
        labels[found.base.path] = "model"
    files = {label: path for path, label in labels.items()}
    for name, place in places.items():
        folder = place if isinstance(place, Path) else place.config
        if folder is not None:
            files[name] = folder
    for name, one in tokenizers.items():
        files |= _present(name, one.folder, tokenizer_files.FILES)
    configs = [f"{name}/config.json" for name in places]
    for root in roots:
        if root.parent != CONFIGS:
            listed = (sources.INDEX, "scheduler/scheduler_config.json", *configs)
            files |= _present("config", root, listed)
    return files


def _present(label: str, folder: Path, names: Sequence[str]) -> dict[str, Path]:
    return {f"{label}/{name}": folder / name for name in names if (folder / name).is_file()}
