"""Results of an earlier attn, which did not mark its files: they are kept, and a warning tells."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from attn.cli import build
from attn.files.markers import MARKER
from tests.helpers.models import lora_files
from tests.helpers.toy_traces import write_trace

MARKED_NONE = "{0} held results of an attn that did not mark its files: see {1}/{0}-earlier-1"
BESIDE = "out holds a comparison of an earlier attn, which stays; the new one is in out/comparison"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a folder with two traces and a LoRA."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("run", 3), ("other", 4)):
        write_trace(tmp_path / name, seed=seed)
    tensors = lora_files.pair(np.random.default_rng(7)).named("lora_unet_mid_block_attn_to_q")
    lora_files.write(tmp_path / "style.safetensors", tensors)


COMMANDS = {
    "analysis in a trace": ("analyze run --only words --no-pictures", "run/analysis", MARKED_NONE),
    "analysis elsewhere": ("analyze run --only words --no-pictures -o out", "out", MARKED_NONE),
    "comparison": (
        "compare run other --only words --no-pictures -o out", "out/comparison", MARKED_NONE,
    ),
    "comparison in the folder itself": (
        "compare run other --only words --no-pictures -o out", "out", BESIDE,
    ),
    "lora": ("lora style.safetensors -o out", "out", MARKED_NONE),
}  # fmt: skip
"""Commands, where the earlier results are, and what is said of them."""
INDICES = {"analyze": "analysis.json", "compare": "comparison.json", "lora": "lora.json"}


@pytest.mark.parametrize("case", COMMANDS)
def test_nothing_of_them_is_lost(tmp_path, case):
    """The same command succeeds, says where they are, and every byte of them is there."""
    command, place, message = COMMANDS[case]
    index = Path(place, INDICES[command.split()[0]])
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({"schema": 1, "files": ["notes.txt"]}))
    (index.parent / "notes.txt").write_text(case)
    result = CliRunner().invoke(build(), command.split())
    expected = message.format(place, tmp_path)
    assert (result.exit_code, f"Warning: {expected}\n" in result.stderr) == (0, True), result.stderr
    kept = Path(expected.rpartition("see ")[2]) if message == MARKED_NONE else index.parent
    assert json.loads((kept / index.name).read_text())["files"] == ["notes.txt"]
    assert (kept / "notes.txt").read_text() == case
    again = CliRunner().invoke(build(), command.split())
    assert (again.exit_code, "held results" in again.stderr) == (0, False)
    assert next(tmp_path.rglob(MARKER)).is_file()
