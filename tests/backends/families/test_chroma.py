"""Chroma, in its published configuration and as a tiny model in its real format."""

import pytest
import torch

from attn.demo.untrained import chroma as untrained
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
TEXT = 19
UNUSUAL = "猫 🐈, red-hot cat’s… cat cat!"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as diffusers saves it."""
    target = tmp_path_factory.mktemp("chroma") / "model"
    untrained.build(torch.float32).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def published(folder, tmp_path_factory):
    """Chroma1 in full size, without weights."""
    target = tmp_path_factory.mktemp("published") / "model"
    lay_out(target, "chroma1", folder / "tokenizer")
    return opening("chroma", target, weights=False)


def session(**options):
    """Return the tiny model with a short text."""
    return shared_session("chroma", **{"t5_tokens": TEXT} | options)


def test_full_size(published):
    """Layers, heads, sequence and defaults are those of the published model."""
    request = published.complete(Request("a red cat", width=1344, height=768))
    layers = published.layers(request)
    assert [layer.path for layer in layers] == [
        *(f"transformer_blocks.{number}.attn" for number in range(19)),
        *(f"single_transformer_blocks.{number}.attn" for number in range(38)),
    ]
    assert {(layer.num_heads, layer.head_dim) for layer in layers} == {(24, 128)}
    assert [(key.name, key.start, key.stop, key.grid) for key in layers[-1].keys] == [
        ("t5", 0, 512, None),
        ("image", 512, 512 + 48 * 84, (48, 84)),
    ]
    assert (request.steps, request.guidance) == (35, 5.0)
    assert published.complete(Request("a")).width == 1024


def test_planned_bytes(published):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    pixels, text, columns = 48 * 84, 512, 3 + 1  # a, red, cat and the rest
    request = published.complete(Request("a red cat", steps=7, width=1344, height=768))
    sequences = {"cond": published.sequence(request, "cond")}
    plan = make_plan(published.layers(request), sequences, Keep(), samples=1, steps=7, dtype="BF16")
    item = 2 * pixels * columns + 4 * (24 * text + 24 * 2 + 3 * text)
    mean = 57 * 4 * pixels * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (7 * 57 * item + mean) <= 1.02


@pytest.mark.parametrize(
    ("prompt", "count"), [(UNUSUAL, 5), ("cat cat cat", 3), ("cat " * 300, 300)]
)
def test_words(prompt, count):
    """Words lie where they were typed, whatever they are."""
    model = session(t5_tokens=512)
    read = model.sequence(model.complete(Request(prompt, **SMALL)), "cond")
    words = {token.word for token in read.tokens if token.word is not None}
    assert (words, read.truncated) == (set(range(count)), {})


def test_branches():
    """Guidance runs a forward for each row; at 1 it is off."""
    request = session().complete(Request("a red cat", negative="a", **SMALL))
    calls = []
    session().generate([request], calls.append)
    assert [call.rows for call in calls[:2]] == [(("cond", 0),), (("uncond", 0),)]
    unguided = session().complete(Request("a red cat", guidance=1.0, **SMALL))
    assert session().branches(unguided) == ("cond",)


@pytest.mark.parametrize("tokens", [0, 513])
def test_impossible_option(tokens):
    """A length that T5 has not is refused before the model runs."""
    with pytest.raises(RequestError) as error:
        session(t5_tokens=tokens).complete(Request("a cat"))
    assert str(error.value) == f"t5_tokens must be 1 to 512; got {tokens}"


# files


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """The tiny model in files."""
    pipe, target = untrained.build(torch.float32), tmp_path_factory.mktemp("files")
    encoder = layouts.copied(pipe.text_encoder)
    return write_files(
        *(folder, target, layouts.chroma(pipe), layouts.copied(pipe.transformer)),
        vae=layouts.vae(pipe.vae),
        t5xxl=encoder,
    )


@pytest.mark.parametrize("layout", ["one file", "parts", "folder and file"])
def test_same_from_every_layout(files, layout):
    """Every weight is bit for bit that of the diffusers folder."""
    assert differing("chroma", files["folder"], files[layout]) == []


def test_refused_files(files, tmp_path):
    """A part alone, quantised weights and another family are refused, with what to do."""
    check_refused("chroma", "Chroma", files, untrained.transformer(), tmp_path)


# LoRAs


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """One LoRA in every spelling: the text's key of the double block, the key of a single one."""
    generator = torch.Generator().manual_seed(0)
    down, up = (torch.randn(*shape, generator=generator) for shape in ((5, 24), (24, 5)))
    zeros, feed_forward = torch.zeros(24, 5), torch.zeros(96, 5)
    single = (down.clone(), up.clone())
    return lora_spellings.write(
        tmp_path_factory.mktemp("loras"),
        {
            "transformer_blocks.0.attn.add_k_proj": (down, up),
            "single_transformer_blocks.1.attn.to_k": single,
        },
        {
            "double_blocks.0.txt_attn.qkv": (down, torch.cat([zeros, up, zeros])),
            "single_blocks.1.linear1": (single[0], torch.cat([zeros, up, zeros, feed_forward])),
        },
    )


@pytest.mark.parametrize("spelling", ["diffusers", "peft", "kohya", "comfyui"])
def test_loras_of_every_spelling(loras, files, spelling):
    """One LoRA draws one picture however it is spelled, and is placed in every layout."""
    models = [files[layout][0] for layout in ("folder", "one file")]
    lora_spellings.check_spelling(session(), loras, spelling, models, 2, guidance=1.0)


def test_every_option_of_capture(loras, tmp_path):
    """Prompts, seeds, batches, LoRAs, both branches, all blocks: every option works together."""
    lora = loras / "kohya.safetensors"
    capture_everything("chroma", lora, tmp_path / "out", "factors", t5_tokens=str(TEXT))
