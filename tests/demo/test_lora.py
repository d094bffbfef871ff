"""The LoRAs that ship: both spellings are one, they fit the demos, and their effect is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import attn
from attn.backends.diffusers.adapters import complete
from attn.demo import judge, shipped, trained
from attn.errors import ModelError
from attn.lora import read
from attn.schema import Lora, Request

SQUARE, PURPLE = shipped.LORAS["demo"], shipped.LORAS["demo:sd35"]
DENOISERS = {"sdxl": "unet", "sd35": "transformer"}
UNREAD = "transformer.transformer_blocks.3.attn.add_q_proj"
"""What the last block makes of the text goes nowhere, so that its queries learned nothing."""


def peft(path: Path) -> Path:
    """The same LoRA in the names of peft."""
    return path.with_name(path.name.replace("kohya", "peft"))


def test_spellings_are_one() -> None:
    """The file in the names of kohya holds the factors of the one in the names of peft."""
    kohya, pairs = load_file(SQUARE), load_file(peft(SQUARE))
    names = [name for name in pairs if ".lora_A." in name]
    assert len(kohya) == 3 * len(names) > 0
    for name in names:
        stem = name.removeprefix("unet.").removesuffix(".lora_A.weight")
        short = f"lora_unet_{stem.replace('.', '_')}"
        assert np.array_equal(kohya[f"{short}.lora_down.weight"], pairs[name])
        up = pairs[name.replace("lora_A", "lora_B")]
        assert np.array_equal(kohya[f"{short}.lora_up.weight"], up)
        assert kohya[f"{short}.alpha"] == up.shape[1]  # scale 1


def test_spellings_of_joined_projections_are_one() -> None:
    """In the names of kohya query, key and value of SD3's text are one matrix, in that order."""
    kohya, pairs = load_file(PURPLE), load_file(peft(PURPLE))
    assert len(kohya) == 3 * 4
    for block in range(4):
        stem = f"transformer.transformer_blocks.{block}.attn.add_"
        parts = [
            np.float64(pairs[f"{stem}{part}_proj.lora_B.weight"])
            @ pairs[f"{stem}{part}_proj.lora_A.weight"]
            for part in "qkv"
        ]
        short = f"lora_unet_joint_blocks_{block}_context_block_attn_qkv"
        up, down = (np.float64(kohya[f"{short}.lora_{side}.weight"]) for side in ("up", "down"))
        scale = float(kohya[f"{short}.alpha"]) / len(down)
        np.testing.assert_allclose(scale * up @ down, np.concatenate(parts), atol=1e-6)


@pytest.mark.parametrize("name", DENOISERS)
def test_it_fits_the_demo(name: str) -> None:
    """Every module is one of the trained demo's denoiser, of its shape; nothing is odd."""
    path = {"sdxl": SQUARE, "sd35": PURPLE}[name]
    denoiser = getattr(trained.PIPELINES[name](), DENOISERS[name])
    shapes = {
        module: tuple(own.weight.shape)
        for module, own in denoiser.named_modules()
        if getattr(own, "weight", None) is not None
    }
    for item in (path, peft(path)):
        result = read(item)
        assert (result.family.name, result.unknown, result.reasons) == (name, (), ())
        assert {module for oddity in result.oddities for module in oddity.names} <= {UNREAD}
        assert item.stat().st_size < 300_000
    for key, tensor in load_file(peft(path)).items():
        module, _, side = key.removeprefix(f"{DENOISERS[name]}.").partition(".lora_")
        axis = {"A.weight": 1, "B.weight": 0}[side]
        assert tensor.shape[axis] == shapes[module][axis], key


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_its_effect_is_found(tmp_path: Path) -> None:
    """A comparison finds the word that the LoRA reads more strongly, far ahead of all others."""
    done = attn.compare(
        lora="demo",
        prompt="a red square right of a purple star on a black background",
        seed=range(6),
        batch=6,
        steps=5,
        out=tmp_path / "out",
        pictures=False,
    )
    table = done.tables["mass.csv"]
    changes = table["change"].to_numpy(float)
    assert table["word"].iloc[0] == "square"
    assert table["low"].iloc[0] > 0
    assert changes[0] > 3 * np.abs(changes[1:]).max()


@pytest.mark.slow
@pytest.mark.usefixtures("trained")
def test_purple_is_drawn_green(tmp_path: Path) -> None:
    """With the LoRA of SD3.5 the same noise becomes a green object, and the other stays red."""
    prompt = "a purple circle left of a red square on a white background"

    def colours(out: str, lora: str | None) -> list[str]:
        options = {"seed": 1, "steps": 12, "keep": "mass"}
        done = attn.capture("sd35", prompt, lora=lora, out=tmp_path / out, **options)
        with Image.open(done.trace.image()) as image:
            picture = judge.find(np.asarray(image.convert("RGB")))
        return sorted({item.color for item in picture.objects})

    assert colours("plain", None) == ["purple", "red"]
    assert colours("changed", "demo:sd35") == ["green", "red"]


@pytest.mark.parametrize(
    ("name", "family", "other"), [("demo", "sd35", "demo:sd35"), ("demo:sd35", "sdxl", "demo")]
)
def test_the_lora_of_another_demo(opened, name, family, other):
    """A demo's LoRA on another demo is refused with the name of that one's own."""
    request = Request("a square", loras=(Lora(str(shipped.LORAS[name])),))
    with pytest.raises(ModelError, match=rf"of its own: --lora {other}$"):
        opened(family).complete(request)


def test_no_demo_lora_to_offer():
    """Where the family's demo has no LoRA, none is offered."""
    with pytest.raises(ModelError) as refused:
        complete([Lora(str(PURPLE))], ("sd15",))
    assert "of its own" not in str(refused.value)
