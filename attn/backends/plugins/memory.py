"""Whether a process can import the libraries that a model needs, before any of them is."""

from __future__ import annotations

import os
import pathlib
import resource
import sys

from attn.errors import PluginError

LIBRARIES, PER_CORE = 2**30, 2**26
"""Bytes of address space that torch and diffusers take at least, and more for each core."""


def require_room() -> None:
    """Refuse to import torch where it would hang or end the process without a word of ours.

    Its libraries for linear algebra do not fail where the address space is limited to less than
    they take: they try again for ever. Where the working folder is gone they abort.

    Raises:
        PluginError: says what the limit is, or that the folder is gone.
    """
    if "torch" in sys.modules:
        return
    try:
        pathlib.Path.cwd()
    except FileNotFoundError:
        raise PluginError(
            "the working folder was deleted, and torch cannot be loaded without one: change to "
            "another folder (cd) and try again"
        ) from None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    least = LIBRARIES + PER_CORE * len(os.sched_getaffinity(0))
    if limit == resource.RLIM_INFINITY or limit >= least:
        return
    raise PluginError(
        f"the memory of this process is limited to {limit / 1e9:.3g} GB (ulimit -v), and to load "
        f"torch and diffusers takes {least / 1e9:.3g} GB before any model: raise the limit"
    )
