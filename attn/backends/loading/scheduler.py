"""Read the scheduler of a pipeline from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attn.backends.loading.explain import explained, suspects
from attn.checkpoints.folders import read_object
from attn.errors import ModelError

MOST = 10**6
"""Beyond any number in a scheduler's configuration: it would only fill the memory."""


def read_scheduler(cls: type[Any], folder: Path) -> Any:
    """Return the scheduler that a folder describes.

    Raises:
        ModelError: its configuration cannot be read or used.
    """
    path = folder / cls.config_name
    settings = read_object(path)
    for name, value in settings.items():
        if isinstance(value, int) and abs(value) > MOST:
            raise ModelError(f"{path}: {name} is {value}; expected at most {MOST}")
    trained = settings.get("num_train_timesteps", 1)
    if not isinstance(trained, int) or trained < 1:
        raise ModelError(
            f"{path}: num_train_timesteps is {trained!a}; expected a number of 1 or more"
        )
    with explained(f"cannot use {path}", suspects(cls, settings)):
        return cls.from_config(settings)
