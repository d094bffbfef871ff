"""Keep diffusers and transformers from talking while they are imported and used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

_LOCK = Lock()
_INSIDE: list[Callable[[], None]] = []
"""For each block that runs, in whatever thread, what restores the level before the first."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' reports and progress bars; what matters is checked by our code.

    The levels are the process's own: of blocks that overlap in several threads, the first sets
    them and the last restores them.
    """
    with _LOCK:
        _INSIDE.append(_INSIDE[0] if _INSIDE else _silence())
    try:
        yield
    finally:
        with _LOCK:
            restore = _INSIDE.pop()
            if not _INSIDE:
                restore()


def _silence() -> Callable[[], None]:
    """Silence the libraries; return what restores how loud they were."""
    from diffusers.utils import logging as diffusers
    from transformers.utils import logging as transformers

    levels = (diffusers.get_verbosity(), transformers.get_verbosity())
    shown = transformers.is_progress_bar_enabled()
    for library in (diffusers, transformers):
        library.set_verbosity_error()
        library.disable_progress_bar()

    def restore() -> None:
        diffusers.set_verbosity(levels[0])
        transformers.set_verbosity(levels[1])
        diffusers.enable_progress_bar()
        if shown:
            transformers.enable_progress_bar()

    return restore
