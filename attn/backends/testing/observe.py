"""Run a session the way a capture does, and keep what a check needs to see of it."""
# ruff: noqa: TID253 - imported with its backend

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn

from attn.backends.plugins.answer_types import AnswerError
from attn.backends.plugins.guard import GuardedSession
from attn.backends.testing.events import layer_modules
from attn.backends.types import Output, Session
from attn.engine.attention import Attention
from attn.engine.hooks import AttentionHooks
from attn.engine.layer_plans import layer_within
from attn.engine.plan import Keep, make_plan
from attn.engine.run import record
from attn.errors import CaptureError
from attn.schema import Call, Column, Layer, LayerKey, Level, Request, Step, block_names

OPEN = torch.ops.aten._softmax.default._schema.name
"""The operator of a softmax that is no part of a call of scaled_dot_product_attention."""
OTHER_PROMPT = "two dogs, on a wooden-chair!"
Visit = Callable[[Call, int, Layer, Attention], None]
"""Takes a call, a row of its batch, a layer as this row has it, and the row's attention."""


class ConformanceError(AssertionError):
    """A session breaks its contract; the message names the method and the repair."""


def fail(method: str, problem: str, fix: str) -> NoReturn:
    """Raise what a check found: where, what, and what to do."""
    raise ConformanceError(f"session.{method}: {problem}; {fix}")


def begin(session: Session, request: Request, images: int = 1) -> tuple[Session, Request]:
    """Return a session that can be captured, its answers checked, and the completed request.

    Raises:
        ConformanceError: an answer is not what it must be.
    """
    guarded = GuardedSession(session, _failing)
    guarded.check()
    request = replace(request, images=images)
    completed = guarded.complete(request)
    other = replace(request, seed=request.seed + 1)
    if replace(guarded.complete(other), seed=request.seed) != completed:
        fail("complete()", "with another seed it gave another request", "draw by it in generate()")
    guarded.remarks(request, completed)
    return guarded, completed


def pair(request: Request, seed: int | None = None) -> list[Request]:
    """Return two requests that differ in prompt, and in the seed unless `seed` is given."""
    prompt = OTHER_PROMPT if request.prompt != OTHER_PROMPT else f"{OTHER_PROMPT} too"
    other = request.seed + 1 if seed is None else seed
    return [request, replace(request, prompt=prompt, seed=other)]


@dataclass
class Recording:
    """What a recorded run gave.

    `columns` are those of the maps of each trace; `tensors` are by (trace, step or None).
    """

    outputs: list[Output] = field(default_factory=list)
    branches: tuple[str, ...] = ()
    columns: tuple[tuple[Column, ...], ...] = ()
    tensors: dict[tuple[int, int | None], dict[str, np.ndarray]] = field(default_factory=dict)


def recorded(
    session: Session, requests: Sequence[Request], level: Level, *, mass_only: bool = False
) -> Recording:
    """Record every layer and every branch, each block or only the whole matrix.

    Raises:
        ConformanceError: the engine could not follow what the session announced.
    """
    first = requests[0]
    branches = session.branches(first)
    blocks = ("all.all",) if mass_only else all_blocks(session.layers(first))
    keep = Keep(
        level=level,
        keys="all" if level == "heads" else "content",
        mass="text" if mass_only else "full",
        blocks=blocks,
        branches=branches,
        entropy=not mass_only,
    )
    plans = [
        make_plan(
            session.layers(request),
            {branch: session.sequence(request, branch) for branch in branches},
            keep,
            samples=first.images,
            steps=first.steps or 1,
            dtype="F32",
            spans=session.spans(request),
        )
        for request in requests
    ]
    run = Recording(branches=branches, columns=tuple(plan.kept.columns for plan in plans))

    def write(trace: int, step: Step | None, tensors: Any) -> None:
        run.tensors[trace, step.index if step else None] = dict(tensors)

    with _explained():
        run.outputs, _, _ = record(
            session.towers(),
            plans,
            first.images,
            lambda on_call: session.generate(requests, on_call),
            write,
        )
    return run


