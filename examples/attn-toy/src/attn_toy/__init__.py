"""A toy model family for attn."""

from attn import hookimpl
from attn.backends import Backend, BackendSpec


@hookimpl
def attn_backends() -> list[BackendSpec]:
    """Return what this package offers; torch is not imported yet."""
    return [BackendSpec(name="toy", summary="a toy: joint attention, text first", load=load)]


def load() -> Backend:
    """Import the family, and torch with it."""
    from attn_toy.backend import ToyBackend

    return ToyBackend()
