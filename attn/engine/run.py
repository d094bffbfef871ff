"""Hooks and recorder around one generation: the engine as the verbs use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TypeVar

from torch import nn

from attn.engine.concepts.replays import ConceptReplays
from attn.engine.hooks import AttentionHooks
from attn.engine.interventions.treatment import Treatment
from attn.engine.kernels import Report
from attn.engine.plan import Plan
from attn.engine.recorder import Recorder, Write
from attn.engine.reduction.gates import watched
from attn.engine.refuse import refuse_unobservable
from attn.errors import CaptureError
from attn.schema import Call, LayerKey, Step

Result = TypeVar("Result")


def record(
    towers: Mapping[str, nn.Module],
    plans: Sequence[Plan],
    images: int,
    generate: Callable[[Callable[[Call], None]], Result],
    write: Write,
    treatment: Treatment | None = None,
) -> tuple[Result, tuple[tuple[Step, ...], ...], list[Report]]:
    """Run a generation and record its attention; without a treatment it is not changed.

    Args:
        towers: the model's modules, by the tower names of the layers.
        plans: what is kept of each trace of the batch.
        images: samples of each trace.
        generate: runs the model; it announces every forward to the function it is given.
        write: takes the tensors of every finished step.
        treatment: what is changed of the model; what is recorded is then the changed one's.

    Returns:
        what `generate` returned, the steps that ran of each trace, and what was checked of the
        kernels.

    Raises:
        CaptureError: attention that was due was not seen, or could not be had exactly.
    """
    for name, tower in towers.items():
        refuse_unobservable(tower, name)
    recorder = Recorder(plans, images, write)
    modules = {key: _module(towers, key) for key in recorder.keys}
    replays = ConceptReplays(partial(_module, towers), plans[0], recorder)
    with (
        AttentionHooks(modules, replays.see, recorder.done, replays.wanted) as hooks,
        replays,
        watched(
            *(towers, recorder.gates, partial(_module, towers)),
            *(recorder.see_gate, replays.wanted),
        ),
        _applied(treatment, towers, generate),
    ):
        result = generate(_both(recorder, treatment))
        recorder.finish()
    return result, tuple(map(tuple, recorder.steps)), hooks.report


def _applied(
    treatment: Treatment | None,
    towers: Mapping[str, nn.Module],
    generate: Callable[[Callable[[Call], None]], object],
) -> AbstractContextManager[None]:
    if treatment is None:
        return nullcontext()
    modules = {key: _module(towers, key) for key in treatment.keys}
    return treatment.applied(modules, generate)


def _both(recorder: Recorder, treatment: Treatment | None) -> Callable[[Call], None]:
    """Return what is told of each forward."""
    if treatment is None:
        return recorder.on_call

    def on_call(call: Call) -> None:
        treatment.on_call(call)
        recorder.on_call(call)

    return on_call


def _module(towers: Mapping[str, nn.Module], key: LayerKey) -> nn.Module:
    tower, path = key
    try:
        return towers[tower].get_submodule(path)
    except (KeyError, AttributeError) as exc:
        raise CaptureError(
            f"the backend declares layer {path} of tower {tower}, which does not exist; give "
            "towers the names of towers(), and paths relative to them, as in tower.named_modules()"
        ) from exc
