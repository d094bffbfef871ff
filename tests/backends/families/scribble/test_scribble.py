"""Models that read a drawing: what is opened, what runs, and what the drawing does."""

import json
import shutil
import tracemalloc
from dataclasses import asdict, replace

import numpy as np
import pytest

from attn.backends import find, load
from attn.backends.families.scribble.options import ScribbleOptions
from attn.backends.testing import outputs_identical
from attn.backends.types import Placement
from attn.demo import shipped
from attn.errors import ModelError, RequestError
from attn.schema import Lora, Request
from tests.helpers import sketches
from tests.helpers.models import layouts, lora_files
from tests.helpers.toy_sessions import checks_of, open_session, remarks

pytestmark = pytest.mark.usefixtures("demo_cache")
REQUEST = Request(
    "a red cat on a wooden-chair, watching", "blurry", steps=2, guidance=5.0, width=104, height=72
)
SMALL = {"steps": 2, "width": 96, "height": 64}


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """Save a drawing."""
    return str(sketches.save(tmp_path_factory.mktemp("sketch")))


@pytest.fixture(scope="module")
def opened(drawing, demo_cache):
    """Open a demo model with the drawing; the same options, the same session."""
    sessions = {}

    def session(source="demo:sd15", **options):
        key = (source, *options.items())
        if key not in sessions:
            sessions[key] = open_session("scribble", source, **({"sketch": drawing} | options))
        return sessions[key]

    return session


def drawn(session, **options):
    """Generate one small picture with options of the request's own."""
    requested = session.complete(replace(REQUEST, options=options))
    return session.generate([requested], None)[0]


def pixels(output):
    """Return a picture as numbers."""
    return np.asarray(output.images[0]).astype(int)


CASES = {
    "sd15": ("demo:sd15", {}, 5.0),
    "sd15 without guidance": ("demo:sd15", {}, 1.0),
    "sd15 guess mode": ("demo:sd15", {"guess_mode": True}, 5.0),
    "sd15 guess mode without guidance": ("demo:sd15", {"guess_mode": True}, 1.0),
    "sdxl": ("demo", {}, 5.0),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "check"),
    [(name, check) for name, case in CASES.items() for check in checks_of(guidance=case[-1])],
)
def test_conforms(name, check, opened):
    """UNet and ControlNet are recorded exactly and change nothing, not square, in batches of 2."""
    source, options, guidance = CASES[name]
    check(opened(source, **options), replace(REQUEST, guidance=guidance))


def test_bfloat16(drawing):
    """Nothing is changed in bfloat16 either."""
    session = open_session("scribble", "demo:sd15", "bfloat16", sketch=drawing)
    outputs_identical(session, REQUEST)


def test_towers(opened):
    """The ControlNet is a tower of its own: the UNet's encoder and middle, after the UNet."""
    session = opened()
    layers = session.layers(session.complete(REQUEST))
    paths = {
        tower: [layer.path for layer in layers if layer.tower == tower]
        for tower in session.towers()
    }
    inner = [path for path in paths["denoiser"] if not path.startswith("up_blocks")]
    assert list(session.towers()) == ["denoiser", "controlnet"]
    assert paths["controlnet"] == inner
    assert {layer.grid for layer in layers if layer.tower == "controlnet"} == {
        (9, 13),
        (5, 7),
        (3, 4),
    }


def test_plain_model(opened, toys):
    """Without the drawing the picture is, bit for bit, that of the base model alone."""
    from attn.backends.families.sd15 import SD15Backend

    base = open_session("sd15", "demo")
    requested = base.complete(REQUEST)
    assert (
        pixels(drawn(opened(), sketch="none")) == pixels(base.generate([requested], None)[0])
    ).all()
    assert SD15Backend.family == base_family()


def base_family():
    """Return the family of the base of `demo:sd15`."""
    from attn.backends.families.scribble.control import SD15Control

    return SD15Control.family


def test_settings(opened):
    """Scale 0 is no drawing; scale, guess mode and the span of steps each change the picture."""
    session = opened()
    plain, usual = pixels(drawn(session, sketch="none")), pixels(drawn(session))
    assert (pixels(drawn(session, conditioning_scale=0.0)) == plain).all()
    for options in (
        {"conditioning_scale": 0.5},
        {"guess_mode": True},
        {"control_start": 0.5},
        {"control_end": 0.5},
        {"ground": "dark"},
    ):
        assert (pixels(drawn(session, **options)) != usual).any()


