"""The weights of a base model, found by headers and read by parts: no torch, no model built."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attn.checkpoints.headers import TensorInfo, read_header
from attn.checkpoints.lora_kinds import LoraFamily
from attn.checkpoints.transformers import transformer
from attn.errors import ModelError
from attn.files.disk import is_folder
from attn.files.names import SAFETENSORS
from attn.lora.base.layouts import OTHER_ROWS, BaseWeight, with_other_layouts
from attn.lora.changes.kinds import rows_of
from attn.lora.changes.norms import blocks_norm
from attn.lora.changes.relative import Sides
from attn.lora.changes.tensors import Stored, is_readable
from attn.lora.families import Target, recognise
from attn.lora.names import DENOISER, TOWERS, underscored

_FOLDERS = {"unet": DENOISER, "transformer": DENOISER} | {name: name for name in TOWERS[1:]}
_PREFIXES = {
    "model.diffusion_model.": DENOISER,
    "cond_stage_model.transformer.": "text_encoder",
    "cond_stage_model.model.": "text_encoder",
    "conditioner.embedders.0.transformer.": "text_encoder",
    "conditioner.embedders.1.model.": "text_encoder_2",
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": "text_encoder_3",
}
_BARE = re.compile(
    r"(?:input_blocks|down_blocks|joint_blocks|transformer_blocks|double_blocks|single_blocks"
    r"|single_transformer_blocks|middle_block|mid_block|output_blocks|up_blocks)\."
)
"""Names of denoisers that are alone in a file."""


@dataclass(frozen=True)
class Base:
    """The weights of a model by tower, and there by path as kohya spells it.

    Attributes:
        path: folder or file.
        towers: the weights; two paths that kohya spells alike are left out.
    """

    path: Path
    towers: dict[str, dict[str, BaseWeight]] = field(default_factory=dict)

    def find(
        self,
        tower: str,
        path: str,
        shape: tuple[int, ...] | None,
        sides: Sides = (None, None),
    ) -> BaseWeight | str:
        """Return the weight that a module changes, or why there is none.

        Args:
            tower: one of `attn.lora.names.TOWERS`.
            path: of the module, with dots or underscores.
            shape: of the change; None for any.
            sides: rows and input channels that the weight must have; None for any.
        """
        if tower not in self.towers:
            return f"the model has no {tower}"
        entry = self.towers[tower].get(underscored(path))
        if entry is None:
            return f"the {tower} has no such module"
        if not all(is_readable(stored.info) for stored in entry.weight):
            return "the weight is of a type that is not read"
        there = _shape(entry)
        if _is_of(there, shape, sides):
            return entry
        other = self.towers[tower].get(underscored(path) + OTHER_ROWS)
        if other is not None and _is_of(_shape(other), shape, sides):
            return other
        wanted = [side or "any" for side in sides] if shape is None else list(shape)
        return f"the weight has another shape (weight {list(there)}, change {wanted})"


def family_of(base: Base) -> LoraFamily:
    """Return the family of a model, as its weights tell by the names that they have in it.

    Not by those of other layouts, some of which several families have in common.
    """
    return recognise(
        (
            Target(path, tower, path, _shape(entry))
            for tower, entries in base.towers.items()
            for path, entry in entries.items()
            if path in map(underscored, entry.paths)
        ),
        {},
    )


def norm_of(entry: BaseWeight) -> float:
    """Return the Frobenius norm of a weight."""
    return blocks_norm(rows_of(entry.weight))


def open_base(path: Path) -> Base:
    """Find the weights of a model; only headers are read.

    Args:
        path: diffusers folder, or a checkpoint in one .safetensors file.

    Raises:
        ModelError: it cannot be read, or holds neither denoiser nor text encoder.
    """
    parts = dict(_of_folder(path)) if is_folder(path) else dict(_of_file(path))
    if not parts:
        raise ModelError(
            f"{path} holds no denoiser and no text encoder: expected a diffusers folder with "
            ".safetensors files, or a checkpoint in one .safetensors file"
        )
    return Base(path, {tower: _by_kohya(entries) for tower, entries in parts.items()})


def describe_base(path: Path, towers: Mapping[str, Mapping[str, tuple[int, ...]]]) -> Base:
    """Describe a model that is loaded: where a LoRA's modules are in it, with nothing to read.

    Args:
        path: what it was loaded from.
        towers: the shapes of its weights by dotted path, by tower.
    """
    return Base(
        path,
        {
            tower: _by_kohya({name: _loaded(name, shape) for name, shape in shapes.items()})
            for tower, shapes in towers.items()
        },
    )


def _loaded(name: str, shape: tuple[int, ...]) -> BaseWeight:
    return BaseWeight((name,), (Stored(Path(name), TensorInfo("F32", shape, 0, 0)),))


def _by_kohya(entries: dict[str, BaseWeight]) -> dict[str, BaseWeight]:
    by_name: dict[str, BaseWeight] = {}
    twice = set()
    for path, entry in with_other_layouts(entries).items():
        name = underscored(path)
        if by_name.setdefault(name, entry).weight != entry.weight:
            twice.add(name)
    return {name: entry for name, entry in by_name.items() if name not in twice}


def _of_folder(folder: Path) -> Iterator[tuple[str, dict[str, BaseWeight]]]:
    for name, tower in _FOLDERS.items():
        entries: dict[str, BaseWeight] = {}
        for file in _weight_files(folder / name):
            header = read_header(file)
            for tensor, info in header.tensors.items():
                _add(entries, tensor, file, info)
        if entries:
            yield tower, entries


def _weight_files(folder: Path) -> list[Path]:
    """Return the weights of a component: all shards of one variant, the plain one first."""
    variants: dict[str, list[Path]] = {}
    for file in sorted(folder.glob(f"*{SAFETENSORS}")):
        variants.setdefault(re.sub(r"-\d+-of-\d+", "", file.name), []).append(file)
    return variants[min(variants, key=len)] if variants else []


def _of_file(file: Path) -> dict[str, dict[str, BaseWeight]]:
    tensors = read_header(file).tensors
    table = transformer(tensors)
    is_alone = table is not None and table.parts["dit"] == ""
    is_bare = is_alone or any(_BARE.match(name) for name in tensors)
    parts: dict[str, dict[str, BaseWeight]] = {}
    for name, info in tensors.items():
        prefix = "" if is_bare else next(filter(name.startswith, _PREFIXES), None)
        if prefix is not None:
            tower = _PREFIXES.get(prefix, DENOISER)
            _add(parts.setdefault(tower, {}), name.removeprefix(prefix), file, info)
    return {tower: entries for tower, entries in parts.items() if entries}


def _add(entries: dict[str, BaseWeight], name: str, file: Path, info: TensorInfo) -> None:
    """Keep a weight, without the word `weight`; biases are not compared."""
    is_bare = name == "text_projection"  # OpenCLIP's, turned over, which no norm sees
    if info.shape and (is_bare or name.endswith((".weight", "_weight"))):
        path = name if is_bare else name[: -len(".weight")]
        entries[path] = BaseWeight((path,), (Stored(file, info),))


def _shape(entry: BaseWeight) -> tuple[int, ...]:
    first = entry.weight[0].info.shape
    return (sum(stored.info.shape[0] for stored in entry.weight), *first[1:])


def _is_of(there: tuple[int, ...], shape: tuple[int, ...] | None, sides: Sides) -> bool:
    """Whether a change of this shape, or of these sides, is one of a weight."""
    if shape is not None:
        return _matrix(shape) == _matrix(there)
    pairs = zip(sides, (*there, 1), strict=False)
    return all(side is None or side == size for side, size in pairs)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns: a kernel of one position is a matrix."""
    return (shape[0] if shape else 1), math.prod(shape[1:])
