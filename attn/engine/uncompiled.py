"""Run what `torch.compile` made as the Python it was made of, while somebody looks."""

from __future__ import annotations

import sys
from threading import Lock

import torch

_lock = Lock()
_holders = 0
_stance: torch.compiler.set_stance | None = None


class Uncompiled:
    """While any of these is entered, nothing is compiled and no compiled code runs.

    Compiled code hides its attention, and torch compiles hooks along with what they are hooked to.
    What is compiled stays so: it runs again once the last of them is left.
    """

    def __init__(self) -> None:
        self._is_entered = False

    def __enter__(self) -> Uncompiled:
        global _holders, _stance  # noqa: PLW0603 - torch has one stance for the process
        with _lock:
            self._is_entered = True
            _holders += 1
            # the compiler takes seconds to load; without it, nothing was compiled
            if _stance is None and "torch._dynamo" in sys.modules:
                _stance = torch.compiler.set_stance("force_eager")
        return self

    def __exit__(self, *error: object) -> None:
        global _holders, _stance  # noqa: PLW0603
        with _lock:
            _holders -= self._is_entered
            self._is_entered = False
            if _stance is not None and not _holders:
                _stance.__exit__(None, None, None)
                _stance = None
