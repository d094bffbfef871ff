"""FLUX.1 for attn."""

from attn import hookimpl
from attn.backends import Backend, BackendSpec


@hookimpl
def attn_backends() -> list[BackendSpec]:
    """Return the one backend of this package."""
    summary = "FLUX.1: joint attention of double- and single-stream blocks"
    return [BackendSpec(name="flux", aliases=("flux1",), summary=summary, load=load)]


def load() -> Backend:
    """Import the family; diffusers takes seconds."""
    from attn_flux.backend import FluxBackend

    return FluxBackend()
