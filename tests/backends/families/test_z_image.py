"""Z-Image, in its published configuration and as a tiny model in its real format."""

import csv

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers

import attn
from attn.backends.testing import attention_exact, rows_labelled
from attn.backends.testing.observe import recorded
from attn.demo.untrained import z_image as untrained
from attn.engine.plan import Keep, make_plan
from attn.errors import ModelError
from attn.schema import Request
from tests.helpers.models import layouts, lora_spellings
from tests.helpers.models.every_option import capture_everything
from tests.helpers.models.opening import differing, lay_out, opening
from tests.helpers.models.written import check_refused, write_files
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
SMALL = {"steps": 2, "width": 96, "height": 64}
UNUSUAL = "猫 🐈, red-hot cat’s… cat cat!"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as diffusers saves it."""
    target = tmp_path_factory.mktemp("z-image") / "model"
    untrained.build(torch.float32).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def turbo(folder, tmp_path_factory):
    """Z-Image-Turbo in full size, without weights."""
    target = tmp_path_factory.mktemp("turbo") / "model"
    lay_out(target, "z-image-turbo", folder / "tokenizer")
    return opening("z-image", target, weights=False)


def session():
    """Return the tiny model."""
    return shared_session("z-image")


def sequence(prompt, branch="cond", **changes):
    """Return what the tiny model reads."""
    request = session().complete(Request(prompt, **SMALL | changes))
    return session().sequence(request, branch)


def test_full_size(turbo):
    """Parameters, layers, heads, sequence and defaults are those of the published model."""
    request = turbo.complete(Request("a red cat", width=1328, height=784))
    layers = turbo.layers(request)
    assert turbo.info.parameters == 6_154_908_736
    assert [layer.path for layer in layers] == [
        f"{stack}.{number}.attention"
        for stack, count in (("noise_refiner", 2), ("context_refiner", 2), ("layers", 30))
        for number in range(count)
    ]
    assert {(layer.num_heads, layer.head_dim) for layer in layers} == {(30, 128)}
    assert [(key.name, key.start, key.stop, key.grid) for key in layers[-1].keys] == [
        ("image", 0, 4067, (49, 83)),
        ("image_padding", 4067, 4096, None),
        ("template", 4096, 4099, None),
        ("qwen3", 4099, 4102, None),
        ("template_end", 4102, 4107, None),
        ("text_padding", 4107, 4128, None),
    ]
    assert [layers[at].num_keys for at in (0, 2)] == [4096, 32]
    assert (request.steps, request.guidance) == (9, 0.0)
    assert turbo.complete(Request("a")).width == 1024


def test_planned_bytes(turbo):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    pixels, text, columns = 49 * 83, 3 + 3 + 5, 3 + 2  # a, red, cat and each template's rest
    request = turbo.complete(Request("a red cat", steps=7, width=1328, height=784))
    sequences = {"cond": turbo.sequence(request, "cond")}
    plan = make_plan(turbo.layers(request), sequences, Keep(), samples=1, steps=7, dtype="BF16")
    item = 2 * pixels * columns + 4 * (30 * text + 30 * 6 + 3 * text)
    mean = 30 * 4 * pixels * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (7 * 30 * item + mean) <= 1.01


def test_tokens():
    """The template is around the prompt, in segments of its own, and none of it is a word."""
    read = sequence("user: a red cat, on a cat")
    texts = {
        name: [token.text for token in read.tokens if token.segment == name]
        for name in ("template", "qwen3", "template_end")
    }
    assert texts == {
        "template": ["<|im_start|>", "user", "\\n"],
        "qwen3": ["user", ":", "a", "red", "cat", ",", "on", "a", "cat"],
        "template_end": ["<|im_end|>", "\\n", "<|im_start|>", "assistant", "\\n"],
    }
    assert {token.word for token in read.tokens if token.segment != "qwen3"} == {None}
    words = [token.word for token in read.tokens if token.segment == "qwen3"]
    assert words == [0, None, 1, 2, 3, None, 4, 5, 6]


@pytest.mark.parametrize(
    ("prompt", "count", "cut"),
    [(UNUSUAL, 5, {}), ("cat cat cat", 3, {}), ("cat " * 300, 300, {}), ("", 0, {})],
)
def test_unusual_prompts(prompt, count, cut):
    """Words lie where they were typed, whatever they are, and what did not fit is told."""
    read = sequence(prompt)
    words = {token.word for token in read.tokens if token.word is not None}
    assert (words, read.truncated) == (set(range(count)), cut)


def test_too_long_a_prompt():
    """What the encoder did not read is told, and its end of the template is gone with it."""
    read = sequence("cat " * 600)
    assert read.truncated == {"qwen3": ("cat " * 91).strip()}
    assert [segment.name for segment in read.segments][-2:] == ["template", "qwen3"]


def test_branches():
    """Guidance begins at 0; a shorter text keeps its place, and lacks the positions behind it."""
    request = session().complete(Request("a red cat", negative="a", guidance=0.5, **SMALL))
    assert session().branches(request) == ("cond", "uncond")
    uncond = session().sequence(request, "uncond").tokens
    assert [token.text for token in uncond[3:7]] == ["a", "<none>", "<none>", "<|im_end|>"]
    assert session().branches(session().complete(Request("a", **SMALL))) == ("cond",)


def test_base_defaults():
    """A pipeline that is loaded already is taken as it is, the base model with its defaults."""
    model = opening("z-image", untrained.build(torch.float32, turbo=False))
    request = model.complete(Request("a", **SMALL | {"steps": None}))
    assert (request.steps, request.guidance) == (50, 4.0)


@pytest.mark.slow
@pytest.mark.parametrize("check", [attention_exact, rows_labelled])
def test_lengths_that_differ(check):
    """A long prompt beside a shorter negative one, and both in a batch with another."""
    prompt, size = f"{UNUSUAL} red red red red", {"width": 48, "height": 32}
    check(session(), Request(prompt, negative="a dog", guidance=4.0, steps=1, **size))


def test_absent_positions_receive_nothing():
    """What the shorter text of two guidance rows lacks receives exactly nothing."""
    request = session().complete(
        Request("red " * 40, negative="a", guidance=4.0, **SMALL | {"steps": 1})
    )
    run = recorded(session(), [request], "mass", mass_only=True)
    read = session().sequence(request, "uncond")
    absent = [token.position for token in read.tokens if token.text == "<none>"]
    mass = run.tensors[0, 0]["2/mass.all.all"][1]
    assert len(absent) == 40
    assert (mass[..., absent] == 0).all()
    assert np.allclose(mass.sum(-1), 1, atol=1e-5)


def test_no_chat_template():
    """A tokenizer without its template is refused, with what is missing."""
    pipe = untrained.build(torch.float32)
    pipe.tokenizer.chat_template = None
    model = opening("z-image", pipe)
    with pytest.raises(ModelError, match="the tokenizer has no chat template"):
        model.sequence(model.complete(Request("a", **SMALL)), "cond")


# files


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """The tiny model in files."""
    pipe, target = untrained.build(torch.float32), tmp_path_factory.mktemp("files")
    encoder = layouts.within("model.", layouts.copied(pipe.text_encoder))
    return write_files(
        *(folder, target, layouts.z_image(pipe), layouts.z_image_dit(pipe.transformer)),
        vae=layouts.vae(pipe.vae),
        qwen3=encoder,
    )


@pytest.mark.parametrize("layout", ["one file", "parts", "folder and file"])
def test_same_from_every_layout(files, layout):
    """Every weight is bit for bit that of the diffusers folder."""
    assert differing("z-image", files["folder"], files[layout]) == []


def test_names_are_those_of_the_library():
    """Our table of names says what the library's converter does."""
    model = untrained.transformer()
    converted = convert_z_image_transformer_checkpoint_to_diffusers(layouts.z_image_dit(model))
    expected = model.state_dict()
    assert converted.keys() == expected.keys()
    assert all(torch.equal(converted[name], expected[name]) for name in expected)


