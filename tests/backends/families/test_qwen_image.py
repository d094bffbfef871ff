"""Qwen-Image, in its published configuration and as a tiny model in its real format."""

import numpy as np
import pytest
import torch

from attn.backends.testing import attention_exact, rows_labelled
from attn.demo.untrained import qwen_image as untrained
from attn.engine.plan import Keep, make_plan
from attn.errors import RequestError
from attn.schema import Request
from tests.helpers.models import layouts, lora_spellings
from tests.helpers.models.every_option import capture_everything
from tests.helpers.models.opening import differing, lay_out, opening, picture
from tests.helpers.models.written import check_refused, write_files
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
SMALL = {"steps": 2, "width": 96, "height": 64}
UNUSUAL = "猫 🐈, red-hot cat’s… cat cat!"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as diffusers saves it."""
    target = tmp_path_factory.mktemp("qwen-image") / "model"
    untrained.build(torch.float32).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def published(folder, tmp_path_factory):
    """Qwen-Image in full size, without weights."""
    target = tmp_path_factory.mktemp("published") / "model"
    lay_out(target, "qwen-image", folder / "tokenizer")
    return opening("qwen-image", target, weights=False)


def session():
    """Return the tiny model."""
    return shared_session("qwen-image")


def test_full_size(published):
    """Parameters, layers, heads, sequence and defaults are those of the published model."""
    request = published.complete(Request("a red cat", width=1328, height=784))
    layers = published.layers(request)
    assert published.info.parameters == 20_430_401_088
    assert [layer.path for layer in layers] == [
        f"transformer_blocks.{number}.attn" for number in range(60)
    ]
    assert {(layer.num_heads, layer.head_dim) for layer in layers} == {(24, 128)}
    assert [(key.name, key.start, key.stop, key.grid) for key in layers[-1].keys] == [
        ("qwen", 0, 3, None),
        ("template_end", 3, 8, None),
        ("image", 8, 8 + 49 * 83, (49, 83)),
    ]
    assert (request.steps, request.guidance) == (50, 4.0)
    assert published.complete(Request("a")).width == 1024


def test_planned_bytes(published):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    pixels, text, columns = 49 * 83, 3 + 5, 3 + 1  # a, red, cat and the template's rest
    request = published.complete(Request("a red cat", steps=7, width=1328, height=784))
    sequences = {"cond": published.sequence(request, "cond")}
    plan = make_plan(published.layers(request), sequences, Keep(), samples=1, steps=7, dtype="BF16")
    item = 2 * pixels * columns + 4 * (24 * text + 24 * 3 + 3 * text)
    mean = 60 * 4 * pixels * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (7 * 60 * item + mean) <= 1.02


@pytest.mark.parametrize(
    ("prompt", "count"), [(UNUSUAL, 5), ("cat cat cat", 3), ("cat " * 300, 300), ("{} {red}", 1)]
)
def test_unusual_prompts(prompt, count):
    """Words lie where they were typed, whatever they are; of the instruction nothing is left."""
    request = session().complete(Request(prompt, **SMALL))
    read = session().sequence(request, "cond")
    words = {token.word for token in read.tokens if token.word is not None}
    assert (words, read.truncated) == (set(range(count)), {})
    assert {token.segment for token in read.tokens} == {"qwen", "template_end"}


def test_branches():
    """Guidance runs a forward for each row; the shorter text lacks the positions behind it."""
    request = session().complete(Request("a red cat", negative="a", **SMALL))
    assert session().branches(request) == ("cond", "uncond")
    uncond = session().sequence(request, "uncond").tokens
    assert [token.text for token in uncond[:4]] == ["a", "<none>", "<none>", "<|im_end|>"]
    calls = []
    session().generate([request], calls.append)
    assert [call.rows for call in calls[:2]] == [(("cond", 0),), (("uncond", 0),)]


@pytest.mark.slow
@pytest.mark.parametrize("check", [attention_exact, rows_labelled])
def test_lengths_that_differ(check):
    """A long prompt beside a shorter negative one, and both in a batch with another."""
    size = {"width": 48, "height": 32}
    check(session(), Request(UNUSUAL, negative="a dog", guidance=4.0, steps=2, **size))


def test_one_step():
    """Noise levels that end above 0 cannot be one, of which the library makes no number."""
    with pytest.raises(RequestError) as error:
        session().complete(Request("a", **SMALL | {"steps": 1}))
    assert str(error.value) == (
        "FlowMatchEulerDiscreteScheduler spreads its noise levels down to 0.02, which takes at "
        "least 2 steps; got 1"
    )


# files


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """The tiny model in files."""
    pipe, target = untrained.build(torch.float32), tmp_path_factory.mktemp("files")
    encoder = layouts.qwen25vl(pipe.text_encoder)
    return write_files(
        *(folder, target, layouts.qwen_image(pipe), layouts.copied(pipe.transformer)),
        vae=layouts.copied(pipe.vae),
        qwen25vl=encoder,
    )


@pytest.mark.parametrize("layout", ["one file", "parts", "folder and file"])
def test_same_from_every_layout(files, layout):
    """Every weight is bit for bit that of the diffusers folder."""
    assert differing("qwen-image", files["folder"], files[layout]) == []


@pytest.mark.parametrize("layout", ["folder", "one file"])
def test_saved_models_draw(files, layout):
    """Tables of positions, which the network keeps beside its buffers, are filled, too."""
    model, settings = files[layout]
    drawn = picture(opening("qwen-image", model, **settings))
    assert np.array_equal(drawn, picture(session()))


def test_refused_files(files, tmp_path):
    """A part alone, quantised weights and another family are refused, with what to do."""
    check_refused("qwen-image", "Qwen-Image", files, untrained.transformer(), tmp_path)


# LoRAs


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """One LoRA in every spelling: the text's key of one block, and what follows it."""
    generator = torch.Generator().manual_seed(0)
    down, up = (torch.randn(*shape, generator=generator) for shape in ((5, 24), (24, 5)))
    wide = torch.randn(96, 5, generator=generator)
    block = "transformer_blocks.1"
    changes = {
        f"{block}.attn.add_k_proj": (down, up),
        f"{block}.txt_mlp.net.0.proj": (down.clone(), wide),
    }
    return lora_spellings.write(tmp_path_factory.mktemp("loras"), changes, changes)


@pytest.mark.parametrize("spelling", lora_spellings.SPELLINGS)
def test_loras_of_every_spelling(loras, files, spelling):
    """One LoRA draws one picture however it is spelled, and is placed in every layout."""
    models = [files[layout][0] for layout in ("folder", "one file")]
    lora_spellings.check_spelling(session(), loras, spelling, models, 2, guidance=1.0)


def test_every_option_of_capture(loras, tmp_path):
    """Prompts, seeds, batches, LoRAs, both branches, all blocks: every option works together."""
    capture_everything("qwen-image", loras / "kohya.safetensors", tmp_path / "out", "factors")