def watched(session: Session, requests: Sequence[Request], visit: Visit) -> list[Call]:
    """Show every row of every kernel call of every layer to `visit`; return the announcements."""
    layers = [
        {(layer.tower, layer.path): layer for layer in session.layers(request)}
        for request in requests
    ]
    calls: list[Call] = []

    def see(key: LayerKey, attention: Attention) -> None:
        call = calls[-1]
        attention = _unfolded(attention, len(call.rows))
        for row, (_, sample) in enumerate(call.rows[: attention.shape[0]]):
            layer = layer_within(layers[sample // requests[0].images][key], call.span)
            alone = attention.of_row(row, layer, call)
            if alone.shape[1:] == (layer.num_heads, layer.num_queries, layer.num_keys):
                visit(call, row, layer, alone)

    modules = layer_modules(session, requests[0])
    with _explained(), AttentionHooks(modules, see, wanted=lambda: bool(calls)):
        session.generate(requests, calls.append)
    return calls


def undeclared(session: Session, request: Request) -> list[LayerKey]:
    """Return the modules of the towers in which attention runs outside of every layer.

    A softmax that the model computes itself need not be attention, so it does not count; nor does
    what a session leaves out, if it has other rows than the call.
    """
    declared = [(layer.tower, _inside(layer.path)) for layer in session.layers(request)]
    excused = session.left_out(request)
    keys: dict[LayerKey, None] = {}
    calls: list[Call] = []

    def see(key: LayerKey, attention: Attention) -> None:
        tower, path = key
        is_inside = any(tower == of and _inside(path).startswith(layer) for of, layer in declared)
        has_rows = bool(calls) and attention.shape[0] == len(calls[-1].rows)
        if attention.kernel != OPEN and not is_inside and (has_rows or key not in excused):
            keys[key] = None

    modules: dict[int, tuple[LayerKey, nn.Module]] = {}
    for name, tower in session.towers().items():
        for path, module in tower.named_modules():
            modules.setdefault(id(module), ((name, path), module))
    with _explained(), AttentionHooks(dict(modules.values()), see):
        session.generate([request], calls.append)
    return list(keys)


def _inside(path: str) -> str:
    """Return the common beginning of the paths of a module's parts."""
    return f"{path}." if path else ""


def all_blocks(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return every block that any of the layers has."""
    return tuple(dict.fromkeys(name for layer in layers for name in block_names(layer)))


def same_outputs(left: Sequence[Output], right: Sequence[Output]) -> bool:
    """Whether two runs gave the same pixels and texts, bit for bit."""
    return len(left) == len(right) and all(map(_same, left, right))


def _same(left: Output, right: Output) -> bool:
    pixels = [
        [(image.size, image.tobytes()) for image in (*output.images, *sum(output.videos, ()))]
        for output in (left, right)
    ]
    written = [(output.texts, output.histories) for output in (left, right)]
    return pixels[0] == pixels[1] and written[0] == written[1]


def _unfolded(attention: Attention, batch: int) -> Attention:
    """Split (1, batch · head, …), as legacy attention code lays its softmax out."""
    open_probs = attention.open_probs
    if open_probs is None or len(open_probs) == batch:
        return attention
    return replace(attention, open_probs=open_probs.reshape(batch, -1, *open_probs.shape[2:]))


@contextmanager
def _failing(member: str) -> Iterator[None]:
    try:
        yield
    except AnswerError as error:
        raise ConformanceError(f"{member}{error.location}: {error.problem}; {error.fix}") from error


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CaptureError as error:
        raise ConformanceError(
            f"session.generate() or session.layers(): {error}; announce every forward before it "
            "runs, with all its rows and skipped layers, and lay layers out as they run"
        ) from error
