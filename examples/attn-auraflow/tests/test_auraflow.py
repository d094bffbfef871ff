"""AuraFlow, on a tiny model in its real format."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from attn_auraflow import demo
from safetensors.torch import save_file

import attn
from attn.backends import Session, find, load
from attn.backends.testing import CHECKS, Check
from attn.errors import AttnError
from attn.schema import Lora, Request

REQUEST = Request("a red cat, on a chair", width=64, height=96, steps=3, negative="a dog")
TEXT = 23


def opened(source: object = "demo", **options: object) -> Session:
    backend = load(find("auraflow"))
    return backend.open(source, backend.Options(**{"t5_tokens": TEXT, **options}))


@pytest.fixture(scope="module")
def session() -> Session:
    """The demo model, with a short text."""
    return opened()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_conformance(check: Check, guidance: float, session: Session) -> None:
    """Every check of the kit passes, without and with guidance."""
    check(session, replace(REQUEST, guidance=guidance))


def test_layers(session: Session) -> None:
    """Blocks of two streams come first; each attends to registers, text, then the picture."""
    layers = session.layers(session.complete(REQUEST))
    assert [layer.path for layer in layers] == [
        "joint_transformer_blocks.0.attn",
        *(f"single_transformer_blocks.{number}.attn" for number in range(2)),
    ]
    registers, text, image = layers[2].keys
    assert (registers.name, registers.start, registers.stop) == ("registers", 0, 8)
    assert (text.name, text.start, text.stop) == ("t5", 8, 8 + TEXT)
    assert (image.start, image.stop, image.grid) == (8 + TEXT, 8 + TEXT + 6 * 4, (6, 4))


def test_tokens(session: Session) -> None:
    """Registers are no words; labels come from the tokenizer: words, its end, then padding."""
    tokens = session.sequence(session.complete(REQUEST), "cond").tokens
    assert {(token.text, token.word) for token in tokens[:8]} == {("<registers>", None)}
    content = [token for token in tokens if token.is_content]
    assert [token.text for token in content[:5]] == ["a", "red", "cat", ",", "on"]
    assert [token.word for token in content if token.text == "chair"] == [5]
    assert session.sequence(session.complete(REQUEST), "uncond").tokens[9].text == "dog"


def test_a_saved_model_gives_the_same_trace(tmp_path: Path) -> None:
    """A diffusers folder, loaded part by part, is the model that was saved."""
    demo.pipeline(torch.float32).save_pretrained(tmp_path / "aura")
    asked = {"size": (64, 96), "steps": 2, "settings": {"t5_tokens": "23"}, "device": "cpu"}
    traces = [
        attn.capture("auraflow", REQUEST.prompt, model=model, out=tmp_path / name, **asked).trace
        for name, model in {"made": "demo", "loaded": str(tmp_path / "aura")}.items()
    ]
    made, loaded = (trace.mass(layer=2).to_numpy() for trace in traces)
    assert np.array_equal(made, loaded)
    assert traces[1].manifest.model["sha256"]


def test_loras_change_the_picture_and_leave_nothing(tmp_path: Path, session: Session) -> None:
    """A LoRA acts on both kinds of blocks; at a scale of 0 the picture is the model's own."""
    paths = ("joint_transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.attn.to_k")
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"transformer.{path}.lora_{side}.weight": torch.randn(*shape, generator=generator)
        for path in paths
        for side, shape in {"A": (5, 24), "B": (24, 5)}.items()
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    pictures = {}
    for scale in (None, 0.0, 1.0):
        loras = () if scale is None else (Lora(str(tmp_path / "lora.safetensors"), scale),)
        request = session.complete(replace(REQUEST, loras=loras))
        (output,) = session.generate([request], None)
        pictures[scale] = np.asarray(output.images[0])
    assert np.array_equal(pictures[None], pictures[0.0])
    assert not np.array_equal(pictures[None], pictures[1.0])


def test_loras_of_others_are_refused(tmp_path: Path) -> None:
    """What was made for another family is refused before a model is loaded, and said why."""
    name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = {
        f"{name}.lora_A.weight": torch.ones(3, 768),
        f"{name}.lora_B.weight": torch.ones(7, 3),
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(AttnError, match=r"Stable Diffusion 1.x .* the family 'auraflow'"):
        load(find("auraflow")).complete_loras([Lora(str(tmp_path / "lora.safetensors"))])


def test_unusable(tmp_path: Path, session: Session) -> None:
    """What cannot be had is one message that says what to do."""
    demo.pipeline(torch.float32).save_pretrained(tmp_path)
    (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(AttnError, match=r"transformer has no weights"):
        opened(str(tmp_path))
    with pytest.raises(AttnError, match="size 72x96: width and height must be divisible by 16"):
        session.complete(Request("a", width=72, height=96))
    with pytest.raises(AttnError, match="positions for at most 144 pixels a side"):
        session.complete(Request("a", width=160, height=96))
    with pytest.raises(ValueError, match="t5_tokens must be 1 to 256; got 257"):
        opened(t5_tokens=257)