def test_refused_files(files, tmp_path):
    """A part alone, quantised weights and another family are refused, with what to do."""
    check_refused("z-image", "Z-Image", files, untrained.transformer(), tmp_path)


# LoRAs


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """One LoRA in every spelling: the key of one joint block."""
    generator = torch.Generator().manual_seed(0)
    down, up = (torch.randn(*shape, generator=generator) for shape in ((5, 24), (24, 5)))
    nothing = torch.zeros(24, 5)
    return lora_spellings.write(
        tmp_path_factory.mktemp("loras"),
        {"layers.1.attention.to_k": (down, up)},
        {"layers.1.attention.qkv": (down, torch.cat([nothing, up, nothing]))},
    )


@pytest.mark.parametrize("spelling", lora_spellings.SPELLINGS)
def test_loras_of_every_spelling(loras, files, spelling):
    """One LoRA draws one picture however it is spelled, and is placed in every layout."""
    models = [files[layout][0] for layout in ("folder", "one file")]
    lora_spellings.check_spelling(session(), loras, spelling, models, 1)


@pytest.mark.parametrize("keep", ["heads", "factors"])
def test_every_option_of_capture(loras, tmp_path, keep):
    """Prompts, seeds, batches, LoRAs, both branches, all blocks: every option works together."""
    capture_everything("z-image", loras / "kohya.safetensors", tmp_path / "out", keep, guidance=3.0)


def test_roles(tmp_path):
    """What fills the sequence up, and the template, have roles of their own; rows add up to 1."""
    size = {"size": (64, 96), "steps": 1}
    trace = attn.capture("z-image", "a red cat", out=tmp_path / "out", keep="mass", **size)
    attn.analyze(trace.path, only="sinks", pictures=False)
    with (trace.path / "analysis/sinks/roles.csv").open() as stream:
        last = [row for row in csv.DictReader(stream) if row["layer"] == "3"]
    assert [(row["segment"], row["role"], int(row["keys"])) for row in last] == [
        *(("template", "template", 3), ("qwen3", "word", 3), ("template_end", "template", 5)),
        *(("image_padding", "padding", 8), ("text_padding", "padding", 21), ("image", "image", 24)),
    ]
    assert sum(float(row["mass"]) for row in last) == pytest.approx(1, abs=1e-6)
