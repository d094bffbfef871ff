"""The measurements of a GPU run on any device, and say where there is none."""

import json

import pytest
import torch

from benchmarks import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(tmp_path, capsys):
    """Without a GPU nothing is measured, and nothing is written that looks as if it had been."""
    gpu.main(["--out", str(tmp_path)])
    assert "there is no GPU on this machine" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_what_is_measured(tmp_path, monkeypatch):
    """Each kernel and level of detail is measured, and no bit of the block's output differs."""
    monkeypatch.setattr(gpu, "DTYPES", ("bfloat16",))
    options = ["--device", "cpu", "--size", "48x80", "--rounds", "1", "--blocks", "sdxl"]
    gpu.main([*options, "--out", str(tmp_path)])
    record = json.loads((tmp_path / "gpu.json").read_text())
    results = {entry["kernel"]: entry["result"] for entry in record["identity"]}
    absent = "not on this device for this shape"
    assert results == {
        "flash": "same bits",
        "memory-efficient": absent,
        "cudnn": absent,
        "math": "same bits",
    }
    assert [entry["level"] for entry in record["cost"]] == list(gpu.get_args(gpu.Level))
    assert record["identity"][0]["error"] < 1e-4
