"""Where a LoRA's modules are in a model, and which of them are nowhere."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attn.errors import ModelError
from attn.lora.base import Base
from attn.lora.file import LoraFile, Module
from attn.lora.layouts import Place
from attn.lora.usable import listed


@dataclass(frozen=True)
class Fit:
    """How a LoRA fits a model.

    Attributes:
        placed: the modules with the weights that they change, each weight once.
        misfits: in words, what changes nothing: modules with the reason, and unknown tensors.
        unfit: number of tensors of the misfits.
        total: number of tensors in the file that were looked for.
    """

    placed: tuple[tuple[Module, Place], ...]
    misfits: tuple[str, ...]
    unfit: int
    total: int

    def summary(self) -> str:
        """Say how much does not fit, and what."""
        return f"{self.unfit} of its {self.total} tensors fit nothing: {listed(self.misfits)}"


def fit(file: LoraFile, base: Base) -> Fit:
    """Find the weights that a LoRA changes.

    Args:
        file: the LoRA.
        base: the model.
    """
    placed: list[tuple[Module, Place]] = []
    misfits: list[str] = []
    taken: set[tuple[str, str]] = set()
    unfit = len(file.unknown) + len(file.repeated)
    for module in file.modules:
        place = base.find(module.tower, module.path, module.shape)
        if not isinstance(place, str) and taken & _spots(module, place):
            place = "another name for what is changed already"
        if isinstance(place, str):
            misfits.append(f"{module.name} ({place})")
            unfit += len(module.roles)
        else:
            taken |= _spots(module, place)
            placed.append((module, place))
    names = (*misfits, *file.unknown, *file.repeated)
    return Fit(tuple(placed), names, unfit, len(file.header.tensors))


def require_fit(file: LoraFile, found: Fit) -> str | None:
    """Refuse a LoRA of which most does not fit; return a warning if some does not.

    Raises:
        ModelError: more than half of its tensors fit nothing in the model.
    """
    if 2 * found.unfit > found.total:
        raise ModelError(
            f"{file.path} does not fit this model: {found.summary()}. Choose the model that it was "
            "trained for (`attn lora FILE --model MODEL` compares them)"
        )
    return f"{file.path}: {found.summary()}; they are left out" if found.unfit else None


def applied(file: LoraFile, base: Base, scale: float) -> LoraFile:
    """Return a LoRA as it acts on a model: the modules that are put in, with their scaled norms.

    Args:
        file: the LoRA.
        base: the model; modules of towers that it does not have are left out too.
        scale: what the change is multiplied by.
    """
    modules = tuple(
        replace(
            module,
            base_path=place.path,
            scale=scale * module.scale,
            norm=None if module.norm is None else abs(scale) * module.norm,
        )
        for module, place in fit(file, base).placed
    )
    return replace(file, modules=modules)


def _spots(module: Module, place: Place) -> set[tuple[str, str]]:
    return {(module.tower, path) for path in place.paths}
