"""AuraFlow for attn."""

from attn import hookimpl
from attn.backends import Backend, BackendSpec


@hookimpl
def attn_backends() -> list[BackendSpec]:
    """Return the one backend of this package."""
    summary = "AuraFlow: joint attention of registers, text and picture"
    return [BackendSpec(name="auraflow", aliases=("aura-flow",), summary=summary, load=load)]


def load() -> Backend:
    """Import the family; diffusers takes seconds."""
    from attn_auraflow.backend import AuraFlowBackend

    return AuraFlowBackend()
