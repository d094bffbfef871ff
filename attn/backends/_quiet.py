"""Keep diffusers and transformers from talking while they are imported and used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' reports and progress bars; what matters is checked by our code."""
    from diffusers.utils import logging as diffusers
    from transformers.utils import logging as transformers

    levels = (diffusers.get_verbosity(), transformers.get_verbosity())
    shown = transformers.is_progress_bar_enabled()
    for library in (diffusers, transformers):
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        diffusers.set_verbosity(levels[0])
        transformers.set_verbosity(levels[1])
        diffusers.enable_progress_bar()
        if shown:
            transformers.enable_progress_bar()
