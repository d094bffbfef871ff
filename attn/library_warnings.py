"""Warnings of libraries: left out in processes that are attn's alone, left alone in a user's."""

from __future__ import annotations

import warnings

TALKING = r"(diffusers|gradio|PIL)\."
"""Modules that warn of their own code's future, and of odd metadata in images of others."""


def hush_libraries() -> None:
    """Show no warnings of libraries that are nothing to a user: those of `TALKING`.

    Filters of warnings are those of all threads, and a block that restores them takes away what
    another thread has set meanwhile; so they are set once, and only here.
    """
    warnings.filterwarnings("ignore", module=TALKING)
