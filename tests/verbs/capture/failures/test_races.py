"""Two drivers that begin in one folder at one moment: refused or harmless."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import attn
from tests.verbs.capture.failures.racing import ROUNDS

pytestmark = pytest.mark.slow

HELD = "another capture is writing into {}; wait for its end, or choose another folder with --out"


def race(folder, kind):
    """Return what `tests.verbs.capture.failures.racing` prints; it checks what each round left."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.verbs.capture.failures.racing", folder, kind],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=Path(attn.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_with_locks(tmp_path):
    """One driver makes all of it; the other one is refused, unless the first had ended."""
    for number, refusals in enumerate(race(tmp_path, "with locks")):
        held = HELD.format(tmp_path / f"round-{number}")
        assert sorted(refusals) in (["", ""], ["", held])


def test_without_locks(tmp_path):
    """What an index says is complete is so, and the same command completes the rest."""
    assert len(race(tmp_path, "without locks")) == ROUNDS
