"""PixArt, in its published configuration and as a tiny model in its real format."""

import numpy as np
import pytest
import torch

from attn.backends.families.cross import PixArtAlphaPipeline
from attn.checkpoints.families.pixart import LAYOUT
from attn.checkpoints.probe import probe
from attn.demo.untrained import pixart as untrained
from attn.engine.plan import Keep, make_plan
from attn.errors import RequestError
from attn.schema import Request
from tests.helpers.models import full_size, layouts, lora_spellings
from tests.helpers.models.every_option import capture_everything
from tests.helpers.models.opening import differing, lay_out, opening, refusal
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
SMALL = {"steps": 2, "width": 96, "height": 64}
TEXT = 19


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as diffusers saves it."""
    target = tmp_path_factory.mktemp("pixart") / "model"
    untrained.build(torch.float32).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def sigma(folder, tmp_path_factory):
    """PixArt-Σ in full size, without weights."""
    target = tmp_path_factory.mktemp("sigma") / "model"
    lay_out(target, "pixart-sigma", folder / "tokenizer")
    return opening("pixart", target, weights=False)


def session(**options):
    """Return the tiny model with a short text."""
    return shared_session("pixart", **{"t5_tokens": TEXT} | options)


def test_full_size(sigma):
    """Parameters, layers, heads, segments and defaults are those of the published model."""
    request = sigma.complete(Request("a red cat", width=1344, height=768))
    layers = sigma.layers(request)
    assert sigma.info.parameters == 610_856_096
    assert [layer.path for layer in layers] == [
        f"transformer_blocks.{number}.{name}" for number in range(28) for name in ("attn1", "attn2")
    ]
    assert {(layer.kind, layer.num_heads, layer.head_dim) for layer in layers} == {
        ("self", 16, 72),
        ("cross", 16, 72),
    }
    assert {(layer.num_queries, layer.num_keys, layer.grid) for layer in layers[1::2]} == {
        (48 * 84, 300, (48, 84))
    }
    assert (request.steps, request.guidance) == (20, 4.5)
    assert sigma.complete(Request("a")).width == 1024


def test_planned_bytes(sigma):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    pixels, columns, text = 48 * 84, 3 + 1, 300  # a, red, cat and the rest
    request = sigma.complete(Request("a red cat", steps=7, width=1344, height=768))
    sequences = {"cond": sigma.sequence(request, "cond")}
    plan = make_plan(sigma.layers(request), sequences, Keep(), samples=1, steps=7, dtype="F16")
    item = 2 * pixels * columns + 4 * (16 * text + 16 + 3 * text)
    mean = 28 * 4 * pixels * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (7 * 28 * item + mean) <= 1.02


def test_tokens():
    """Prompts are read in small letters; words lie where they were typed."""
    model = session()
    prompt = "  A RED Cat, 猫"
    sequence = model.sequence(model.complete(Request(prompt, **SMALL)), "cond")
    content = [token for token in sequence.tokens if token.is_content]
    assert [prompt[token.start : token.stop] for token in content[:4]] == ["A", "RED", "Cat", ","]
    assert [token.word for token in content[:4]] == [0, 1, 2, None]
    assert content[-1].word == 3


def test_padding_is_masked():
    """What pads the text receives nothing: a word's mass does not depend on the length."""
    masses = []
    for length in (11, TEXT):
        model = session(t5_tokens=length)
        request = model.complete(Request("a red cat", **SMALL))
        assert model.text_segments(request)[0].length == length
        (output,) = model.generate([request], None)
        masses.append(np.asarray(output.images[0], np.int16))
    assert np.abs(masses[0] - masses[1]).max() <= 1


def test_alpha():
    """A pipeline of PixArt-α is taken too, with the length of text that it was trained with."""
    pipe = untrained.build(torch.float32)
    model = opening("pixart", PixArtAlphaPipeline(**pipe.components))
    assert model.sequence(model.complete(Request("a", **SMALL)), "cond").segment("t5").length == 120


@pytest.mark.parametrize("tokens", [0, 513])
def test_impossible_option(tokens):
    """A length that T5 has not is refused before the model runs."""
    with pytest.raises(RequestError) as error:
        session(t5_tokens=tokens).complete(Request("a cat"))
    assert str(error.value) == f"t5_tokens must be 1 to 512; got {tokens}"


# files


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """The tiny model in the layouts of others: (model, settings) by layout."""
    pipe, target = untrained.build(torch.float32), tmp_path_factory.mktemp("files")
    write, config = layouts.write, {"config": str(folder)}
    authors = {
        name.removeprefix(layouts.DENOISER): value
        for name, value in layouts.pixart(pipe).items()
        if name.startswith(layouts.DENOISER)
    }
    dit = write(authors, target / "pixart.safetensors")
    parts = {
        "vae": str(write(layouts.vae(pipe.vae), target / "vae.safetensors")),
        "t5xxl": str(write(layouts.copied(pipe.text_encoder), target / "t5xxl.safetensors")),
    }
    return {
        "folder": (folder, {}),
        "one file": (write(layouts.pixart(pipe), target / "whole.safetensors"), config),
        "parts": (None, config | parts | {"dit": str(dit)}),
        "folder and file": (folder, {"dit": str(dit)}),
        "alone": (dit, config),
    }


@pytest.mark.parametrize("layout", ["one file", "parts", "folder and file"])
def test_same_from_every_layout(files, layout):
    """Every weight is bit for bit that of the diffusers folder."""
    assert differing("pixart", files["folder"], files[layout]) == []


def test_refused_files(files, tmp_path):
    """A part alone, quantised weights and another family are refused, with what to do."""
    assert "dit found, vae, t5xxl missing" in refusal("pixart", files["alone"][0])
    state = layouts.of_authors(untrained.transformer(), LAYOUT) | {"scaled_fp8": torch.zeros(2)}
    path = layouts.write(state, tmp_path / "fp8.safetensors")
    assert "a model like PixArt-Σ, in scaled fp8; its weights are quantised" in refusal(
        "pixart", path
    )
    assert refusal("flux", files["folder"][0]).endswith("use --backend pixart")
    assert refusal("flux", files["one file"][0]).endswith("use --backend pixart")


def test_file_of_alpha():
    """The transformer of PixArt-α, which reads sizes too, is named, and its folder asked for."""
    state = layouts.of_authors(full_size.network("pixart-sigma", "transformer"), LAYOUT)
    state["csize_embedder.mlp.0.weight"] = torch.empty(384, 256, device="meta")
    result = probe(full_size.header(state))
    assert (result.family, result.title) == (None, "PixArt-α")
    assert "give the diffusers folder" in result.advice


# LoRAs


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """One LoRA in every spelling: the key of one cross-attention."""
    return lora_spellings.write_cross_key(tmp_path_factory.mktemp("loras"))


@pytest.mark.parametrize("spelling", lora_spellings.SPELLINGS)
def test_loras_of_every_spelling(loras, files, spelling):
    """One LoRA draws one picture however it is spelled, and is placed in every layout."""
    models = [files[layout][0] for layout in ("folder", "one file")]
    lora_spellings.check_spelling(session(), loras, spelling, models, 1)


@pytest.mark.parametrize("keep", ["heads", "factors"])
def test_every_option_of_capture(loras, tmp_path, keep):
    """Prompts, seeds, batches, LoRAs, both branches, all blocks: every option works together."""
    lora = loras / "kohya.safetensors"
    capture_everything("pixart", lora, tmp_path / "out", keep, t5_tokens=str(TEXT))
