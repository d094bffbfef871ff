"""The LoRA that ships: both spellings are one, it fits the demo, and its effect is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from attn.demo import shipped, trained
from attn.lora import read

PEFT = shipped.LORA.with_name("square.peft.safetensors")
SEEDS = 4
SCRIPT = """
import json, sys
import attn

done = attn.compare(
    lora="demo",
    prompt="a red square right of a purple star on a black background",
    seed=range(4),
    steps=5,
    out=sys.argv[1],
    pictures=False,
)
columns = done.tables["mass.csv"].columns
print(json.dumps({name: list(columns[name]) for name in ("word", "change", "low", "high")}))
"""


def test_spellings_are_one() -> None:
    """The file in the names of kohya holds the factors of the one in the names of peft."""
    kohya, peft = load_file(shipped.LORA), load_file(PEFT)
    names = [name for name in peft if ".lora_A." in name]
    assert len(kohya) == 3 * len(names) > 0
    for name in names:
        stem = name.removeprefix("unet.").removesuffix(".lora_A.weight")
        short = f"lora_unet_{stem.replace('.', '_')}"
        assert np.array_equal(kohya[f"{short}.lora_down.weight"], peft[name])
        up = peft[name.replace("lora_A", "lora_B")]
        assert np.array_equal(kohya[f"{short}.lora_up.weight"], up)
        assert kohya[f"{short}.alpha"] == up.shape[1]  # scale 1


@pytest.mark.parametrize("path", [shipped.LORA, PEFT], ids=lambda path: path.name)
def test_it_fits_the_demo(path: Path) -> None:
    """Every module is one of the trained demo's UNet, of its shape; nothing is odd or unknown."""
    pipeline: Any = trained.PIPELINES["sdxl"]()
    shapes = {
        name.replace(".", "_"): tuple(module.weight.shape)
        for name, module in pipeline.unet.named_modules()
        if hasattr(module, "weight")
    }
    found = read(path)
    assert (found.family.name, found.unknown, found.reasons, found.oddities) == ("sdxl", (), (), ())
    assert path.stat().st_size < 300_000
    for name, tensor in load_file(path).items():
        stem = name.removeprefix("unet.").removeprefix("lora_unet_").split(".lora_")[0]
        out, into = shapes.get(stem.replace(".", "_").removesuffix("_alpha"), (0, 0))
        if name.endswith(("lora_A.weight", "lora_down.weight")):
            assert tensor.shape[1] == into, name
        elif name.endswith(("lora_B.weight", "lora_up.weight")):
            assert tensor.shape[0] == out, name


@pytest.mark.slow
def test_its_effect_is_found(tmp_path: Path) -> None:
    """A comparison finds the word that the LoRA reads more strongly, far ahead of all others."""
    # a process of its own, because the tests see untrained demo models
    environment = os.environ | {"ATTN_CACHE": str(tmp_path / "cache")}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "out")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    changes = np.array(found["change"], float)
    assert found["word"][0] == "square"
    assert float(found["low"][0]) > 0
    assert changes[0] > 3 * np.abs(changes[1:]).max()
