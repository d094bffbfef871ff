"""What every session must hold to. Each check takes a session with weights and a request.

Use a tiny model, and a request whose width and height differ:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conforms(check, session):
        check(session, Request("a red cat", steps=3, width=96, height=64))
"""
# ruff: noqa: TID253 - imported with its backend

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from attn.backends.testing.attention import attention_exact
from attn.backends.testing.events import Event, events
from attn.backends.testing.observe import (
    begin,
    fail,
    pair,
    recorded,
    same_outputs,
    undeclared,
    watched,
)
from attn.backends.testing.rows import rows_labelled
from attn.backends.testing.text import tokens_spanned
from attn.backends.testing.text_order import text_placed
from attn.backends.types import Session
from attn.schema import Call, Layer, LayerKey, Request

Check = Callable[[Session, Request], None]


def outputs_identical(session: Session, request: Request) -> None:
    """Recording changes no bit of the output, neither while it runs nor afterwards."""
    session, request = begin(session, request)
    for requests in ([request], pair(request)):
        before = session.generate(requests, None)
        is_same = same_outputs(before, recorded(session, requests, "heads").outputs)
        after = session.generate(requests, None)
        if is_same and same_outputs(before, after):
            continue
        if not same_outputs(after, session.generate(requests, None)):
            fail(
                "generate()",
                "the same request gave two outputs",
                "draw noise from request.seed only",
            )
        if not is_same:
            fail(
                "generate()",
                f"recording a batch of {len(requests)} changed the output",
                "run the same code whether on_call is None or not",
            )
        fail("generate()", "the output changed after a recording", "keep no state between runs")


def size_not_square(session: Session, request: Request) -> None:
    """Rows and columns follow height and width; nothing takes a picture for a square."""
    session, request = begin(session, request)
    layers = session.layers(request)
    images = [segment for layer in layers for segment in layer.queries if segment.kind == "image"]
    if not images or request.width is None or request.height is None:
        return
    if request.width == request.height:
        fail(
            "complete()",
            f"the size is {request.width}x{request.height}",
            "ask for one that is not square",
        )
    turned = session.layers(replace(request, width=request.height, height=request.width))
    for layer, other in zip(layers, turned, strict=True):
        if layer.plane and layer.plane[::-1] != other.plane:
            fail(
                "layers()",
                f"{layer.path} has grid {layer.grid}; with sides exchanged it has {other.grid}",
                "compute (rows, columns) from (request.height, request.width)",
            )
    for output in session.generate([request], None):
        for image in output.images:
            if image.size != (request.width, request.height):
                fail(
                    "generate()",
                    f"the picture is {image.size}",
                    "draw (request.width, request.height)",
                )
    widest = max(segment.plane or (1, 1) for segment in images)
    if (request.width > request.height) != (widest[1] > widest[0]):
        fail("layers()", f"a wide picture has grid {widest}", "grids are (rows, columns)")


