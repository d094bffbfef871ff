"""LoRAs of runs that are there: found by their checksums, wherever they lie."""

import shutil
from hashlib import sha256

import pytest

from attn.demo.shipped import LORAS
from attn.schema import Lora
from attn.verbs.compare.compare import compare
from attn.verbs.compare.pairing import ComparedRun
from attn.verbs.compare.runs.lora_files import _find
from tests.helpers.models import lora_demo

SMALL = {"steps": 1, "size": (96, 64), "backend": "sdxl", "seed": 0, "pictures": False}


@pytest.fixture(scope="module")
def made(opened, tmp_path_factory):
    """Return a comparison with a LoRA, and the LoRA."""
    folder = tmp_path_factory.mktemp("made")
    pairs = lora_demo.changes(opened("sdxl").pipe, "unet", seed=3)
    file = lora_demo.kohya(folder / "style.safetensors", pairs)
    done = compare(lora=file, prompt="a red cat", out=folder / "out", **SMALL)
    return done, file


@pytest.mark.parametrize("place", ["out/style", "out", "elsewhere"])
def test_found(made, tmp_path, monkeypatch, place):
    """Under another name it is found in the run's folder, above it, and in the working folder."""
    done, file = made
    runs = tmp_path / "out"
    shutil.copytree(done.path.parent, runs)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = shutil.move(file, tmp_path / place / "renamed.safetensors")
    try:
        again = compare(runs / "base", runs / "style", out=tmp_path / "again", pictures=False)
    finally:
        shutil.move(moved, file)
    expected = done.tables["lora_weights.csv"].drop(columns="variant_name")
    assert again.tables["lora_weights.csv"].drop(columns="variant_name").equals(expected)


def test_of_the_demo(tmp_path):
    """A demo's LoRA is known by its checksum, wherever the package lay when a trace was made."""
    digest = sha256(LORAS["demo"].read_bytes()).hexdigest()
    lora = Lora(path="/elsewhere/square.safetensors", sha256=digest, scale=1.0)
    run = ComparedRun(tmp_path, "style", ())
    assert _find(lora, run) == LORAS["demo"]


def test_lost(made, tmp_path, monkeypatch):
    """Without it there is no table of weights, and a warning says where it was looked for."""
    done, file = made
    monkeypatch.chdir(tmp_path)
    kept = file.read_bytes()
    file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))  # another file of the same name
    try:
        runs = [done.path.parent / name for name in ("base", "style")]
        again = compare(*runs, out=tmp_path / "again", pictures=False)
    finally:
        file.write_bytes(kept)
    assert "lora_weights.csv" not in again.tables
    (warning,) = [text for text in again.warnings if "no table of weights" in text]
    assert "style.safetensors with SHA-256 " in warning
    assert "put it there and compare again" in warning