def test_strength(opened):
    """The residuals' strength is proportional to the scale, and 0 outside the span of steps."""
    session = opened()

    def strength(**options):
        result = drawn(session, **options).histories[0]["residuals"]
        assert result["blocks"] == [
            *("conv_in", "down_blocks.0.0", "down_blocks.0.1", "down_blocks.0.2"),
            *("down_blocks.1.0", "down_blocks.1.1", "down_blocks.1.2"),
            *("down_blocks.2.0", "down_blocks.2.1", "mid_block"),
        ]
        return {branch: np.array(rows) for branch, rows in result["strength"].items()}

    usual, half, late = strength(), strength(conditioning_scale=0.5), strength(control_start=0.5)
    assert list(usual) == ["uncond", "cond"]
    assert usual["cond"].shape == (2, 10)
    np.testing.assert_allclose(half["cond"][0], usual["cond"][0] / 2, rtol=1e-4)
    assert (late["cond"][0] == 0).all()
    assert (late["cond"][1] > 0).all()
    assert list(strength(guess_mode=True)) == ["cond"]


def test_strength_is_defined(opened):
    """It is the norm of what is added over the norm of what it is added to, in float64."""
    session, seen = opened(), {}
    unet, net = session.pipe.unet, session.pipe.controlnet

    def note(module, args, output):
        name = "features" if module is unet.conv_in else "residual"
        seen.setdefault(name, output if name == "features" else output[0][0])

    handles = [module.register_forward_hook(note) for module in (unet.conv_in, net)]
    result = drawn(session).histories[0]["residuals"]["strength"]
    for handle in handles:
        handle.remove()
    norms = {
        name: np.linalg.norm(value.double().numpy().reshape(len(value), -1), axis=1)
        for name, value in seen.items()
    }
    expected = norms["residual"] / norms["features"]
    got = [result["uncond"][0][0], result["cond"][0][0]]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_sketch_is_kept(opened, drawing):
    """The output has the drawing as the model got it, and the request the hash of its file."""
    session = opened()
    requested = session.complete(REQUEST)
    sketch = np.asarray(session.generate([requested], None)[0].sketch)
    assert sketch.shape == (72, 104, 3)
    assert set(np.unique(sketch)) == {0, 255}
    assert len(requested.options["sketch_sha256"]) == 64


def test_batch_of_drawings(drawing):
    """Each prompt of a batch has its own drawing: alone and together it gives the same picture."""
    session = open_session("scribble", "demo:sd15")
    prompts = ("a red circle on a white background", "a blue star on a black background")
    requested = [session.complete(replace(REQUEST, prompt=text, seed=3)) for text in prompts]
    both = session.generate(requested, None)
    for request, output in zip(requested, both, strict=True):
        alone = session.generate([request], None)[0]
        assert (np.asarray(alone.sketch) == np.asarray(output.sketch)).all()
        assert abs(pixels(alone) - pixels(output)).max() <= 2
    assert (np.asarray(both[0].sketch) != np.asarray(both[1].sketch)).any()


def test_outline(demo_cache):
    """The demo draws the prompt's outline and says so; of other prompts it says what to do."""
    session = open_session("scribble", "demo:sd15")
    request = Request("a red circle on a white background", **SMALL)
    assert remarks(session, request) == ("the sketch is the prompt's outline, drawn by attn",)
    with pytest.raises(RequestError, match="draws outlines only of captions of the shapes world"):
        session.complete(Request("a red cat", **SMALL))


@pytest.mark.parametrize("is_drawn", [True, False])
def test_no_pixel_before_the_budget(opened, is_drawn):
    """A request of any size is completed and told of without a picture of that size."""
    session = opened(**({} if is_drawn else {"sketch": "auto"}))
    prompt = "a red circle on a white background"
    tracemalloc.start()
    assert remarks(session, Request(prompt, steps=2, width=16384, height=8192))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditioning_scale": -1.0}, "conditioning_scale must be 0 or more; got -1"),
        ({"conditioning_scale": float("nan")}, "conditioning_scale must be 0 or more; got nan"),
        ({"control_start": 0.6, "control_end": 0.4}, "the start before the end; got 0.6 and 0.4"),
        ({"control_end": 1.5}, "must be shares of the steps"),
        (
            {"lines": "white", "sketch_size": 64},
            r"lines, sketch_size: only for models with sketch tokens \(ScribbleDiffusion\); "
            "demo:sd15 has none",
        ),
        (
            {"guidance_rescale": 0.7},
            r"guidance_rescale: only for models with sketch tokens \(ScribbleDiffusion\); ",
        ),
    ],
)
def test_bad_settings(opened, options, message):
    """Settings out of range are refused before anything runs."""
    with pytest.raises(RequestError, match=message):
        opened().complete(replace(REQUEST, options=options))


def test_options_of_the_model(opened):
    """What is kept of the options are those that a model with a ControlNet has."""
    everything = asdict(ScribbleOptions(sketch="none"))
    kept = opened().complete(replace(REQUEST, options=everything)).options
    assert everything.keys() - kept.keys() == {
        "base", "lines", "sketch_size", "betas", "uncond_text", "uncond_sketch",
        "guidance_rescale",
    }  # fmt: skip


