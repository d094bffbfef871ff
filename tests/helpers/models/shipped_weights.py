"""Demo models with the weights that ship, which tests do not see unless they ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def shipped_weights() -> Iterator[None]:
    """Let demo models have their trained weights within a block."""
    from attn.demo import shipped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "WEIGHTS", Path(shipped.__file__).with_name("weights"))
        yield
