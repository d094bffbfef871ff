"""Pipelines that several threads use: each draw has one to itself, or says that it has not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from threading import Lock, get_ident
from typing import Any
from weakref import WeakKeyDictionary

from attn.backends.loading.explain import explained, is_ours
from attn.errors import CaptureError

LOAD_TWICE = "load a pipeline for each thread"
_BUSY: WeakKeyDictionary[Any, Lock] = WeakKeyDictionary()
"""Of pipelines that draw or drew."""


@contextmanager
def alone(pipe: Any) -> Iterator[None]:
    """Draw with a pipeline that no other thread draws with: they would share its scheduler.

    Raises:
        CaptureError: another thread draws, or what the library raised in the block.
    """
    lock = _BUSY.setdefault(pipe, Lock())
    if not lock.acquire(blocking=False):
        raise CaptureError(f"this pipeline draws in another thread; {LOAD_TWICE}")
    hint = f"; its configuration is damaged, or another thread used it meanwhile: {LOAD_TWICE}"
    failure = "the pipeline failed while it drew"
    try:
        with explained(failure, hint, CaptureError, unless=is_ours):
            yield
    finally:
        lock.release()


def here(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return a hook that does nothing in other threads than this one."""
    thread = get_ident()

    def call(*args: Any, **named: Any) -> Any:
        return hook(*args, **named) if get_ident() == thread else None

    return call


@contextmanager
def in_one_thread(scheduler: Any) -> Iterator[None]:
    """Let no other thread set or step a sampler in a block: it would change the steps of this one.

    The other may be the user's own, which knows nothing of `alone`; the error is raised there.
    """
    thread = get_ident()

    def bound(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)  # pipelines look which arguments it takes
        def call(*args: Any, **named: Any) -> Any:
            if get_ident() != thread:
                raise CaptureError(f"this pipeline draws in another thread; {LOAD_TWICE}")
            return method(*args, **named)

        return call

    with ExitStack() as stack:
        for name in ("set_timesteps", "step"):
            stack.enter_context(replaced(scheduler, name, bound(getattr(scheduler, name))))
        yield


@contextmanager
def replaced(owner: Any, name: str, function: Any) -> Iterator[None]:
    """Let an object have another method in a block; its class keeps its own."""
    before = vars(owner).get(name)
    vars(owner)[name] = function
    try:
        yield
    finally:
        if before is None:
            del vars(owner)[name]
        else:
            vars(owner)[name] = before
