"""What a backend says of the options and LoRAs that a capture is given, before it opens a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from attn.errors import ModelError, UsageError
from attn.options import parse_options

if TYPE_CHECKING:
    from attn.backends import Backend
    from attn.schema import Lora

SKETCH = "sketch"
"""Option of the backends that read a drawing, which `--sketch` fills."""
GENERATE = "generate"
"""Option of the backends that write token by token, which `--generate` fills."""


def backend_options(kind: type[Any], name: str, settings: Mapping[str, str]) -> Any:
    """Return the options of a backend.

    Args:
        kind: its dataclass of options.
        name: of the backend.
        settings: text by option name.

    Raises:
        UsageError: an option is unknown, or a value is not of its type.
    """
    if SKETCH in settings and SKETCH not in {field.name for field in fields(kind)}:
        from attn.backends.plugins.registry import takers

        able = (
            f"--backend {taker.spec.name} does: {taker.spec.summary}"
            for taker in takers("drawings")
        )
        raise UsageError(
            f"backend {name} reads no drawing, so --sketch would have no effect; {'; '.join(able)}"
        )
    if GENERATE in settings and GENERATE not in {field.name for field in fields(kind)}:
        from attn.backends.plugins.registry import takers

        writers = ", ".join(f"--backend {taker.spec.name} does" for taker in takers("lengths"))
        raise UsageError(
            f"backend {name} does not write token by token, so --generate would have no effect; "
            f"{writers}; `attn backends {name}` lists the options of {name}"
        )
    return parse_options(kind, settings, f"backend {name}")


def complete_loras(family: Backend, loras: Sequence[Lora]) -> tuple[Lora, ...]:
    """Return LoRAs as a backend completes them; see `Backend.complete_loras`."""
    from attn.backends.plugins.registry import takers
    from attn.backends.types import NoLorasError

    try:
        return family.complete_loras(loras)
    except NoLorasError as error:
        names = ", ".join(taker.spec.name for taker in takers("loras"))
        raise ModelError(f"{error} ({names})") from None