def model_restored(session: Session, request: Request) -> None:
    """Success, an error or Ctrl-C in the middle leave no hook, no mode and no changed weight."""
    session, request = begin(session, request)
    before, plain = _state(session), session.generate([request], None)
    calls = watched(session, [request], lambda *_: None)
    _compare_state(before, session, "a capture")
    for error in (RuntimeError, KeyboardInterrupt):
        for name, stop in (("on_call", _stop_in_call), ("a kernel", _stop_in_kernel)):
            try:
                stop(session, request, error, len(calls) // 2)
            except error:
                _compare_state(before, session, f"{error.__name__} in {name}")
            else:
                fail("generate()", f"it swallowed {error.__name__} from {name}", "let errors pass")
    if not same_outputs(plain, session.generate([request], None)):
        fail("generate()", "the output changed after an interrupted run", "start every run afresh")


def calls_ordered(session: Session, request: Request) -> None:
    """Steps are announced 0 to n-1 without gaps, noise falls, and every forward is announced."""
    session, request = begin(session, request)
    log = events(session, [request])
    calls = [event.call for event in log if event.call]
    steps = list(dict.fromkeys(call.step for call in calls))
    if steps != list(range(request.steps or len(steps))):
        fail(
            "generate()",
            f"it announced steps {steps}",
            f"announce 0 to {(request.steps or 1) - 1} in order",
        )
    opening = {call.step: call for call in reversed(calls)}
    noise = [opening[step].noise for step in steps]
    levels = [level for level in noise if level is not None]
    if any(later > earlier for earlier, later in pairwise(levels)):
        fail(
            "generate()",
            f"noise rises: {noise}",
            "step 0 is the first of the generation, the noisiest",
        )
    _check_forwards(session, log)


def towers_exist(session: Session, request: Request) -> None:
    """Layers are modules of their towers, indexed as they run, the denoiser's first."""
    session, request = begin(session, request)
    layers, towers = session.layers(request), list(session.towers())
    if towers[:1] != ["denoiser"]:
        fail("towers()", f"it has {towers}", "name the main model 'denoiser' and put it first")
    order = [towers.index(layer.tower) for layer in layers]
    if order != sorted(order):
        fail("layers()", "the layers of a tower are apart", "list the towers one after the other")
    if any(tower.training for tower in session.towers().values()):
        fail("towers()", "a tower is in training mode", "call .eval() when the model is loaded")
    _check_order(layers, events(session, [request]))


def attention_declared(session: Session, request: Request) -> None:
    """Every attention kernel that runs in a tower runs inside of a declared layer."""
    session, request = begin(session, request)
    for tower, path in undeclared(session, request):
        fail(
            "layers()",
            f"attention runs in '{path or tower}' of the {tower}, which is in no layer",
            "declare every attention module of a tower; what is not to be seen (an encoder, a "
            "decoder) belongs to no tower",
        )


CHECKS: tuple[Check, ...] = (
    towers_exist,
    attention_declared,
    calls_ordered,
    size_not_square,
    tokens_spanned,
    text_placed,
    outputs_identical,
    attention_exact,
    rows_labelled,
    model_restored,
)
"""All checks, the cheap ones that explain most first."""


def check_backend(session: Session, request: Request) -> None:
    """Run every check.

    Args:
        session: a loaded model, tiny if possible.
        request: prompt and size to use; width and height must differ.

    Raises:
        ConformanceError: an AssertionError that names the session's method and the repair.
    """
    for check in CHECKS:
        check(session, request)


def _check_forwards(session: Session, log: list[Event]) -> None:
    announced = dict.fromkeys(session.towers(), 0)
    ran = dict.fromkeys(session.towers(), 0)
    for event in log:
        if event.call:
            announced[event.call.tower] += 1
        if event.tower:
            ran[event.tower] += 1
            if ran[event.tower] != announced[event.tower]:
                fail(
                    "generate()",
                    f"forward {ran[event.tower]} of the {event.tower} ended after "
                    f"{announced[event.tower]} announcements",
                    "call on_call once before every forward of every tower",
                )


def _check_order(layers: tuple[Layer, ...], log: list[Event]) -> None:
    """Compare what ran in each call with what was declared and announced."""
    calls: list[tuple[Call, list[LayerKey]]] = []
    for event in log:
        if event.call:
            calls.append((event.call, []))
        if event.layer and not calls:
            fail(
                "generate()",
                f"{event.layer[1]} ran unannounced",
                "call on_call before every forward",
            )
        if event.layer:
            calls[-1][1].append(event.layer)
    for call, ran in calls:
        due = [
            (layer.tower, layer.path)
            for layer in layers
            if layer.tower == call.tower and _runs(layer, call)
        ]
        if ran == due:
            continue
        if sorted(ran) == sorted(due):
            fail(
                "layers()", f"the {call.tower} ran in the order {ran}", "list layers in that order"
            )
        missing, extra = sorted(set(due) - set(ran)), sorted(set(ran) - set(due))
        fail(
            "generate()",
            f"step {call.step} of the {call.tower}: did not run {missing}, ran unannounced "
            f"{extra}, ran {len(ran)} layers of {len(due)}",
            "declare every attention module, announce every forward, and name what a call leaves "
            "out in skipped_layers",
        )


def _runs(layer: Layer, call: Call) -> bool:
    return not any(f"{layer.path}.".startswith(f"{path}.") for path in call.skipped_layers)


State = Mapping[tuple[str, str], object]


def _state(session: Session) -> State:
    """Return the hooks of every module and the checksum of every weight."""
    state: dict[tuple[str, str], object] = {}
    for name, tower in session.towers().items():
        for path, module in tower.named_modules():
            hooks = (module._forward_hooks, module._forward_pre_hooks)
            state[f"hooks of {name}", path] = tuple(tuple(map(id, held.values())) for held in hooks)
        for path, parameter in tower.named_parameters():
            data = parameter.detach().cpu().contiguous().view(torch.uint8)
            state[f"weights of {name}", path] = sha256(data.numpy().tobytes()).hexdigest()
    return state


def _compare_state(before: State, session: Session, event: str) -> None:
    modes = _get_current_dispatch_mode_stack()
    if modes:
        fail(
            "generate()", f"after {event} {modes} are still active", "leave no dispatch mode behind"
        )
    after = _state(session)
    for what, path in before.keys() | after.keys():
        if before.get((what, path)) != after.get((what, path)):
            fail(
                "generate()",
                f"{event} changed the {what}.{path}",
                "remove hooks in `finally`, and change no module",
            )


def _stop_in_call(session: Session, request: Request, error: type[BaseException], at: int) -> None:
    seen: list[Call] = []

    def on_call(call: Call) -> None:
        seen.append(call)
        if len(seen) > at:
            raise error

    session.generate([request], on_call)


def _stop_in_kernel(
    session: Session, request: Request, error: type[BaseException], at: int
) -> None:
    announced: set[tuple[str, int, object]] = set()

    def visit(call: Call, *_: object) -> None:
        announced.add((call.tower, call.step, call.rows))
        if len(announced) > at // 2:
            raise error

    watched(session, [request], visit)
