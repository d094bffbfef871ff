"""A third-party plugin: the testing backend, registered as `echo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attn import hookimpl
from attn.backends import BackendSpec

if TYPE_CHECKING:
    from attn.backends.testing import FakeBackend


@hookimpl
def attn_backends() -> list[BackendSpec]:
    """Offer the backend `echo`."""
    return [BackendSpec(name="echo", summary="the testing backend under another name", load=_load)]


def _load() -> FakeBackend:
    from attn.backends.testing import FakeBackend

    return FakeBackend()
