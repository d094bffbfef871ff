"""FLUX.1, on a tiny model in its real format."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from attn_flux import demo
from safetensors.torch import save_file

import attn
from attn.backends import Session, find, load
from attn.backends.testing import CHECKS, Check
from attn.errors import AttnError
from attn.schema import Lora, Request

REQUEST = Request("a red cat, on a chair", width=64, height=96, steps=3, negative="a dog")


def opened(source: object = "demo", **options: object) -> Session:
    backend = load(find("flux"))
    return backend.open(source, backend.Options(**{"t5_tokens": 23, **options}))


@pytest.fixture(scope="module")
def distilled() -> Session:
    """The demo model as it comes: guidance is an input."""
    return opened()


@pytest.fixture(scope="module")
def guided() -> Session:
    """The same with classifier-free guidance."""
    return opened(true_cfg=3.0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["distilled", "guided"])
def test_conformance(check: Check, name: str, request: pytest.FixtureRequest) -> None:
    """Every check of the kit passes, without and with true guidance."""
    check(request.getfixturevalue(name), REQUEST)


def test_layers(distilled: Session) -> None:
    """Double-stream blocks come first; each attends to text first, then the packed picture."""
    layers = distilled.layers(distilled.complete(REQUEST))
    assert [layer.path for layer in layers] == [
        *(f"transformer_blocks.{number}.attn" for number in range(2)),
        *(f"single_transformer_blocks.{number}.attn" for number in range(3)),
    ]
    text, image = layers[4].keys
    assert (text.name, text.start, text.stop) == ("t5", 0, 23)
    assert (image.start, image.stop, image.grid) == (23, 23 + 6 * 4, (6, 4))


def test_tokens_are_those_of_t5(distilled: Session) -> None:
    """Labels come from T5's tokenizer: whole words, then its end, then padding."""
    tokens = distilled.sequence(distilled.complete(REQUEST), "cond").tokens
    assert [token.text for token in tokens[:5]] == ["a", "red", "cat", ",", "on"]
    content = [token for token in tokens if token.is_content]
    assert [token.word for token in content if token.text == "chair"] == [5]
    assert tokens[len(content)].text == "</s>"
    assert all(token.padding for token in tokens[len(content) + 1 :])


def test_branches(distilled: Session, guided: Session) -> None:
    """A distilled model has no row `uncond`; true guidance has one, which reads the negative."""
    assert distilled.branches(distilled.complete(REQUEST)) == ("cond",)
    assert guided.branches(guided.complete(REQUEST)) == ("cond", "uncond")
    assert guided.sequence(guided.complete(REQUEST), "uncond").tokens[1].text == "dog"
    told = distilled.remarks(REQUEST, distilled.complete(REQUEST))
    assert any("negative prompt is not read" in one for one in told)


def test_a_saved_model_gives_the_same_trace(tmp_path: Path) -> None:
    """A diffusers folder, loaded part by part, is the model that was saved."""
    demo.pipeline(torch.float32).save_pretrained(tmp_path / "flux")
    settings = {"t5_tokens": "23"}
    asked = {"size": (64, 96), "steps": 2, "settings": settings, "device": "cpu"}
    traces = [
        attn.capture("flux", REQUEST.prompt, model=model, out=tmp_path / name, **asked).trace
        for name, model in {"made": "demo", "loaded": str(tmp_path / "flux")}.items()
    ]
    made, loaded = (trace.mass(layer=4).to_numpy() for trace in traces)
    assert np.array_equal(made, loaded)
    assert traces[1].manifest.model["sha256"]


def test_loras_change_the_picture_and_leave_nothing(tmp_path: Path, distilled: Session) -> None:
    """A LoRA acts on both kinds of blocks; at a scale of 0 the picture is the model's own."""
    paths = ("transformer_blocks.1.attn.to_q", "single_transformer_blocks.2.attn.to_k")
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"transformer.{path}.lora_{side}.weight": torch.randn(*shape, generator=generator)
        for path in paths
        for side, shape in {"A": (5, 48), "B": (48, 5)}.items()
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    pictures = {}
    for scale in (None, 0.0, 1.0):
        loras = () if scale is None else (Lora(str(tmp_path / "lora.safetensors"), scale),)
        request = distilled.complete(replace(REQUEST, loras=loras))
        (output,) = distilled.generate([request], None)
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
    with pytest.raises(AttnError, match=r"Stable Diffusion 1.x .* the family 'flux'"):
        load(find("flux")).complete_loras([Lora(str(tmp_path / "lora.safetensors"))])


def test_samplers_and_noise(distilled: Session) -> None:
    """Steps may be spread otherwise; the same seed begins with the same noise."""
    plain, spread = (
        distilled.complete(replace(REQUEST, scheduler=name)) for name in (None, "euler-karras")
    )
    assert spread.scheduler == "FlowMatchEulerDiscreteScheduler karras"
    calls: dict[str, list[float]] = {}
    noise = {}
    for request in (plain, spread):
        timesteps = calls.setdefault(request.scheduler, [])
        (output,) = distilled.generate(
            [request], lambda call, told=timesteps: told.append(call.noise)
        )
        noise[request.scheduler] = output.noise
    first, second = calls.values()
    assert len(first) == len(second) == 3
    assert first != second
    assert noise[plain.scheduler] == noise[spread.scheduler]


def test_schnell_takes_no_guidance() -> None:
    """A pipeline that is loaded already is taken as it is, schnell with its own defaults."""
    session = opened(demo.pipeline(torch.float32, guided=False), t5_tokens=None)
    asked = Request("a cat", width=64, height=96, guidance=3.0)
    request = session.complete(asked)
    assert (request.steps, request.guidance) == (4, 0.0)
    assert session.sequence(request, "cond").segment("t5").length == 256
    assert session.remarks(asked, request) == (
        "this model takes no guidance (schnell); --guidance is not used",
    )


def test_unusable(tmp_path: Path, distilled: Session) -> None:
    """What cannot be had is one message that says what to do."""
    demo.pipeline(torch.float32).save_pretrained(tmp_path)
    (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(AttnError, match=r"transformer has no weights"):
        opened(str(tmp_path))
    with pytest.raises(AttnError, match="size 72x96: width and height must be divisible by 16"):
        distilled.complete(Request("a", width=72, height=96))
    heun = "'FlowMatchHeunDiscreteScheduler' spreads its steps itself.*; there are euler"
    with pytest.raises(AttnError, match=heun):
        distilled.complete(Request("a", scheduler="heun"))
    with pytest.raises(ValueError, match="t5_tokens must be 1 to 512; got 513"):
        opened(t5_tokens=513)
