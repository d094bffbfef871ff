"""Stable Diffusion 2.x, the refiner of XL, and UNets for inpainting."""

from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import attn
from attn.backends.testing import attention_exact, outputs_identical
from attn.demo.untrained import sd2, sdxl_refiner
from attn.engine.plan import Keep, make_plan
from attn.errors import RequestError
from attn.schema import ExistingPicture, Request
from tests.helpers.models import layouts
from tests.helpers.models.every_option import capture_everything
from tests.helpers.models.opening import differing, lay_out, opening, refusal
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
WIDTH, HEIGHT = 72, 56
MODELS = {"sd2": sd2, "sdxl-refiner": sdxl_refiner}
PARTS = {
    "sd2": ("unet", "vae", "text_encoder"),
    "sdxl-refiner": ("unet", "vae", "text_encoder_2"),
}
UNUSUAL = "猫 🐈, red-hot cat’s… cat cat!"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The tiny models as diffusers saves them, by family."""
    targets = {name: tmp_path_factory.mktemp(name) / "model" for name in MODELS}
    for name, target in targets.items():
        MODELS[name].build(torch.float32).save_pretrained(target)
    return targets


@pytest.fixture(scope="module")
def files(folders, tmp_path_factory):
    """The tiny models in one file each: (model, settings)."""
    target = tmp_path_factory.mktemp("files")
    return {
        name: (
            layouts.write(layouts.ldm(model.build(torch.float32)), target / f"{name}.safetensors"),
            {"config": str(folders[name])},
        )
        for name, model in MODELS.items()
    }


@pytest.fixture(scope="module")
def published(folders, tmp_path_factory):
    """Return a published model in full size, without weights."""

    def opened(name):
        target = tmp_path_factory.mktemp("published") / "model"
        lay_out(target, name, *folders[name].glob("tokenizer*"))
        return opening(name, target, weights=False)

    return opened


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """Return a picture, drawn further; with a mask of its right half if asked for."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, WIDTH // 2 :] = 255
    for name, image in (("picture", pixels), ("mask", mask)):
        Image.fromarray(image).save(folder / f"{name}.png")

    def existing(*, masked):
        names = ("picture", "mask") if masked else ("picture",)
        paths = [folder / f"{name}.png" for name in names]
        file, digest, *more = (
            value for path in paths for value in (str(path), sha256(path.read_bytes()).hexdigest())
        )
        return ExistingPicture(file, digest, (), 1.0, *more)

    return existing


def test_sd2_in_full_size(published):
    """Parameters, layers, heads, grids, text, prediction and defaults are the published ones."""
    model = published("sd2")
    request = model.complete(Request("a red cat", width=960, height=576))
    layers = model.layers(request)
    assert (model.info.parameters, model.prediction) == (865_910_724, "v")
    assert [layer.kind for layer in layers] == ["self", "cross"] * 16
    assert {(layer.num_heads, layer.head_dim, layer.grid) for layer in layers[1::2]} == {
        (5, 64, (72, 120)),
        (10, 64, (36, 60)),
        (20, 64, (18, 30)),
        (20, 64, (9, 15)),
    }
    assert {layer.num_keys for layer in layers[1::2]} == {77}
    assert (request.steps, request.guidance) == (30, 7.5)
    assert model.complete(Request("a")).width == 768


def test_refiner_in_full_size(published, picture):
    """Parameters, layers, heads, grids and defaults are the published ones."""
    model = published("sdxl-refiner")
    existing = picture(masked=False)
    request = model.complete(Request("a red cat", width=1216, height=832, picture=existing))
    layers = model.layers(request)
    assert len(layers) == 2 * 4 * (2 * 2 + 1 + 2 * 3)
    assert {(layer.num_heads, layer.head_dim, layer.grid) for layer in layers} == {
        (12, 64, (52, 76)),
        (24, 64, (26, 38)),
        (24, 64, (13, 19)),
    }
    assert (request.guidance, model.complete(Request("a", picture=existing)).width) == (5.0, 1160)


@pytest.mark.parametrize(("name", "sizes"), [("sd2", (24, 24)), ("sdxl-refiner", (16, 16))])
def test_planned_bytes(published, picture, name, sizes):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    model, columns, text = published(name), 3 + 1, 77
    needed = picture(masked=False) if model.needed_picture else None
    request = model.complete(
        Request("a red cat", steps=7, width=64 * sizes[1], height=64 * sizes[0], picture=needed)
    )
    sequences, layers = {"cond": model.sequence(request, "cond")}, model.layers(request)
    plan = make_plan(layers, sequences, Keep(), samples=1, steps=7, dtype="F16")
    cross = [layer for layer in layers if layer.kind == "cross"]
    pixels = sum(layer.num_queries for layer in cross)
    heads = sum(4 * (layer.num_heads * text + layer.num_heads + 3 * text) for layer in cross)
    expected = 7 * (2 * pixels * columns + heads) + 4 * pixels * columns
    assert 1 <= plan.bytes / expected <= 1.05


