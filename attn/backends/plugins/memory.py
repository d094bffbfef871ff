"""Whether there is room for the libraries that a model needs, before any of them is imported."""

from __future__ import annotations

import os
import resource
import sys

from attn.errors import PluginError

LIBRARIES, PER_CORE = 2**30, 2**26
"""Bytes of address space that torch and diffusers take at least, and more for each core."""


def require_room() -> None:
    """Refuse to import torch where the address space is limited to less than it takes.

    Its libraries for linear algebra do not fail there: they try again for ever.

    Raises:
        PluginError: says what the limit is.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    least = LIBRARIES + PER_CORE * len(os.sched_getaffinity(0))
    if limit == resource.RLIM_INFINITY or limit >= least or "torch" in sys.modules:
        return
    raise PluginError(
        f"the memory of this process is limited to {limit / 1e9:.3g} GB (ulimit -v), and to load "
        f"torch and diffusers takes {least / 1e9:.3g} GB before any model: raise the limit"
    )
