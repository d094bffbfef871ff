"""FLUX.1, in its published configurations and as a tiny model in its real format."""

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from safetensors.torch import save_file

import attn
from attn.backends.loading.weights import convert
from attn.checkpoints.families.flux import LAYOUT
from attn.checkpoints.probe import probe
from attn.demo.untrained import flux as untrained
from attn.engine.plan import Keep, make_plan
from attn.errors import ModelError, RequestError
from attn.lora.base.fit import fit
from attn.lora.base.weights import open_base
from attn.lora.reader import read
from attn.schema import Lora, Request
from attn.verbs.lora import find_model
from tests.helpers.models import full_size, layouts, lora_spellings
from tests.helpers.models.every_option import capture_everything
from tests.helpers.models.opening import lay_out, opening, refusal
from tests.helpers.toy_sessions import remarks, shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
SMALL = {"steps": 2, "width": 96, "height": 64}
TEXT, PIXELS = 19, 4 * 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as diffusers saves it."""
    target = tmp_path_factory.mktemp("flux") / "model"
    untrained.build(torch.float32).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def sizes(folder, tmp_path_factory):
    """Both models in full size, without weights."""

    def opened(name):
        target = tmp_path_factory.mktemp(name) / "model"
        lay_out(target, name, *folder.glob("tokenizer*"))
        return opening("flux", target, weights=False)

    return {name: opened(f"flux-{name}") for name in ("dev", "schnell")}


def session(**options):
    """Return the tiny model with a short text."""
    return shared_session("flux", t5_tokens=TEXT, **options)


def picture(session, **changes):
    """Return a small picture as numbers."""
    request = session.complete(Request("a red cat", **SMALL | changes))
    return np.asarray(session.generate([request], None)[0].images[0])


@pytest.mark.parametrize(
    ("name", "parameters", "text", "steps", "guidance"),
    [("dev", 11_901_408_320, 512, 28, 3.5), ("schnell", 11_891_178_560, 256, 4, 0.0)],
)
def test_full_size(sizes, name, parameters, text, steps, guidance):
    """Parameters, layers, heads, sequence and defaults are those of the published models."""
    model = sizes[name]
    request = model.complete(Request("a red cat", width=1344, height=768))
    layers = model.layers(request)
    assert model.info.parameters == parameters
    assert [layer.path for layer in layers] == [
        *(f"transformer_blocks.{number}.attn" for number in range(19)),
        *(f"single_transformer_blocks.{number}.attn" for number in range(38)),
    ]
    assert {(layer.kind, layer.num_heads, layer.head_dim) for layer in layers} == {
        ("joint", 24, 128)
    }
    assert [(key.name, key.start, key.stop, key.grid) for key in layers[40].keys] == [
        ("t5", 0, text, None),
        ("image", text, text + 48 * 84, (48, 84)),
    ]
    assert (request.steps, request.guidance) == (steps, guidance)
    assert model.complete(Request("a")).width == 1024


@pytest.mark.parametrize(("name", "text"), [("dev", 512), ("schnell", 256)])
def test_planned_bytes(sizes, name, text):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    model, pixels, columns = sizes[name], 48 * 84, 3 + 1  # a, red, cat and the rest
    request = model.complete(Request("a red cat", steps=7, width=1344, height=768))
    sequences = {"cond": model.sequence(request, "cond")}
    plan = make_plan(model.layers(request), sequences, Keep(), samples=1, steps=7, dtype="BF16")
    item = 2 * pixels * columns + 4 * (24 * text + 24 * 2 + 3 * text)
    mean = 57 * 4 * pixels * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (7 * 57 * item + mean) <= 1.01


def test_tokens():
    """Labels are T5's: words and signs, then its end, then padding, which is not masked."""
    model = session()
    sequence = model.sequence(model.complete(Request("a red cat, on a cat", **SMALL)), "cond")
    content = [(token.text, token.word) for token in sequence.tokens if token.is_content]
    assert content == [
        *(("a", 0), ("red", 1), ("cat", 2), (",", None), ("on", 3), ("a", 4), ("cat", 5))
    ]
    assert sequence.tokens[len(content)].text == "</s>"
    assert all(token.padding for token in sequence.tokens[len(content) + 1 :])


@pytest.mark.parametrize(
    ("prompt", "count", "cut"),
    [
        ("猫 🐈, 犬!", 2, {}),
        ("cat cat cat", 3, {}),
        ("cat " * 300, 18, {"t5": "cat " * 281 + "cat"}),
    ],
)
def test_unusual_prompts(prompt, count, cut):
    """Words lie where they were typed, whatever they are, and what did not fit is told."""
    model = session()
    sequence = model.sequence(model.complete(Request(prompt, **SMALL)), "cond")
    words = {token.word for token in sequence.tokens if token.word is not None}
    assert (words, sequence.truncated) == (set(range(count)), cut)


