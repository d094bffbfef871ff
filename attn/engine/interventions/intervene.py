"""`attn.intervene`: change the attention of a torch model of one's own, without a backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from attn.engine.heads import count_heads
from attn.engine.hooks import ModeHooks
from attn.engine.interventions.acts import Edit
from attn.engine.interventions.calls import CallEdits
from attn.engine.interventions.mode import InterventionMode, ModuleEdits, Treated
from attn.engine.tapping.layout import Declared, declare
from attn.engine.tapping.modules import choose_modules
from attn.errors import CaptureError, UsageError
from attn.schema import CutTarget, Intervention, Segment, part, positions

POSITIONS = "all"
"""Segment of `CutTarget.positions` that counts from the first position of the sequence."""
UNTOLD = ("words", "roles", "sinks", "noise", "branch", "random")
"""What only a backend can tell of a model."""


@contextmanager
def intervene(
    model: nn.Module,
    interventions: Intervention | Sequence[Intervention],
    *,
    segments: Declared | None = None,
) -> Iterator[Treated]:
    """Change the attention of any torch model while the block runs.

    Enter it inside of `attn.tap`, which then records what the changed model computes. A forward
    of `model` is a step.

    Example:
        ```python
        target = CutTarget(layers=("blocks.2.*",), positions=(("all", 7),))
        with attn.tap(model) as tapped, attn.intervene(model, Intervention(target, "mask")):
            model(x)
        ```

    Args:
        model: what will be called.
        interventions: what is changed; layers are globs of paths, keys are `positions` of the
            segment `all` or of `segments`, and `segments`.
        segments: what the positions are, as in `attn.tap`.

    Yields:
        what was changed so far.

    Raises:
        UsageError: a target cannot be told of a bare model, or matches nothing.
        CaptureError: nothing was changed in the block, or a row is left without a key.
    """
    listed = [interventions] if isinstance(interventions, Intervention) else list(interventions)
    declared = declare(segments, None) or ()
    modules = choose_modules(model, None)
    for intervention in listed:
        _require_told(intervention.target, modules, declared)
    calls = _Calls(modules, listed, declared)
    mode = InterventionMode(lambda: calls.edits(hooks.running), calls.treated)
    hooks = ModeHooks(modules, mode, innermost=True)
    handle = model.register_forward_hook(calls.end, always_call=True)
    try:
        with hooks:
            yield calls.treated
    finally:
        handle.remove()
    if listed and not calls.treated.count:
        raise CaptureError(
            "nothing was changed in the block: no attention of the selected layers ran in the "
            "selected steps; call the model, or target others"
        )


@dataclass(frozen=True)
class _PathEdits(ModuleEdits):
    """What is done to the calls of a module, whatever their shape."""

    heads: int | None
    interventions: tuple[Intervention, ...]
    segments: tuple[Segment, ...]

    def laid_out(self, shape: Sequence[int], device: torch.device) -> CallEdits:
        with _disable_current_modes():
            return CallEdits(tuple(self._edits(shape, device)))

    def _edits(self, shape: Sequence[int], device: torch.device) -> Iterator[Edit]:
        *lead, queries, keys = shape
        heads = lead[-1] if len(lead) > 1 else self.heads or lead[0]
        whole = torch.Size(lead).numel() // heads, heads, queries, keys
        for of in self.interventions:
            where = self._where(of.target, heads, queries, keys)
            if where.any():
                if tuple(shape) != whole:
                    where = where.expand(whole).reshape((1, *shape))
                yield Edit(of.act, of.amount or 0.0, where.to(device))

    def _where(self, target: CutTarget, heads: int, queries: int, keys: int) -> Tensor:
        is_part = target.queries not in ("", "all")
        rows = positions(part(self.segments, target.queries)) if is_part else None
        starts = {of.name: of.start for of in self.segments} | {POSITIONS: 0}
        columns = [starts[name] + offset for name, offset in target.positions]
        for name in target.segments:
            columns += positions(part(self.segments, name))
        members = [
            _members(target.heads or None, heads),
            _members(rows, queries),
            _members(columns if target.has_keys else None, keys),
        ]
        head, query, key = members
        return (head[:, None, None] & query[:, None] & key)[None]


class _Calls:
    """Which edits the running forward has."""

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        interventions: Sequence[Intervention],
        segments: tuple[Segment, ...],
    ) -> None:
        self._modules, self._interventions, self._segments = modules, interventions, segments
        self._step = 0
        self.treated = Treated()

    def end(self, module: nn.Module, args: Any, output: Any) -> None:
        """Count a forward that ended."""
        self._step += output is not None

    def edits(self, path: str) -> _PathEdits | None:
        """Return what is done to the calls of a module."""
        selected = tuple(
            of
            for of in self._interventions
            if _matches(of.target, path) and of.target.covers(self._step, None)
        )
        if not selected:
            return None
        return _PathEdits(path, count_heads(self._modules[path]), selected, self._segments)


def _matches(target: CutTarget, path: str) -> bool:
    return any(fnmatchcase(path, glob) for glob in target.layers or ("*",))


def _require_told(
    target: CutTarget, modules: Mapping[str, nn.Module], segments: Sequence[Segment]
) -> None:
    for name in UNTOLD:
        if getattr(target, name) not in ((), 0, None):
            raise UsageError(
                f"intervene: {name} cannot be told of a bare model; target positions or segments"
            )
    if not any(_matches(target, path) for path in modules):
        raise UsageError(
            f"intervene: no module matches {', '.join(target.layers)}; there are "
            f"{', '.join(list(modules)[:3])}, …"
        )
    names = {of.name for of in segments} | {of.kind for of in segments}
    wanted = {*target.segments, *(name for name, _ in target.positions), target.queries}
    for name in sorted(wanted - names - {POSITIONS, ""}):
        raise UsageError(f"intervene: no segment '{name}'; name the lengths of all in segments=")


def _members(selected: Sequence[int] | None, length: int) -> Tensor:
    if selected is None:
        return torch.ones(1, dtype=torch.bool)
    members = torch.zeros(length, dtype=torch.bool)
    members[[position for position in selected if position < length]] = True
    return members