def test_each_demo_is_described(monkeypatch, tmp_path):
    """Which demo models are trained is said of each, not of the family; a variant must exist."""
    family = load(find("scribble"))
    (tmp_path / "scribble-tokens").mkdir()
    (tmp_path / "scribble-tokens/unet.safetensors").touch()
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    assert family.note_on_demo("demo:tokens").startswith("trained on pictures")
    assert family.note_on_demo("demo:sd15").startswith("tiny and untrained")
    with pytest.raises(ModelError, match="no demo model 'demo:dog' for scribble; there are demo, "):
        family.note_on_demo("demo:dog")


@pytest.fixture
def parts(demo_cache, tmp_path):
    """Return a base model's folder, and a ControlNet's folder that the test may change."""
    from attn import demo

    net = tmp_path / "net"
    shutil.copytree(demo.checkpoint("scribble:sd15") / "controlnet", net)
    return demo.checkpoint("sd15"), net


def opening(source, **options):
    """Open a model as `capture` does."""
    family = load(find("scribble"))
    return family.open(source, family.Options(**options), Placement("cpu"))


def test_separate_controlnet(parts, drawing, opened):
    """A base model and a ControlNet, a folder or a file in either layout, give the same picture."""
    base, net = parts
    file = layouts.write(
        layouts.ldm_controlnet(opened().pipe.controlnet), net.parent / "cn.safetensors"
    )
    expected = pixels(drawn(opened()))
    for index in (net, next(net.glob("*.safetensors"))):
        session = opening(
            base, controlnet=str(index), sketch=drawing, config=str(pipeline(base, net))
        )
        assert (pixels(drawn(session)) == expected).all()
    session = opening(base, controlnet=str(file), sketch=drawing, config=str(pipeline(base, net)))
    assert (pixels(drawn(session)) == expected).all()
    assert session.info.identity()["files"].keys() >= {"controlnet"}


def pipeline(base, net):
    """Make a folder of configurations of a base model and a ControlNet, which has no weights."""
    folder = net.parent / "configs"
    if not folder.exists():
        shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        shutil.copytree(net, folder / "controlnet", ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def test_broken_controlnet(parts, drawing):
    """Missing, other and unfit weights of the ControlNet are refused, with what is wrong."""
    base, net = parts
    for given, message in (
        ({}, "has no ControlNet; give one with --set controlnet=PATH"),
        ({"controlnet": str(base / "unet")}, "expected the folder of a ControlNet"),
        ({"controlnet": str(net / "nothing")}, "no model at"),
    ):
        with pytest.raises(ModelError, match=message):
            opening(base, sketch=drawing, **given)
    with pytest.raises(ModelError, match="is a ControlNet, which steers a model"):
        opening(net)
    next(net.glob("*.safetensors")).unlink()
    with pytest.raises(ModelError, match="has no weights"):
        opening(base, sketch=drawing, controlnet=str(net))


def test_controlnet_of_another_model(parts, drawing):
    """A ControlNet whose residuals would not fit names the first difference."""
    from attn import demo

    base, _ = parts
    other = demo.checkpoint("scribble") / "controlnet"
    with pytest.raises(ModelError, match=r"does not fit the UNet: block_out_channels is"):
        opening(base, controlnet=str(other), sketch=drawing)


def test_missing_tensor(parts, drawing):
    """A ControlNet that lacks one tensor is refused, and never filled up at random."""
    from safetensors.torch import load_file

    base, net = parts
    path = next(net.glob("*.safetensors"))
    state = load_file(path)
    del state["controlnet_mid_block.weight"]
    layouts.write(state, path)
    with pytest.raises(ModelError, match=r"1 missing \(controlnet_mid_block.weight"):
        opening(base, controlnet=str(net), sketch=drawing)


def test_wrong_index(parts, drawing, tmp_path):
    """A pipeline of another kind says which backend takes it."""
    base, _ = parts
    folder = tmp_path / "other"
    shutil.copytree(base, folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusion3Pipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="this is a StableDiffusion3Pipeline; expected Stable"):
        opening(folder, sketch=drawing)


@pytest.mark.parametrize("width", [768, 2048], ids=["sd15", "sdxl"])
def test_a_damaged_lora_of_either_base(width, tmp_path):
    """A LoRA of either base is refused for what is wrong with it, not for its family."""
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    factors = {"down": np.full((3, width), np.nan, np.float32), "up": np.ones((7, 3), np.float32)}
    tensors = {f"{stem}.lora_{end}.weight": values for end, values in factors.items()}
    path = lora_files.write(tmp_path / "a.safetensors", tensors)
    with pytest.raises(ModelError, match="1 module is broken by NaN or infinity"):
        load(find("scribble")).complete_loras([Lora(str(path))])
