"""Read a LoRA file: its modules, their norms, its metadata, and what is odd about it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from attn.checkpoints.headers import Header
from attn.checkpoints.lora_kinds import LoraFamily
from attn.errors import ModelError
from attn.lora import metadata as meta
from attn.lora.adapters import Adapter, config_beside, written_beside, written_inside
from attn.lora.base.weights import Base, norm_of, open_base
from attn.lora.blocks import block_of, target_of
from attn.lora.changes.kinds import (
    KINDS,
    MAGNITUDES,
    Form,
    Misshapen,
    Weight,
    kind_of,
    require_beside,
    work_of,
)
from attn.lora.changes.relative import sides_of
from attn.lora.changes.tensors import SizeError, Stored, hashes, is_readable
from attn.lora.families import Target, attends_jointly, recognise
from attn.lora.file import BaseModel, LoraFile, Module
from attn.lora.names import TOWERS, TensorChange, changes, embedding_word, of_adapter, underscored
from attn.lora.oddities import find_oddities, obstacles
from attn.lora.source import read_lora_header, size_of

LARGEST_RANK = 2**13
LARGEST_CHANGE = 2**31  # elements: more than any layer has
MOST_WORK = 2**34
"""Multiplications for the norm of a module: seconds; rank 1024 of the widest layers takes less."""
MOST_WORK_OF_FILE = 2**40
"""Multiplications for all norms of a file: minutes; rank 256 of the largest models takes less."""
DIGITS = 6  # of the largest number of a block


def read(path: str | Path, model: str | Path | None = None, adapter: str | None = None) -> LoraFile:
    """Read a LoRA file and measure what it changes; no torch, one module in memory at a time.

    Args:
        path: a .safetensors file in kohya's, peft's, diffusers' or LyCORIS' naming, or a folder as
            peft or diffusers saves it. Peft's `adapter_config.json` beside the file is read too.
        model: diffusers folder or single .safetensors file, to compare with the weights that are
            changed; None compares with nothing.
        adapter: which one to read, of a file with several; None reads all.

    Raises:
        ModelError: a file cannot be read, is damaged or larger than any LoRA, holds none, or no
            such adapter.
    """
    header = read_lora_header(Path(path))
    every, rest = changes(header.tensors)
    selected = _of_adapter(every, adapter, header)
    drafts = _bounded([draft for change in selected if (draft := _draft(change, header.path))])
    if not drafts:
        raise ModelError(_no_lora(header))
    decoded = meta.decode(header.metadata)
    family = recognise([draft.target for draft in drafts], decoded)
    base = None if model is None else open_base(Path(model))
    config = config_beside(header.path)
    adapters = written_inside(decoded) or (written_beside(config) if config else {})
    modules, missing = _measure(drafts, family, adapters, base)
    whole, weights = hashes(header.path, min(info.start for info in header.tensors.values()))
    unknown = (*rest, *_without_kind(selected))
    lora = LoraFile(
        header=header,
        size=size_of(header),
        sha256=whole,
        weights_sha256=weights,
        config_sha256=hashes(config, 0)[0] if config else None,
        modules=modules,
        adapters=_adapter_names(selected),
        family=family,
        metadata=decoded,
        unknown=tuple(name for name in unknown if embedding_word(name) is None),
        embeddings=tuple(name for name in unknown if embedding_word(name) is not None),
        repeated=tuple(name for change in selected for name in change.repeated),
        oddities=(),
        obstacles={},
        base=None if base is None else BaseModel(base.path, missing),
    )
    lora = replace(lora, obstacles=obstacles(lora, adapters))
    return replace(lora, oddities=find_oddities(lora))


def _of_adapter(
    collected: Sequence[TensorChange], adapter: str | None, header: Header
) -> list[TensorChange]:
    """Return the changes of one adapter; of several without a choice all, told apart by name.

    Raises:
        ModelError: there is no such adapter.
    """
    names = _adapter_names(collected)
    if adapter and adapter in names:
        return of_adapter(collected, adapter)
    if adapter is not None:
        there = ", ".join(filter(None, names)) or "none with a name"
        raise ModelError(f"{header.path} has no adapter '{adapter}'; its adapters: {there}")
    if len(names) > 1:
        return [
            replace(change, name=f"{change.name} [{change.adapter or ''}]") for change in collected
        ]
    return list(collected)


def _adapter_names(collected: Sequence[TensorChange]) -> tuple[str, ...]:
    """Return the names of the adapters in a file, "" for one without; of a usual file nothing."""
    names = {change.adapter or "" for change in collected if kind_of(change.tensors)}
    return tuple(sorted(names)) if names != {""} else ()


def tensors_of(file: LoraFile, adapter: str | None) -> dict[str, dict[str, Stored]]:
    """Return the tensors of each module, by its name and their roles.

    Args:
        file: as it was read.
        adapter: the one that was read.
    """
    every, _ = changes(file.header.tensors)
    return {
        change.name: {role: Stored(file.path, info) for role, info in change.tensors.items()}
        for change in _of_adapter(every, adapter, file.header)
    }


def is_lora(header: Header) -> bool:
    """Whether the names in a file are those of a LoRA or of one of its relatives."""
    collected, _ = changes(header.tensors)
    return any(kind_of(change.tensors) for change in collected)


def _no_lora(header: Header) -> str:
    names = ", ".join(ascii(name[:60])[1:-1] for name in list(header.tensors)[:3]) or "nothing"
    return (
        f"{header.path} holds no LoRA: no tensor is named as kohya, peft, diffusers or LyCORIS "
        f"name theirs; its names begin with {names}"
    )


def _without_kind(collected: Sequence[TensorChange]) -> list[str]:
    """Return the tensors that stand alone where a LoRA has several, such as a lone alpha."""
    lone = (change for change in collected if kind_of(change.tensors) is None)
    return [name for change in lone for name in change.names.values()]


@dataclass(frozen=True)
class _Draft:
    """A module before its numbers are read."""

    change: TensorChange
    path: Path
    kind: str
    form: Form
    problem: str | None
    unmeasured: str | None = None

    @property
    def target(self) -> Target:
        return Target(self.change.name, self.change.tower, self.change.path, self.form.shape)

    @property
    def parts(self) -> dict[str, Stored]:
        return {role: Stored(self.path, info) for role, info in self.change.tensors.items()}


def _draft(change: TensorChange, path: Path) -> _Draft | None:
    kind = kind_of(change.tensors)
    if kind is None:
        return None
    form, problem = Form(), None
    try:
        form = KINDS[kind].form(change.tensors)
        require_beside(change.tensors, form)
        _check(change, form)
    except Misshapen as fact:
        problem = str(fact)
    return _Draft(change, path, kind, form, problem)


def _check(change: TensorChange, form: Form) -> None:
    """Refuse what cannot be read, and sizes that no layer has.

    Raises:
        Misshapen: says what is wrong.
    """
    for role, info in change.tensors.items():
        if not is_readable(info):
            raise Misshapen(f"its {role} is stored as {info.dtype}, which is not read")
        if info.elements == 0:
            raise Misshapen(f"its {role} is empty: shape {list(info.shape)}")
    alpha = change.tensors.get("alpha")
    if alpha and alpha.elements > 1:
        raise Misshapen(f"its alpha has shape {list(alpha.shape)}; expected one number")
    if (form.rank or 0) > LARGEST_RANK or math.prod(form.shape or ()) > LARGEST_CHANGE:
        raise Misshapen(f"its rank {form.rank} or shape {list(form.shape or ())} is too large")


def _bounded(drafts: Sequence[_Draft]) -> list[_Draft]:
    """Leave the norms out that would take too long, each alone or after those before it."""
    bounded, total = [], 0
    for draft in drafts:
        unmeasured, work = None, 0
        if draft.problem is None:
            work = work_of(draft.kind, draft.change.tensors, draft.form)
        if work > MOST_WORK:
            limit = f"at most {MOST_WORK:.1e} are made"
            unmeasured, work = f"takes {work:.1e} multiplications; {limit}", 0
        elif total + work > MOST_WORK_OF_FILE:
            limit = f"{MOST_WORK_OF_FILE:.1e} multiplications, the most that are made for a file"
            unmeasured, work = f"takes, with those before it, more than {limit}", 0
        total += work
        bounded.append(replace(draft, unmeasured=unmeasured))
    return bounded


def _measure(
    drafts: Sequence[_Draft],
    family: LoraFamily,
    adapters: Mapping[str, Adapter],
    base: Base | None,
) -> tuple[tuple[Module, ...], dict[str, str]]:
    """Measure every module; also return which are not in the base model, and why."""
    modules, missing = [], {}
    for draft in drafts:
        module = _described(draft, family, adapters.get(draft.change.tower))
        weight: Weight | None = None
        if base is not None and draft.problem is None:
            entry = base.find(module.tower, module.path, module.shape, module.sides)
            if isinstance(entry, str):
                missing[module.name] = entry
            else:
                weight = entry.weight
                module = replace(module, base_path=entry.path, base_norm=norm_of(entry))
        modules.append(_with_norm(module, draft, weight))
    modules.sort(key=_sort_key)
    return tuple(modules), missing


def _sort_key(module: Module) -> tuple[Any, ...]:
    """Return the sort key of a module: tower, block, path in natural order, name."""
    path = re.sub(r"\d+", lambda number: number[0].zfill(DIGITS), underscored(module.path))
    return TOWERS.index(module.tower), module.block, path, module.name


def _described(draft: _Draft, family: LoraFamily, adapter: Adapter | None) -> Module:
    change, form = draft.change, draft.form
    configured = adapter if _is_configured(draft) else None
    alpha = _alpha(draft, configured)
    rank: float | None = form.rank  # of LoKr's whole factors peft's configuration has one
    if rank is None and configured is not None:
        rank = configured.rank_of(change.path)
    return Module(
        name=change.name,
        adapter=change.adapter,
        spelling=change.spelling,
        tower=change.tower,
        path=change.path,
        block=block_of(change.path),
        target="norm"
        if draft.kind == "norm"
        else target_of(change.path, is_joint=attends_jointly(family)),
        kind=draft.kind,
        is_dora=not change.tensors.keys().isdisjoint(MAGNITUDES),
        has_core=bool(change.tensors.keys() & {"mid", "hada_t1", "lokr_t2", "lokr_t1", "bm"}),
        rank=form.rank,
        alpha=alpha,
        scale=_scale(alpha, rank, configured),
        shape=form.shape,
        sides=(None, None) if draft.problem else sides_of(draft.kind, draft.parts),
        dtypes=tuple(dict.fromkeys(info.dtype for info in change.tensors.values())),
        roles=tuple(change.tensors),
        unread=(*_unread(draft), *change.strays),
        norm=None,
        unmeasured=draft.unmeasured,
        problem=draft.problem,
    )


def _unread(draft: _Draft) -> list[str]:
    """Return the names of tensors that the formula of a module's kind does not read."""
    names, roles = draft.change.names, KINDS[draft.kind].roles
    return [names[role] for role in draft.change.tensors if role not in roles]


