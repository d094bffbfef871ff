"""A sample of the campaign of damaged models."""

import subprocess
import sys
from pathlib import Path

import pytest

from attn.backends.loading import source


@pytest.mark.slow
def test_damaged_models(demo_cache):
    """Models with a damaged file draw, or end in one expected error, soon and in little memory."""
    code = "from benchmarks.campaign import models; print(models.run(8, 0))"
    root = Path(source.__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'refused': " in done.stdout
