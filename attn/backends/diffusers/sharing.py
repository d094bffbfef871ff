"""Pipelines that several threads use: each draw has one to itself, or says that it has not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
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
