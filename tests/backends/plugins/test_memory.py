"""A process whose memory is limited to too little is told so before anything hangs."""

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