def _is_configured(draft: _Draft) -> bool:
    """Whether peft's configuration says how strong a module is: not where a tensor does."""
    is_scaled = draft.form.rank is not None or draft.kind == "lokr"
    is_peft = draft.change.spelling == "peft" and is_scaled
    return is_peft and "alpha" not in draft.change.tensors


def _alpha(draft: _Draft, adapter: Adapter | None) -> float | None:
    if draft.problem is None and "alpha" in draft.change.tensors:
        return float(draft.parts["alpha"].read().reshape(-1)[0])
    return adapter.alpha_of(draft.change.path) if adapter else None


def _scale(alpha: float | None, rank: float | None, adapter: Adapter | None) -> float:
    """Return the scale of the factors' product; 1 without factors."""
    if alpha is None or rank is None:
        return 1.0
    return alpha / (math.sqrt(rank) if adapter and adapter.is_rank_stabilised else rank)


def _with_norm(module: Module, draft: _Draft, weight: Weight | None) -> Module:
    if module.problem is not None or module.unmeasured is not None:
        return module
    try:
        with np.errstate(all="ignore"):  # what is not finite is reported, not warned of
            norm = KINDS[module.kind].norm(draft.parts, weight)
    except Misshapen as fact:
        return replace(module, problem=str(fact))
    except SizeError as fact:  # nothing is wrong with it
        return replace(module, unmeasured=str(fact))
    return replace(module, norm=None if norm is None else abs(module.scale) * norm)
