"""Sana, in its published configuration and as a tiny model in its real format."""

import pytest
import torch

from attn.backends.families.sana import INSTRUCTION
from attn.checkpoints.families.sana import LAYOUT
from attn.demo.untrained import sana as untrained
from attn.engine.plan import Keep, make_plan
from attn.errors import RequestError
from attn.schema import Request
from tests.helpers.models import layouts, lora_spellings
from tests.helpers.models.every_option import capture_everything
from tests.helpers.models.opening import differing, lay_out, opening, refusal
from tests.helpers.models.written import write_encoded_files
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
SMALL = {"steps": 2, "width": 96, "height": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as diffusers saves it."""
    target = tmp_path_factory.mktemp("sana") / "model"
    untrained.build(torch.float32).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def published(folder, tmp_path_factory):
    """Sana 1600M in full size, without weights."""
    target = tmp_path_factory.mktemp("published") / "model"
    lay_out(target, "sana-1600m", folder / "tokenizer")
    return opening("sana", target, weights=False)


def test_full_size(published):
    """Parameters, layers, heads, segments and defaults are those of the published model."""
    request = published.complete(Request("a red cat", width=1344, height=768))
    layers = published.layers(request)
    assert published.info.parameters == 1_604_462_752
    assert [layer.path for layer in layers] == [
        f"transformer_blocks.{number}.attn2" for number in range(20)
    ]
    assert {(layer.kind, layer.num_heads, layer.head_dim) for layer in layers} == {
        ("cross", 20, 112)
    }
    assert {(layer.num_queries, layer.num_keys, layer.grid) for layer in layers} == {
        (24 * 42, 300, (24, 42))
    }
    assert (request.steps, request.guidance) == (20, 4.5)
    assert published.complete(Request("a")).width == 1024


def test_planned_bytes(published):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    pixels, columns, text = 24 * 42, 3 + 2, 300  # a, red, cat, the rest of each segment
    request = published.complete(Request("a red cat", steps=7, width=1344, height=768))
    sequences = {"cond": published.sequence(request, "cond")}
    plan = make_plan(published.layers(request), sequences, Keep(), samples=1, steps=7, dtype="F16")
    item = 2 * pixels * columns + 4 * (20 * text + 20 + 3 * text)
    mean = 20 * 4 * pixels * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (7 * 20 * item + mean) <= 1.03


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("  A RED Cat, 猫", ["A", "RED", "Cat", "猫"]),
        ("猫 🐈, red-hot cat’s… cat cat!", ["猫", "red-hot", "cat’s", "cat", "cat"]),
        ("cat " * 400, ["cat"] * 299),
    ],
)
def test_words(prompt, words):
    """Words lie where they were typed, behind the beginning; of the instruction nothing is left."""
    model = shared_session("sana")
    read = model.sequence(model.complete(Request(prompt, **SMALL)), "cond")
    numbers = sorted({token.word for token in read.tokens if token.word is not None})
    spans = [[token for token in read.tokens if token.word == number] for number in numbers]
    typed = [prompt[span[0].start : span[-1].stop].strip() for span in spans]
    assert typed == words
    begin = read.tokens[0]
    assert (begin.segment, begin.text, begin.special) == ("template", "<bos>", True)
    assert {token.segment for token in read.tokens[1:]} == {"gemma"}
    assert len(read.tokens) == 300
    cut = {"gemma": ("cat " * 101).strip()} if len(words) == 299 else {}
    assert read.truncated == cut


def test_instruction():
    """The encoder reads the instruction before the prompt, and none before the negative prompt."""
    model, read = shared_session("sana"), []
    hook = model.pipe.text_encoder.register_forward_pre_hook(
        lambda _, args, options: read.append(int(options["attention_mask"].sum())), with_kwargs=True
    )
    model.generate([model.complete(Request("a red cat", negative="a dog", **SMALL))], None)
    hook.remove()
    before = len(model.pipe.tokenizer.encode(INSTRUCTION)) - 1  # without the prompt's space
    assert read == [before + 3, 1 + 2]


def test_linear_attention(tmp_path):
    """What has no softmax is not there to be kept, and is said to be so."""
    import attn

    with pytest.raises(RequestError) as error:
        attn.capture("sana", "a cat", out=tmp_path / "out", size=(96, 64), blocks="image.image")
    assert "image.image" in str(error.value)


# files


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """The tiny model in files: (model, settings) by what they are."""
    pipe, target = untrained.build(torch.float32), tmp_path_factory.mktemp("files")
    authors = layouts.sana_dit(pipe.transformer)
    return write_encoded_files(folder, target, pipe, authors, "gemma2")


@pytest.mark.parametrize("layout", ["authors", "diffusers"])
def test_same_from_every_layout(files, layout):
    """Every weight is bit for bit that of the diffusers folder."""
    assert differing("sana", files["folder"], files[layout]) == []


def test_refused_files(files, tmp_path):
    """A part alone, quantised weights and another family are refused, with what to do."""
    assert "dit found, vae, gemma2 missing" in refusal("sana", files["alone"][0])
    state = layouts.of_authors(untrained.transformer(), LAYOUT) | {"scaled_fp8": torch.zeros(2)}
    path = layouts.write(state, tmp_path / "fp8.safetensors")
    assert "a model like Sana, in scaled fp8; its weights are quantised" in refusal("sana", path)
    assert refusal("pixart", files["folder"][0]).endswith("use --backend sana")
    assert refusal("pixart", files["alone"][0]).endswith("use --backend sana")


# LoRAs


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """One LoRA in every spelling: the key of one cross-attention."""
    return lora_spellings.write_cross_key(tmp_path_factory.mktemp("loras"))


@pytest.mark.parametrize("spelling", lora_spellings.SPELLINGS)
def test_loras_of_every_spelling(loras, files, spelling):
    """One LoRA draws one picture however it is spelled, and is placed in every layout."""
    models = [files[layout][0] for layout in ("folder", "alone")]
    lora_spellings.check_spelling(shared_session("sana"), loras, spelling, models, 1)


def test_every_option_of_capture(loras, tmp_path):
    """Prompts, seeds, batches, LoRAs, both branches, all options work together."""
    lora = loras / "kohya.safetensors"
    capture_everything("sana", lora, tmp_path / "out", "factors", blocks=("image.text",))
