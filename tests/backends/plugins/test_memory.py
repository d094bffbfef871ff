"""A process in which torch cannot be loaded is told so before anything hangs or aborts."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("kilobytes", [500_000, 800_000])
def test_too_little_memory(tmp_path, kilobytes):
    """OpenBLAS tries for ever to get memory that it may not have: nothing is imported then."""
    attn = f"{sys.executable} -m attn capture -b sd15 --out {tmp_path}/x"
    command = f"ulimit -v {kilobytes}; {attn}"
    done = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1
    limit = f"{kilobytes * 1.024e-6:.3g} GB"
    assert done.stderr.startswith(f"Error: the memory of this process is limited to {limit} ")
    assert done.stderr.count("\n") == 1


def test_deleted_working_folder(tmp_path):
    """Where the working folder is gone one line says so: torch's libraries would abort."""
    command = f"rmdir {tmp_path}/here; {sys.executable} -m attn capture -b sd15 --out {tmp_path}/x"
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, cwd=tmp_path / "here"
    )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: the working folder was deleted, and torch cannot be loaded without one: change to "
        "another folder (cd) and try again\n",
    )