def test_branches():
    """A distilled model has no row `uncond`; true guidance has one, which reads the negative."""
    plain, guided = session(), session(true_cfg=3.0)
    request = Request("a cat", negative="a dog", **SMALL)
    assert plain.branches(plain.complete(request)) == ("cond",)
    assert "the negative prompt is not read" in remarks(plain, request)[0]
    completed = guided.complete(request)
    assert guided.branches(completed) == ("cond", "uncond")
    assert guided.sequence(completed, "uncond").tokens[1].text == "dog"
    assert remarks(guided, request) == ()


def test_schnell_takes_no_guidance():
    """A pipeline that is loaded already is taken as it is, schnell with its own defaults."""
    model = opening("flux", untrained.build(torch.float32, guided=False))
    asked = Request("a cat", width=64, height=96, guidance=3.0)
    request = model.complete(asked)
    assert (request.steps, request.guidance) == (4, 0.0)
    assert model.sequence(request, "cond").segment("t5").length == 256
    assert model.remarks(asked, request) == (
        "this model takes no guidance (schnell); --guidance is not used",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t5_tokens": 513}, "t5_tokens must be 1 to 512; got 513"),
        ({"true_cfg": 0.5}, "true_cfg must be a number from 1 on; got 0.5"),
        ({"true_cfg": float("inf")}, "true_cfg must be a number from 1 on; got inf"),
    ],
)
def test_impossible_options(options, message):
    """Options that no model can follow are refused before it runs."""
    with pytest.raises(RequestError) as error:
        shared_session("flux", **options).complete(Request("a cat"))
    assert str(error.value) == message


# single files


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """The tiny model in the layouts of others: (model, settings) by layout."""
    pipe, target = untrained.build(torch.float32), tmp_path_factory.mktemp("files")
    write, config = layouts.write, {"config": str(folder)}
    dit = write(layouts.of_authors(pipe.transformer, LAYOUT), target / "flux1-dev.safetensors")
    parts = {
        "vae": write(layouts.vae(pipe.vae), target / "ae.safetensors"),
        "clip_l": write(layouts.clip_l(pipe.text_encoder), target / "clip_l.safetensors"),
        "t5xxl": write(layouts.copied(pipe.text_encoder_2), target / "t5xxl.safetensors"),
    }
    parts = {name: str(path) for name, path in parts.items()}
    whole = write(layouts.bfl(pipe), target / "whole.safetensors")
    transformer = write(pipe.transformer.state_dict(), target / "transformer.safetensors")
    return {
        "folder": (folder, {}),
        "one file": (whole, config),
        "parts": (None, config | parts | {"dit": str(dit)}),
        "parts of diffusers": (transformer, config | parts),
        "folder and file": (folder, {"dit": str(dit)}),
        "part folders": (None, config | {
            "dit": str(folder), "vae": str(folder / "vae"), "clip_l": str(folder / "text_encoder"),
            "t5xxl": str(folder / "text_encoder_2")}),
    }  # fmt: skip


@pytest.mark.parametrize(
    "layout", ["one file", "parts", "parts of diffusers", "folder and file", "part folders"]
)
def test_same_from_every_layout(files, layout):
    """Every weight is bit for bit that of the diffusers folder."""
    first, second = (
        opening("flux", files[name][0], **files[name][1]) for name in ("folder", layout)
    )
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        ours, theirs = (getattr(model.pipe, part).state_dict() for model in (first, second))
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert first.pipe.tokenizer_2.get_vocab() == second.pipe.tokenizer_2.get_vocab()


def test_folder_gives_the_demo(files, tmp_path):
    """A capture from the folder leaves the numbers that the built demo leaves."""
    traces = [
        attn.capture("flux", "a red cat", model=model, out=tmp_path / name, size=(96, 64), steps=2,
                     settings={"t5_tokens": str(TEXT)}, device="cpu").trace
        for name, model in {"made": "demo", "loaded": files["folder"][0]}.items()
    ]  # fmt: skip
    made, loaded = (trace.mass(layer=2).to_numpy() for trace in traces)
    assert np.array_equal(made, loaded)
    assert traces[1].manifest.model["sha256"]


@pytest.mark.parametrize("name", ["flux-dev", "flux-schnell"])
def test_conversion_is_the_librarys(name):
    """At published size the table cuts and names every row as diffusers' own converter does."""
    model = full_size.network(name, "transformer")
    drawn, start = {}, 0
    for key, tensor in layouts.of_authors(model, LAYOUT).items():
        start, first = start + len(tensor), start
        drawn[key] = torch.arange(first, start, dtype=torch.int32)
    ours = convert.rename("dit", drawn, model)
    theirs = convert_flux_transformer_checkpoint_to_diffusers(dict(drawn))
    assert ours.keys() == theirs.keys()
    assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []


