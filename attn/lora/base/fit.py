"""Where a LoRA's modules are in a model, and which of them are nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from attn.errors import ModelError
from attn.lora.base.layouts import OTHER_ROWS, BaseWeight
from attn.lora.base.weights import Base, family_of
from attn.lora.file import LoraFile, Module
from attn.lora.selection import selected
from attn.lora.usable import NAMED, other_family
from attn.schema import Lora
from attn.wording import list_some

Placed = list[tuple[Module, BaseWeight]]
"""Modules with the weights that they change."""


@dataclass(frozen=True)
class Fit:
    """How a LoRA fits a model.

    Attributes:
        placed: the modules with the weights that they change, each weight once.
        misfits: in words, what changes nothing: modules with the reason, and unknown tensors.
        unfit: number of tensors of the misfits.
        total: number of tensors in the file that were looked for.
    """

    placed: tuple[tuple[Module, BaseWeight], ...]
    misfits: tuple[str, ...]
    unfit: int
    total: int

    def summary(self) -> str:
        """Count and list the modules that do not fit."""
        names = list_some(self.misfits, NAMED)
        return f"{self.unfit} of its {self.total} tensors fit nothing: {names}"


def fit(file: LoraFile, base: Base, patterns: Sequence[str] = ()) -> Fit:
    """Find the weights that a LoRA changes.

    Args:
        file: the LoRA.
        base: the model.
        patterns: of the modules that are placed; see `attn.lora.selection`.

    Raises:
        ModelError: a pattern matches none of those that fit.
    """
    placed: Placed = []
    misfits: list[str] = []
    taken: set[tuple[str, str]] = set()
    unfit = len(file.unknown) + len(file.repeated)
    for module in file.modules:
        entry = base.find(module.tower, module.path, module.shape, module.sides)
        if not isinstance(entry, str) and taken & _spots(module, entry):
            entry = "another name for what is changed already"
        if isinstance(entry, str):
            misfits.append(f"{module.name} ({entry})")
            unfit += len(module.roles)
        else:
            taken |= _spots(module, entry)
            placed.append((module, entry))
    names = (*misfits, *file.unknown, *file.repeated)
    total = len(file.header.tensors) - len(file.embeddings)
    if patterns:
        placed = _restricted(placed, patterns, base, file)
    return Fit(tuple(placed), names, unfit, total)


def _restricted(placed: Placed, patterns: Sequence[str], base: Base, file: LoraFile) -> Placed:
    """Return the modules that patterns leave, whichever layout these name them in."""
    layouts: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for tower, entries in base.towers.items():
        for name, entry in entries.items():
            layouts.setdefault((tower, entry.paths), []).append(name.removesuffix(OTHER_ROWS))
    names = {
        module.name: (module.tower, (*entry.paths, *layouts.get((module.tower, entry.paths), ())))
        for module, entry in placed
    }
    left = selected(patterns, names, str(file.path))
    return [(module, entry) for module, entry in placed if module.name in left]


def require_fit(file: LoraFile, base: Base, families: Sequence[str]) -> str | None:
    """Refuse a LoRA of which most does not fit; return a warning if some does not.

    Args:
        file: the LoRA.
        base: the model.
        families: that the model may be of.

    Raises:
        ModelError: more than half of its tensors fit nothing in the model, or some do not and it
            is of another family.
    """
    result = fit(file, base)
    if not result.unfit:
        return None
    of_model = family_of(base).name
    expected = (of_model,) if of_model else families
    if file.family.name not in (None, *expected):
        raise ModelError(
            f"{file.path}: {other_family(file.family, expected[0])} ({result.summary()})"
        )
    if 2 * result.unfit > result.total:
        raise ModelError(
            f"{file.path} does not fit this model: {result.summary()}. Choose the model that it "
            "was trained for (`attn lora FILE --model MODEL` compares them)"
        )
    return f"{file.path}: {result.summary()}; they are left out"


def applied(file: LoraFile, base: Base, lora: Lora) -> LoraFile:
    """Return a LoRA as it acts on a model: the modules that are put in, with their scaled norms.

    Args:
        file: the LoRA.
        base: the model; modules of towers that it does not have are left out too.
        lora: what its changes are multiplied by, and the modules that it is restricted to.
    """
    modules = (
        _scaled(replace(module, base_path=entry.path), lora.scale_of(module.tower))
        for module, entry in fit(file, base, lora.modules).placed
    )
    return replace(file, modules=tuple(modules))


def _scaled(module: Module, scale: float) -> Module:
    norm = None if module.norm is None else abs(scale) * module.norm
    return replace(module, scale=scale * module.scale, norm=norm)


def _spots(module: Module, entry: BaseWeight) -> set[tuple[str, str]]:
    return {(module.tower, path) for path in entry.paths}
