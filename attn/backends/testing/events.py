"""What happens in a generation, in order, without any capture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attn.backends.types import Session
from attn.schema import Call, LayerKey, Request

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Event:
    """One thing that happened: a call announced, a layer entered, a tower left."""

    call: Call | None = None
    layer: LayerKey | None = None
    tower: str | None = None


def events(session: Session, requests: Sequence[Request]) -> list[Event]:
    """Generate without any capture and return what happened in order."""
    log: list[Event] = []
    handles = [
        module.register_forward_pre_hook(_noting(log, Event(layer=key)))
        for key, module in layer_modules(session, requests[0]).items()
    ]
    handles += [
        module.register_forward_hook(_noting(log, Event(tower=name)))
        for name, module in session.towers().items()
    ]
    try:
        session.generate(requests, lambda call: log.append(Event(call=call)))
    finally:
        for handle in handles:
            handle.remove()
    return log


def layer_modules(session: Session, request: Request) -> dict[LayerKey, nn.Module]:
    """Return the module of every layer."""
    towers = session.towers()
    return {
        (layer.tower, layer.path): towers[layer.tower].get_submodule(layer.path)
        for layer in session.layers(request)
    }


def _noting(log: list[Event], event: Event) -> Callable[..., None]:
    return lambda *_: log.append(event)
