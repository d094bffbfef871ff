"""What a LoRA file holds: plain records, filled by `attn.lora.read`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn.checkpoints.families import backend_of
from attn.checkpoints.headers import Header
from attn.checkpoints.lora_kinds import LoraFamily
from attn.lora.blocks import TARGETS, Block
from attn.lora.changes.relative import Sides
from attn.lora.names import TOWERS


@dataclass(frozen=True)
class Module:
    """The change of one module.

    Attributes:
        name: what the names of its tensors have in common.
        spelling: `kohya`, `peft`, `diffusers` or `dotted`.
        tower: `denoiser`, `text_encoder`, `text_encoder_2` or `text_encoder_3`.
        path: the module inside its tower; kohya's has underscores where the model has dots.
        block: where that is in the network.
        target: what it is for; one of `attn.lora.blocks.TARGETS`.
        kind: how the change is stored; one of `attn.lora.changes.kinds.KINDS`.
        is_dora: whether a magnitude is trained too; the norm is that of the change before it.
        has_core: whether a small kernel stands between the factors (CP or Tucker decomposition).
        rank: inner size of the factors; None where there is none.
        alpha: as stored, or as peft's configuration in the file has it; None means alpha = rank.
        scale: what the product of the factors is multiplied by; alpha / rank mostly.
        shape: of the change; None where only the base weight has one.
        sides: rows and input channels that the base weight must have; None for any, as where there
            is a shape.
        dtypes: of its tensors, as the format names them.
        roles: what its tensors are: `down`, `up`, `alpha`, ….
        unread: names of tensors of this module that the formula of its kind does not read.
        adapter: peft's name of the adapter, where it stands in the tensors' names.
        norm: Frobenius norm of the change; None where it cannot be told, NaN where it is not
            finite.
        base_path: dotted path in the base model; None if none was given or the module is not there.
        base_norm: Frobenius norm of the weight that is changed.
        unmeasured: why its norm, which can be told, was not computed, or None; it can be used.
        problem: why it cannot be used, or None.
    """

    name: str
    spelling: str
    tower: str
    path: str
    block: Block
    target: str
    kind: str
    is_dora: bool
    has_core: bool
    rank: int | None
    alpha: float | None
    scale: float
    shape: tuple[int, ...] | None
    dtypes: tuple[str, ...]
    roles: tuple[str, ...]
    norm: float | None
    unread: tuple[str, ...] = ()
    sides: Sides = (None, None)
    adapter: str | None = None
    base_path: str | None = None
    base_norm: float | None = None
    unmeasured: str | None = None
    problem: str | None = None

    @property
    def relative(self) -> float | None:
        """‖ΔW‖ / ‖W‖; None without a base weight, or with one of zeros."""
        if self.norm is None or not self.base_norm:
            return None
        return self.norm / self.base_norm


@dataclass(frozen=True)
class Oddity:
    """Something in a file that its maker or user should know.

    Attributes:
        kind: one word for programs, such as `untrained`.
        message: a sentence for people.
        names: the modules or tensors concerned.
    """

    kind: str
    message: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class BaseModel:
    """The model that changes were compared with.

    Attributes:
        path: folder or file.
        missing: names of modules that it has not, each with the reason.
    """

    path: Path
    missing: Mapping[str, str]


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file.

    Attributes:
        header: every tensor's name, dtype, shape and place, and the raw metadata.
        size: of the file, bytes.
        sha256: of the file.
        weights_sha256: of what follows the header; trainers write it as `sshs_model_hash`.
        config_sha256: of peft's configuration beside the file; None where there is none.
        modules: what it changes, in the order of the network, denoiser first; within a block
            by path.
        adapters: names that peft gave to adapters in this file, "" for one without; mostly none.
        family: the base models that it was made for.
        metadata: what trainers wrote, JSON in texts decoded.
        unknown: names of tensors that no LoRA has.
        embeddings: names of tensors that stand for words of the prompt, which are not read.
        repeated: names of tensors whose place in their module was taken.
        oddities: what its maker or user should know.
        obstacles: why no backend can load it, each with names; empty if one can.
        base: the model that changes were compared with, if one was given.
        selection: patterns that `modules` were restricted to; see `attn.lora.selection`.
    """

    header: Header
    size: int
    sha256: str
    weights_sha256: str
    config_sha256: str | None
    modules: tuple[Module, ...]
    adapters: tuple[str, ...]
    family: LoraFamily
    metadata: Mapping[str, Any]
    unknown: tuple[str, ...]
    embeddings: tuple[str, ...]
    repeated: tuple[str, ...]
    oddities: tuple[Oddity, ...]
    obstacles: Mapping[str, tuple[str, ...]]
    base: BaseModel | None = None
    selection: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path

    @property
    def backend(self) -> str | None:
        """The backend that opens the models of its family; None if none does."""
        return backend_of(self.family.name)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why no backend can load it; empty if nothing speaks against it."""
        is_foreign = self.family.name is not None and self.backend is None
        lacking = (f"attn has no backend for {self.family.title}",) if is_foreign else ()
        return (*self.obstacles, *lacking)

    @property
    def loadable(self) -> bool | None:
        """Whether its backend can load it; None where the file does not tell the family."""
        if self.reasons:
            return False
        return None if self.backend is None else True

    @property
    def norm(self) -> float | None:
        """Norm of all changes together; None if no module's can be told."""
        return joint_norm(module.norm for module in self.modules)


