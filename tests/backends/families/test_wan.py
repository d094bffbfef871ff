"""Wan 2.1, in its published configurations and as a tiny model in its real format."""

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

import attn
from attn.checkpoints.families.wan import LAYOUT
from attn.demo.untrained import wan as untrained
from attn.engine.plan import Keep, make_plan
from attn.errors import ModelError, RequestError
from attn.schema import Lora, Request
from tests.helpers.models import layouts, lora_spellings
from tests.helpers.models.every_option import capture_everything
from tests.helpers.models.opening import differing, lay_out, opening, refusal
from tests.helpers.models.written import write_encoded_files
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
SMALL = {"steps": 2, "width": 112, "height": 80, "frames": 9}
SIZES = [("wan2.1-t2v-1.3b", 1_418_996_800, 30, 12), ("wan2.1-t2v-14b", 14_288_491_584, 40, 40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as diffusers saves it."""
    target = tmp_path_factory.mktemp("wan") / "model"
    untrained.build(torch.float32).save_pretrained(target)
    return target


def published(config, folder, tmp_path):
    """Open a published model in full size, without weights."""
    target = tmp_path / config
    lay_out(target, config, folder / "tokenizer")
    return opening("wan", target, weights=False)


@pytest.mark.parametrize(("config", "parameters", "blocks", "heads"), SIZES)
def test_full_size(folder, tmp_path, config, parameters, blocks, heads):
    """Parameters, layers, heads, grids and defaults are those of the published models."""
    model = published(config, folder, tmp_path)
    request = model.complete(Request("a red cat"))
    layers = model.layers(request)
    assert model.info.parameters == parameters
    assert [layer.path for layer in layers] == [
        f"blocks.{number}.{name}" for number, name in product(range(blocks), ("attn1", "attn2"))
    ]
    assert {(layer.num_heads, layer.head_dim) for layer in layers} == {(heads, 128)}
    places = 21 * 30 * 52
    assert {(of.kind, of.num_queries, of.num_keys, of.grid) for of in layers} == {
        ("self", places, places, (21, 30, 52)),
        ("cross", places, 512, (21, 30, 52)),
    }
    assert (request.width, request.height, request.frames, request.fps) == (832, 480, 81, 16.0)
    assert (request.steps, request.guidance) == (50, 5.0)


def test_planned_bytes(folder, tmp_path):
    """Frames are the fourth factor of the plan: a sum over tensors, worked out here."""
    model = published("wan2.1-t2v-1.3b", folder, tmp_path)
    places, columns, text = 5 * 30 * 52, 3 + 1, 512  # a, red, cat, the rest
    request = model.complete(Request("a red cat", steps=7, frames=17))
    sequences = {"cond": model.sequence(request, "cond")}
    plan = make_plan(model.layers(request), sequences, Keep(), samples=1, steps=7, dtype="F16")
    assert plan.kept.layers == tuple(range(1, 60, 2))  # cross-attention alone
    item = 2 * places * columns + 4 * (12 * text + 12 + 3 * text)
    mean = 30 * 4 * places * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (7 * 30 * item + mean) <= 1.03


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A red-hot cat’s  chair,\n cat cat!", ["A", "red-hot", "cat’s", "chair", "cat", "cat"]),
        (" 猫 🐈 a &amp; b ", ["猫", "a", "amp", "b"]),
        ("cat " * 700, ["cat"] * 511),
    ],
)
def test_words(prompt, words):
    """Words lie where they were typed, whatever the pipeline cleans of spaces and entities."""
    model = shared_session("wan")
    read = model.sequence(model.complete(Request(prompt, **SMALL)), "cond")
    numbers = sorted({token.word for token in read.tokens if token.word is not None})
    spans = [[token for token in read.tokens if token.word == number] for number in numbers]
    typed = [prompt[span[0].start : span[-1].stop].strip() for span in spans]
    assert typed == [word for word in words if word != "amp"]  # of an entity no word is read
    assert {token.segment for token in read.tokens} == {"umt5"}
    assert len(read.tokens) == 512
    assert read.truncated == ({"umt5": ("cat " * 189).strip()} if len(words) == 511 else {})


def test_words_that_cleaning_parts():
    """A prompt of which cleaning makes more words is refused with how it is read."""
    model = shared_session("wan")
    with pytest.raises(RequestError, match="'a&nbsp;b' as 'a b', with more or fewer words"):
        model.sequence(model.complete(Request("a&nbsp;b", **SMALL)), "cond")


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        (10, "the nearest are 9 and 13"),
        (2, "the nearest are 1 and 5"),
        (4094, "positions for at most 4093 frames"),
    ],
)
def test_frames_refused(frames, told):
    """Frames that the model does not draw are refused with what fits."""
    model = shared_session("wan")
    with pytest.raises(RequestError, match=told):
        model.complete(Request("a cat", **SMALL | {"frames": frames}))


def test_too_many_pixels():
    """A video that no file of a trace holds is refused before it is drawn."""
    with pytest.raises(RequestError, match="401 frames of 1280x720 are 369561600 pixels"):
        shared_session("wan").complete(Request("a cat", width=1280, height=720, frames=401))


def doubled():
    """Return the tiny model with a second network for the last noise levels, as Wan 2.2 A14B."""
    pipe = untrained.build(torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        pipe.register_modules(transformer_2=untrained.transformer().eval())
    pipe.register_to_config(boundary_ratio=0.7)
    return pipe


def test_two_networks(tmp_path):
    """Each network is a tower with maps of its own steps, and nothing of the others'."""
    doubled().save_pretrained(tmp_path / "two")
    size = {"size": (112, 80), "frames": 5, "steps": 5}
    attn.capture("wan", "a cat", model=tmp_path / "two", out=tmp_path / "out", **size)
    trace = attn.open(tmp_path / "out")
    towers = [layer.tower for layer in trace.layers]
    assert towers == ["denoiser", "denoiser", "denoiser_2", "denoiser_2"]
    noises = np.array([step.noise for step in trace.steps])
    ran = {
        tower: ~np.isnan(trace.maps(f"{tower}:blocks.1.attn2").values).any((1, 2, 3, 4, 5, 6))
        for tower in ("denoiser", "denoiser_2")
    }
    assert ran["denoiser"].tolist() == (noises >= 0.7).tolist()
    assert ran["denoiser_2"].tolist() == (noises < 0.7).tolist()
    assert {*ran["denoiser"]} == {True, False}
    assert trace.word_maps(tower="denoiser_2").notnull().all()


def test_two_networks_are_run_as_they_are(tmp_path):
    """Recording changes no bit of what two networks draw; the second has guidance of its own."""
    pipe = doubled()
    model = opening("wan", pipe)
    request = model.complete(Request("a red cat", steps=5, width=112, height=80, frames=5))
    calls = []
    (plain,), (seen,) = (model.generate([request], on) for on in (None, calls.append))
    for one, other in zip(plain.videos[0], seen.videos[0], strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert [call.step for call in calls] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [call.rows[0][0] for call in calls] == ["cond", "uncond"] * 5
    weaker = opening("wan", pipe, guidance_2=2.0)
    (other,) = weaker.generate([weaker.complete(request)], None)
    assert not np.array_equal(np.asarray(other.images[0]), np.asarray(plain.images[0]))


@pytest.mark.parametrize("half", ["network", "boundary"])
def test_half_of_two_networks(half):
    """A pipeline that cannot run its second network is refused; so are LoRAs beside one."""
    pipe = doubled()
    with pytest.raises(RequestError, match="for one of them each"):
        opening("wan", pipe).complete(Request("a cat", loras=(Lora("a.safetensors"),), **SMALL))
    with pytest.raises(RequestError, match="guidance_2 is of models with two networks"):
        opening("wan", "demo", guidance_2=2.0).complete(Request("a cat", **SMALL))
    if half == "network":
        pipe.register_modules(transformer_2=None)
    else:
        pipe.register_to_config(boundary_ratio=None)
    with pytest.raises(ModelError, match="half of two networks"):
        opening("wan", pipe)


def test_a_time_for_each_token():
    """A model that is told the time token by token, as 2.2 TI2V-5B, is recorded likewise."""
    pipe = untrained.build(torch.float32)
    pipe.register_to_config(expand_timesteps=True)
    model = opening("wan", pipe)
    request = model.complete(Request("a red cat", **SMALL))
    calls = []
    (plain,), (seen,) = (model.generate([request], on) for on in (None, calls.append))
    assert [call.step for call in calls] == [0, 0, 1, 1]
    for one, other in zip(plain.videos[0], seen.videos[0], strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_capture(tmp_path):
    """The trace has every frame as the pipeline drew it, its speed, and maps by latent frame."""
    model = shared_session("wan")
    request = model.complete(Request("a red cat", **SMALL, fps=8))
    (plain,) = model.generate([request], None)
    attn.capture(
        *("wan", "a red cat"), out=tmp_path / "out", size=(112, 80), steps=2, frames=9, fps=8
    )
    trace = attn.open(tmp_path / "out")
    with Image.open(trace.video()) as video:
        assert (video.n_frames, video.info["duration"], video.info["prompt"]) == (
            *(9, 125.0),
            "a red cat",
        )
        drawn = []
        for number in range(9):
            video.seek(number)
            drawn.append(np.asarray(video.convert("RGB")))
    assert np.array_equal(drawn, [np.asarray(frame) for frame in plain.videos[0]])
    assert np.array_equal(np.asarray(Image.open(trace.image())), drawn[4])
    maps = trace.maps("blocks.1.attn2")
    sizes = {"step": 2, "branch": 1, "sample": 1, "frame": 3, "row": 5, "column": 7, "key": 4}
    assert dict(maps.sizes) == sizes
    assert np.allclose(maps.sum("key"), 1, atol=2e-3)
    laid = maps.values.reshape(2, 1, 1, -1, 4)
    assert np.array_equal(laid, trace.measure("map", "blocks.1.attn2", "image.text").values)


def test_many_videos(tmp_path):
    """Each sample of each prompt is a video of its own, with its own noise."""
    model = shared_session("wan")
    requests = [
        model.complete(Request(prompt, seed=seed, images=2, **SMALL))
        for prompt, seed in (("a red cat", 3), ("a dog", 5))
    ]
    together = [video for of in model.generate(requests, None) for video in of.videos]
    alone = [model.generate([request], None)[0].videos for request in requests]
    frames = [np.stack([np.asarray(frame) for frame in video]) for video in together]
    assert [len(of) for of in alone] == [2, 2]
    assert len({of.tobytes() for of in frames}) == 4
    for video, other in zip(together, [video for of in alone for video in of], strict=True):
        difference = np.asarray(video[4], int) - np.asarray(other[4], int)
        assert np.abs(difference).max() <= 1


# files


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """The tiny model in files: (model, settings) by what they are."""
    pipe, target = untrained.build(torch.float32), tmp_path_factory.mktemp("files")
    authors = layouts.wan_dit(pipe.transformer)
    return write_encoded_files(folder, target, pipe, authors, "umt5xxl")


@pytest.mark.parametrize("layout", ["authors", "diffusers"])
def test_same_from_every_layout(files, layout):
    """Every weight is bit for bit that of the diffusers folder."""
    assert differing("wan", files["folder"], files[layout]) == []


def test_kept_in_float32(folder):
    """In bfloat16 the modules stay in float32 that the library keeps so."""
    model = opening("wan", folder, dtype="bfloat16").pipe.transformer
    theirs = type(model).from_pretrained(folder / "transformer", torch_dtype=torch.bfloat16)
    ours = {name: value.dtype for name, value in model.state_dict().items()}
    assert ours == {name: value.dtype for name, value in theirs.state_dict().items()}
    assert {*ours.values()} == {torch.float32, torch.bfloat16}


def test_refused_files(files, tmp_path):
    """A part alone, quantised weights, image-to-video and another family are refused."""
    assert "dit found, vae, umt5xxl missing" in refusal("wan", files["alone"][0])
    state = layouts.of_authors(untrained.transformer(), LAYOUT) | {
        "scaled_fp8": torch.zeros(2),
    }
    path = layouts.write(state, tmp_path / "fp8.safetensors")
    assert "a model like Wan, in scaled fp8; its weights are quantised" in refusal("wan", path)
    assert refusal("pixart", files["folder"][0]).endswith("use --backend wan")
    state = state | {"patch_embedding.weight": torch.zeros(1536, 36, 1, 2, 2)}
    del state["scaled_fp8"]
    path = layouts.write(state, tmp_path / "i2v.safetensors")
    assert "its transformer can read pictures" in refusal("wan", path)


# LoRAs


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """One LoRA in every spelling: the key of one cross-attention."""
    generator = torch.Generator().manual_seed(0)
    pair = tuple(torch.randn(*shape, generator=generator) for shape in ((5, 36), (36, 5)))
    return lora_spellings.write(
        tmp_path_factory.mktemp("loras"),
        {"blocks.1.attn2.to_k": pair},
        {"blocks.1.cross_attn.k": pair},
    )


@pytest.mark.parametrize("spelling", lora_spellings.SPELLINGS)
def test_loras_of_every_spelling(loras, files, spelling):
    """One LoRA draws one video however it is spelled, and is placed in every layout."""
    models = [files[layout][0] for layout in ("folder", "alone")]
    lora_spellings.check_spelling(shared_session("wan"), loras, spelling, models, 1, frames=5)


def test_every_option_of_capture(loras, tmp_path):
    """Prompts, seeds, batches, LoRAs, both branches, all options work together."""
    lora = loras / "kohya.safetensors"
    more = {"frames": 5, "fps": 12.5}
    capture_everything("wan", lora, tmp_path / "out", "factors", more=more)
