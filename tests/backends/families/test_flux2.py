"""FLUX.2 klein, in its published configurations and as a tiny model in its real format."""

import pytest
import torch

from attn.demo.untrained import flux2 as untrained
from attn.engine.plan import Keep, make_plan
from attn.errors import RequestError
from attn.schema import Request
from tests.helpers.models import layouts, lora_spellings
from tests.helpers.models.every_option import capture_everything
from tests.helpers.models.opening import differing, lay_out, opening
from tests.helpers.models.written import check_refused, write_files
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
SMALL = {"steps": 2, "width": 96, "height": 64}
UNUSUAL = "猫 🐈, red-hot cat’s… cat cat!"
CONFIGS = {"4b": (5, 20, 24), "9b": (8, 24, 32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as diffusers saves it."""
    target = tmp_path_factory.mktemp("flux2") / "model"
    untrained.build(torch.float32).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def published(folder, tmp_path_factory):
    """Return a klein in full size, without weights."""

    def opened(size):
        target = tmp_path_factory.mktemp("published") / "model"
        lay_out(target, f"flux2-klein-{size}", folder / "tokenizer")
        return opening("flux2", target, weights=False)

    return opened


def session(**options):
    """Return the tiny model."""
    return shared_session("flux2", **options)


def sequence(prompt, **more):
    """Return what the tiny model reads."""
    return session().sequence(session().complete(Request(prompt, **SMALL | more)), "cond")


@pytest.mark.parametrize("size", CONFIGS)
def test_full_size(published, size):
    """Layers, heads, sequence and defaults are those of the published models."""
    model, (double, single, heads) = published(size), CONFIGS[size]
    request = model.complete(Request("a red cat", width=1344, height=768))
    layers = model.layers(request)
    assert [layer.path for layer in layers] == [
        *(f"transformer_blocks.{number}.attn" for number in range(double)),
        *(f"single_transformer_blocks.{number}.attn" for number in range(single)),
    ]
    assert {(layer.num_heads, layer.head_dim) for layer in layers} == {(heads, 128)}
    assert [(key.name, key.start, key.stop, key.grid) for key in layers[-1].keys] == [
        ("template", 0, 3, None),
        ("qwen3", 3, 6, None),
        ("template_end", 6, 15, None),
        ("text_padding", 15, 512, None),
        ("image", 512, 512 + 48 * 84, (48, 84)),
    ]
    assert (request.steps, request.guidance, model.branches(request)) == (4, 1.0, ("cond",))
    assert model.complete(Request("a")).width == 1024


def test_planned_bytes(published):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    pixels, text, columns = 48 * 84, 3 + 3 + 9, 3 + 2  # a, red, cat and each template's rest
    model = published("4b")
    request = model.complete(Request("a red cat", steps=7, width=1344, height=768))
    sequences = {"cond": model.sequence(request, "cond")}
    plan = make_plan(model.layers(request), sequences, Keep(), samples=1, steps=7, dtype="BF16")
    item = 2 * pixels * columns + 4 * (24 * text + 24 * 5 + 3 * text)
    mean = 25 * 4 * pixels * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (7 * 25 * item + mean) <= 1.02


def test_tokens():
    """The template is around the prompt, in segments of its own, and none of it is a word."""
    read = sequence("user: a red cat, think")
    texts = {
        name: [token.text for token in read.tokens if token.segment == name]
        for name in ("template", "qwen3", "template_end")
    }
    assert texts["template"] == ["<|im_start|>", "user", "\\n"]
    assert texts["qwen3"] == ["user", ":", "a", "red", "cat", ",", "think"]
    assert texts["template_end"][:4] == ["<|im_end|>", "\\n", "<|im_start|>", "assistant"]
    assert {"<think>", "</think>"} <= {*texts["template_end"]}
    words = [token.word for token in read.tokens if token.segment == "qwen3"]
    assert words == [0, None, 1, 2, 3, None, 4]
    assert {token.word for token in read.tokens if token.segment != "qwen3"} == {None}


@pytest.mark.parametrize(
    ("prompt", "count"), [(UNUSUAL, 5), ("cat cat cat", 3), ("cat " * 300, 300), ("", 0)]
)
def test_words(prompt, count):
    """Words lie where they were typed, whatever they are."""
    read = sequence(prompt)
    words = {token.word for token in read.tokens if token.word is not None}
    assert (words, read.truncated) == (set(range(count)), {})


def test_too_long_a_prompt():
    """What the encoder did not read is told, and its end of the template is gone with it."""
    read = sequence("cat " * 600, guidance=1.0)
    assert read.truncated == {"qwen3": ("cat " * 91).strip()}
    assert [segment.name for segment in read.segments] == ["template", "qwen3", "image"]


def test_branches():
    """Guidance runs a forward for each row; the negative prompt is an empty one, which is said."""
    asked = Request("a red cat", negative="a dog", **SMALL)
    request = session().complete(asked)
    calls = []
    session().generate([request], calls.append)
    assert [call.rows for call in calls[:2]] == [(("cond", 0),), (("uncond", 0),)]
    assert "guided by an empty one" in session().remarks(asked, request)[0]
    read = session().sequence(request, "uncond")
    assert {token.word for token in read.tokens} == {None}


def test_distilled_takes_no_guidance(published):
    """The model of few steps runs one row, and says that guidance is not used."""
    model = published("4b")
    asked = Request("a", guidance=3.0)
    request = model.complete(asked)
    assert (request.guidance, model.branches(request)) == (1.0, ("cond",))
    assert any("--guidance is not used" in told for told in model.remarks(asked, request))


@pytest.mark.parametrize("tokens", [15, 513])
def test_impossible_option(tokens):
    """A length that has no room for the template, or that the model was not trained with."""
    with pytest.raises(RequestError) as error:
        session(qwen3_tokens=tokens).complete(Request("a cat"))
    assert str(error.value) == f"qwen3_tokens must be 16 to 512; got {tokens}"


# files


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """The tiny model in files."""
    pipe, target = untrained.build(torch.float32), tmp_path_factory.mktemp("files")
    encoder = layouts.copied(pipe.text_encoder)
    return write_files(
        *(folder, target, layouts.flux2(pipe), layouts.copied(pipe.transformer)),
        vae=layouts.flux2_vae(pipe.vae),
        qwen3=encoder,
    )


@pytest.mark.parametrize("layout", ["one file", "parts", "folder and file"])
def test_same_from_every_layout(files, layout):
    """Every weight is bit for bit that of the diffusers folder."""
    assert differing("flux2", files["folder"], files[layout]) == []


def test_refused_files(files, tmp_path):
    """A part alone, quantised weights and another family are refused, with what to do."""
    check_refused("flux2", "FLUX.2 klein", files, untrained.transformer(), tmp_path)


# LoRAs


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """One LoRA in every spelling: the text's key of the double block, all of a single one."""
    generator = torch.Generator().manual_seed(0)
    down, up, down2, up2 = (
        torch.randn(*shape, generator=generator) for shape in ((5, 24), (24, 5), (5, 24), (216, 5))
    )
    zeros = torch.zeros(24, 5)
    return lora_spellings.write(
        tmp_path_factory.mktemp("loras"),
        {
            "transformer_blocks.0.attn.add_k_proj": (down, up),
            "single_transformer_blocks.1.attn.to_qkv_mlp_proj": (down2, up2),
        },
        {
            "double_blocks.0.txt_attn.qkv": (down, torch.cat([zeros, up, zeros])),
            "single_blocks.1.linear1": (down2.clone(), up2.clone()),
        },
    )


@pytest.mark.parametrize("spelling", lora_spellings.SPELLINGS)
def test_loras_of_every_spelling(loras, files, spelling):
    """One LoRA draws one picture however it is spelled, and is placed in every layout."""
    models = [files[layout][0] for layout in ("folder", "one file")]
    lora_spellings.check_spelling(
        session(qwen3_tokens=29), loras, spelling, models, 2, guidance=1.0
    )


def test_every_option_of_capture(loras, tmp_path):
    """Prompts, seeds, batches, LoRAs, both branches, all blocks: every option works together."""
    lora = loras / "kohya.safetensors"
    capture_everything("flux2", lora, tmp_path / "out", "factors", qwen3_tokens="29")