@dataclass(frozen=True)
class Group:
    """Modules that belong together.

    Attributes:
        tower: of all of them.
        name: of the block or target, or of the tower itself.
        modules: the modules.
        norm: sqrt of the sum of ‖ΔW‖² over those whose norm is finite; None if there is none.
        relative: the same divided by the norm of their base weights; None without them.
    """

    tower: str
    name: str
    modules: tuple[Module, ...]

    @property
    def norm(self) -> float | None:
        """Norm of all changes together."""
        return joint_norm(module.norm for module in self.modules)

    @property
    def relative(self) -> float | None:
        """‖ΔW‖ / ‖W‖ over the modules of which both are known."""
        measured = [module for module in self.modules if is_finite(module.relative)]
        below = joint_norm(module.base_norm for module in measured)
        above = joint_norm(module.norm for module in measured)
        return above / below if above is not None and below else None

    def share(self, whole: float | None) -> float | None:
        """Return the share of this group's square in that of `whole`; 0–1."""
        return None if self.norm is None or not whole else (self.norm / whole) ** 2


def is_finite(number: float | None) -> bool:
    """Whether there is a number, and it is finite."""
    return number is not None and math.isfinite(number)


def joint_norm(norms: Iterable[float | None]) -> float | None:
    """Return the norm of parts together: sqrt of the sum of squares of what is known."""
    finite = [norm for norm in norms if norm is not None and math.isfinite(norm)]
    return math.hypot(*finite) if finite else None


def towers(lora: LoraFile) -> list[Group]:
    """Return the modules of each tower."""
    return _grouped(lora, lambda module: module.tower)


def targets(lora: LoraFile) -> list[Group]:
    """Return the modules of each tower by what they are for."""
    groups = _grouped(lora, lambda module: module.target)
    return sorted(groups, key=lambda group: (TOWERS.index(group.tower), TARGETS.index(group.name)))


def blocks(lora: LoraFile) -> list[Group]:
    """Return the modules of each block, in the order of the network."""
    return _grouped(lora, lambda module: module.block.name)


def _grouped(lora: LoraFile, key: Callable[[Module], str]) -> list[Group]:
    groups: dict[tuple[str, str], list[Module]] = {}
    for module in lora.modules:
        groups.setdefault((module.tower, key(module)), []).append(module)
    return [Group(tower, name, tuple(members)) for (tower, name), members in groups.items()]


def counted(values: Iterable[Any]) -> dict[Any, int]:
    """Count each value, the most frequent first."""
    return dict(Counter(values).most_common())
