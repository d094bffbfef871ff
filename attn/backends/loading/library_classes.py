"""Classes that a model's files name: of diffusers and transformers only."""

from __future__ import annotations

import importlib
from typing import Any

from attn.backends.loading.explain import explained
from attn.errors import ModelError


def find_class(library: str, class_name: str, name: str) -> Any:
    """Return a class of diffusers or transformers.

    Args:
        library: whose class it is.
        class_name: of the class.
        name: of what needs it, for messages.

    Raises:
        ModelError: it is code of somebody else, which is not run, or does not exist.
    """
    if library not in ("diffusers", "transformers"):
        raise ModelError(f"{name} needs code of '{library}.{class_name}', which is not run")
    with explained(f"{name} needs {library}.{class_name}"):  # which may need other packages
        cls = getattr(importlib.import_module(library), class_name, None)
    if not isinstance(cls, type):
        raise ModelError(f"{name} needs {library}.{class_name}, which this {library} does not have")
    return cls