@pytest.mark.parametrize(
    ("channels", "title"), [(384, "FLUX.1 Fill"), (128, "FLUX.1 Canny or Depth")]
)
def test_models_that_take_more_than_noise(channels, title):
    """Relatives whose transformer sees a picture too are named and refused."""
    state = layouts.of_authors(full_size.network("flux-dev", "transformer"), LAYOUT)
    state["img_in.weight"] = state["img_in.weight"][:, :1].expand(-1, channels)
    result = probe(full_size.header(state))
    assert (result.family, result.title) == (None, title)
    assert result.advice.startswith("its transformer takes more than noise")


def test_quantised_file(files, tmp_path):
    """fp8 with scales beside it is refused by name, with what to do."""
    state = layouts.of_authors(untrained.transformer(guided=True), LAYOUT)
    path = layouts.write(state | {"scaled_fp8": torch.zeros(2)}, tmp_path / "fp8.safetensors")
    assert refusal("flux", path) == (
        f"{path}: this is a model like FLUX.1, in scaled fp8; its weights are quantised (scaled "
        "fp8); give the file in float16 or bfloat16"
    )


def test_another_familys_folder_and_file(files, demo_cache):
    """What another backend takes is named, both ways."""
    assert refusal("sd35", files["folder"][0]).endswith("use --backend flux")
    assert refusal("sd35", files["one file"][0]).endswith("use --backend flux")
    assert refusal("flux", attn.demo.checkpoint("sd35")).endswith("use --backend sd35")


def test_parts_that_do_not_fit(files):
    """A transformer alone is told what is missing, and widths of parts are compared."""
    message = refusal("flux", files["parts"][1]["dit"])
    assert "dit found, vae, clip_l, t5xxl missing" in message
    assert "--set t5xxl=PATH" in message


# LoRAs

PLACES = ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.attn.to_k")


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """One LoRA in every spelling: to_q of the double block, to_k of the second single block."""
    generator = torch.Generator().manual_seed(0)
    width, rank, mlp = 24, 5, 96
    down, single_down = (torch.randn(rank, width, generator=generator) for _ in range(2))
    up, single_up = (torch.randn(width, rank, generator=generator) for _ in range(2))
    joined = torch.cat([up, torch.zeros(2 * width, rank)])  # query, key, value
    single = torch.cat([torch.zeros(width, rank), single_up, torch.zeros(width + mlp, rank)])
    folder = lora_spellings.write(
        tmp_path_factory.mktemp("loras"),
        dict(zip(PLACES, [(down, up), (single_down, single_up)], strict=True)),
        {
            "double_blocks.0.img_attn.qkv": (down, joined),
            "single_blocks.1.linear1": (single_down, single),
        },
    )
    tensors = {
        "double_blocks.0.processor.qkv_lora1.down.weight": down,
        "double_blocks.0.processor.qkv_lora1.up.weight": joined,
        "single_blocks.1.processor.qkv_lora.down.weight": single_down,
        "single_blocks.1.processor.qkv_lora.up.weight": single[: 3 * width].contiguous(),
    }
    save_file(tensors, folder / "xlabs.safetensors")
    return folder


SPELLINGS = (*lora_spellings.SPELLINGS, "xlabs")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_loras_of_every_spelling(loras, spelling):
    """One LoRA draws one picture however it is spelled, and leaves nothing behind."""
    model = session()
    plain = picture(model)
    changed = picture(model, loras=(Lora(str(loras / f"{spelling}.safetensors")),))
    assert not np.array_equal(plain, changed)
    assert np.array_equal(
        changed, picture(model, loras=(Lora(str(loras / "diffusers.safetensors")),))
    )
    assert np.array_equal(plain, picture(model))


@pytest.mark.parametrize("layout", ["folder", "one file"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_lora_against_a_model(loras, files, spelling, layout):
    """`attn lora --model` finds the weights that a LoRA changes, whichever layout either has."""
    file = read(loras / f"{spelling}.safetensors")
    result = fit(file, open_base(files[layout][0]))
    assert file.family.name == "flux"
    assert (len(result.placed), result.misfits) == (2, ())


def test_the_demo_has_no_files(loras):
    """A LoRA cannot be compared with a demo that is built where it is opened, and it is said."""
    path = loras / "kohya.safetensors"
    with pytest.raises(ModelError, match="the demo of 'flux' has no files to compare with"):
        find_model("demo", path)


@pytest.mark.parametrize("keep", ["heads", "factors"])
def test_every_option_of_capture(loras, tmp_path, keep):
    """Prompts, seeds, batches, LoRAs, both branches, all blocks: every option works together."""
    lora = loras / "kohya.safetensors"
    capture_everything("flux", lora, tmp_path / "out", keep, t5_tokens=str(TEXT), true_cfg="3")