def test_words():
    """Words lie where they were typed; the second half of a long prompt is said to be cut."""
    model = shared_session("sd2")
    request = model.complete(Request(UNUSUAL, width=WIDTH, height=HEIGHT))
    read = model.sequence(request, "cond")
    assert {token.word for token in read.tokens if token.word is not None} == set(range(5))
    assert {token.text for token in read.tokens if token.padding} == {"!"}
    long = model.sequence(model.complete(Request("cat " * 100)), "cond")
    assert long.truncated == {"clip": ("cat " * 25).strip()}


@pytest.mark.parametrize("name", MODELS)
def test_same_from_a_file(folders, files, name):
    """Every weight of a file is bit for bit that of the diffusers folder."""
    assert differing(name, (folders[name], {}), files[name], PARTS[name]) == []


def test_refused_files(folders, files):
    """Models of the families that share these pipelines are told apart, in folders and files."""
    assert refusal("sd15", files["sd2"][0]).endswith("use --backend sd2")
    assert refusal("sdxl", files["sdxl-refiner"][0]).endswith("use --backend sdxl-refiner")
    assert refusal("sdxl", folders["sdxl-refiner"]).endswith("use --backend sdxl-refiner")
    from attn import demo

    assert refusal("sd2", demo.checkpoint("tiny:sd15")).endswith("use --backend sd15")


ENCODERS = {"sd2": "te", "sd15": "te", "sdxl": "te2", "sdxl-refiner": "te2"}


def write_lora(name, session, folder):
    """Write a LoRA in kohya's names, for the UNet and a text encoder."""
    encoder = ENCODERS[name]
    towers = {
        "unet": (session.model, "attn2.to_k"),
        encoder: (getattr(session.pipe, "text_encoder_2" if encoder == "te2" else "text_encoder"),
                  "self_attn.q_proj"),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for tower, (network, ending) in towers.items():
        path, module = [each for each in network.named_modules() if each[0].endswith(ending)][-1]
        level = "" if tower == "unet" or path.startswith("text_model.") else "text_model_"
        stem = f"lora_{tower}_{level}{path.replace('.', '_')}"
        rows, columns = module.weight.shape
        tensors[f"{stem}.lora_down.weight"] = torch.randn(5, columns, generator=generator)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(rows, 5, generator=generator)
    save_file(tensors, folder / "lora.safetensors")
    return folder / "lora.safetensors"


def drawn_into(existing):
    """Return the options that draw a picture further, or anew under its mask."""
    options = {"picture": existing.file, "strength": 0.7}
    return options | ({"mask_picture": existing.mask} if existing.mask else {})


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("sd2", "demo"),
        ("sdxl-refiner", "demo"),
        ("sd15", "demo:inpainting"),
        ("sdxl", "demo:inpainting"),
    ],
)
def test_loras_and_every_option(name, model, picture, tmp_path):
    """A LoRA in kohya's names, for UNet and text encoder, and every option of capture."""
    session = shared_session(name, model)
    file = write_lora(name, session, tmp_path)
    more = {"model": model}
    if session.needed_picture:
        more |= drawn_into(picture(masked=session.needed_picture == "mask"))
    changed, plain = (
        np.asarray(attn.capture(
            *(name, "a red cat"), out=tmp_path / out, steps=2, size=(96, 64), lora=lora, **more
        ).trace.image())
        for out, lora in (("with", str(file)), ("without", None))
    )  # fmt: skip
    assert not np.array_equal(changed, plain)
    capture_everything(name, file, tmp_path / "out", "factors", more=more)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["sd2", "sdxl"])
def test_every_option_with_a_picture(name, masked, picture, tmp_path):
    """A picture is drawn further, or anew under a mask, by models that need none, too."""
    file = write_lora(name, shared_session(name, "demo"), tmp_path)
    more = {"model": "demo"} | drawn_into(picture(masked=masked))
    capture_everything(name, file, tmp_path / "out", "factors", more=more)


NEEDS = [("sdxl-refiner", "demo"), ("sd15", "demo:inpainting"), ("sdxl", "demo:inpainting")]


@pytest.mark.parametrize(("name", "model"), NEEDS)
def test_pictures_are_needed(picture, name, model):
    """What a pipeline draws nothing without is asked for before anything runs."""
    session, masked = shared_session(name, model), model != "demo"
    for existing in (None, picture(masked=False))[: 1 + masked]:
        with pytest.raises(RequestError, match="with --picture FILE") as error:
            session.complete(Request("a cat", picture=existing))
        assert ("--mask-picture" in str(error.value)) == masked


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model", "dtype"),
    [
        ("sdxl-refiner", "demo", "float32"),
        ("sdxl-refiner", "demo", "bfloat16"),
        ("sd15", "demo:inpainting", "float32"),
        ("sdxl", "demo:inpainting", "bfloat16"),
    ],
)
def test_drawn_into_a_picture(picture, name, model, dtype):
    """Capture changes no bit of what is drawn into a picture, and is exact."""
    session = shared_session(name, model, dtype)
    existing = picture(masked=model != "demo")
    request = Request(
        *("a red cat", "a dog"), steps=2, width=WIDTH, height=HEIGHT, picture=existing
    )
    for check in (outputs_identical, attention_exact):
        check(session, request)
