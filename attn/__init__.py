"""See what a diffusion model attends to: capture, analyse and compare its attention.

The public names are loaded on first use, so `import attn` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attn.backends import hookimpl
    from attn.engine.tap import tap
    from attn.errors import AttnError
    from attn.trace import Trace
    from attn.trace import open_trace as open
    from attn.verbs.analyze import analyze
    from attn.verbs.capture import capture
    from attn.verbs.compare import compare
    from attn.verbs.verify import verify

    __version__: str

__all__ = [
    "AttnError",
    "Trace",
    "__version__",
    "analyze",
    "capture",
    "compare",
    "hookimpl",
    "open",
    "tap",
    "verify",
]

_HOMES = {
    "AttnError": "attn.errors:AttnError",
    "Trace": "attn.trace:Trace",
    "analyze": "attn.verbs.analyze:analyze",
    "capture": "attn.verbs.capture:capture",
    "compare": "attn.verbs.compare:compare",
    "hookimpl": "attn.backends:hookimpl",
    "open": "attn.trace:open_trace",
    "tap": "attn.engine.tap:tap",
    "verify": "attn.verbs.verify:verify",
}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("attn")
    except PackageNotFoundError:  # run from a source tree
        return "0+unknown"


def _load(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        return _version()
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)


if not TYPE_CHECKING:  # a type checker would take any name for granted

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'attn' has no attribute '{name}'")
        value = globals()[name] = _load(name)
        return value


def __dir__() -> list[str]:
    return __all__
