"""Pictures that exist already, shown to the demo models or drawn further."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attn.backends.diffusers import pictures
from attn.backends.testing.observe import same_outputs
from attn.backends.types import image_seed
from attn.errors import RequestError
from attn.schema import ExistingPicture, Request
from tests.helpers.toy_sessions import shared_session

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache")]
WIDTH, HEIGHT, SEED = 80, 112, 5
SHORT = {"t5_tokens": 19}
FAMILIES = {
    "sd15": {},
    "sdxl": {},
    "sd35": SHORT,
    "gated": SHORT,
    "flux": SHORT,
    "qwen-image": {},
    "z-image": {},
    "sd2": {},
}
FLOWS = {"sd35", "gated", "flux", "qwen-image", "z-image"}
LEVELS = (0.7, 0.25)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture of noise, and a mask of its right half."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, WIDTH // 2 :] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return folder


def digest(file):
    """Return the SHA-256 of a file."""
    return sha256(file.read_bytes()).hexdigest()


def existing(files, **changes):
    """Return the picture, and what is done with it."""
    file = files / "picture.png"
    return ExistingPicture(str(file), digest(file), **changes)


def test_picture_is_the_planned_one(tmp_path, monkeypatch):
    """The same name elsewhere is another picture, and one that was written again is refused."""
    for name, colour in (("first", "red"), ("second", "blue")):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        Image.new("RGB", (5, 7), colour).save("photo.png")
        shown = pictures.fitted("photo.png", digest(Path("photo.png")), (5, 7))
        assert np.array_equal(np.asarray(shown), np.asarray(Image.open("photo.png")))
    with pytest.raises(RequestError, match=r"photo\.png was written again since the run was plan"):
        pictures.fitted("photo.png", "0" * 64, (5, 7))


def open_request(name, files, **changes):
    """Return a session, and a completed request with a picture."""
    session = shared_session(name, "demo", "float32", **FAMILIES[name])
    picture = existing(files, **changes)
    request = Request("a red cat", seed=SEED, width=WIDTH, height=HEIGHT, guidance=3.0)
    if not picture.noise:
        request = replace(request, steps=3)
    return session, session.complete(replace(request, picture=picture))


def seen_latents(session, request):
    """Generate; return the calls, what the denoiser was given in each, and the outputs."""
    calls, inputs = [], []

    def see(module, args, keywords):
        given = args[0] if args else keywords[session.input_name]
        given = torch.stack(list(given)) if isinstance(given, list) else given
        inputs.append(given[-1:].double().numpy())

    handle = session.model.register_forward_pre_hook(see, with_kwargs=True)
    try:
        outputs = session.generate([request], calls.append)
    finally:
        handle.remove()
    return calls, inputs, outputs


@torch.no_grad()
def encoded(session, files):
    """Return latents of the picture and noise, as the library draws them from the seed."""
    pipe = session.pipe
    image = pipe.image_processor.preprocess(Image.open(files / "picture.png").convert("RGB"))
    generator = torch.Generator().manual_seed(image_seed(SEED, 0))
    latents = pipe.vae.encode(image).latent_dist.sample(generator)
    shift = getattr(pipe.vae.config, "shift_factor", None) or 0.0
    latents = (latents - shift) * pipe.vae.config.scaling_factor
    return latents.double().numpy(), torch.randn(
        latents.shape, generator=generator
    ).double().numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_levels(name, files):
    """Each level is a step, of its noise; the picture of the trace is the one that was shown."""
    session, request = open_request(name, files, noise=LEVELS)
    calls, _, outputs = seen_latents(session, request)
    assert request.steps == 2
    assert sorted({call.step for call in calls}) == [0, 1]
    noise = [next(call.noise for call in calls if call.step == step) for step in (0, 1)]
    np.testing.assert_allclose(noise, LEVELS, atol=1e-6 if name in FLOWS else 0.01)
    with Image.open(files / "picture.png") as image:
        assert np.array_equal(np.asarray(outputs[0].images[0]), np.asarray(image))


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd35"])
def test_noise_is_added_as_published(name, files):
    """What the denoiser is given is the encoded picture and the seed's noise, in float64."""
    session, request = open_request(name, files, noise=LEVELS)
    calls, inputs, _ = seen_latents(session, request)
    latents, noise = encoded(session, files)
    for call, given in zip(calls, inputs, strict=True):
        kept = 1 - call.noise if name in FLOWS else np.sqrt(1 - call.noise**2)
        np.testing.assert_allclose(given, kept * latents + call.noise * noise, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_drawn_further(name, files):
    """So many steps run as were asked for, the last of the schedule; then all is as before."""
    session, request = open_request(name, files, strength=0.6)
    plain = replace(session.complete(Request("a red cat", steps=2, width=WIDTH, height=HEIGHT)))
    before = session.generate([plain], None)
    calls, _, outputs = seen_latents(session, request)
    assert sorted({call.step for call in calls}) == [0, 1, 2]
    levels = [next(call.noise for call in calls if call.step == step) for step in range(3)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] < 1
    assert same_outputs(outputs, session.generate([request], None))
    assert outputs[0].images[0].size == (WIDTH, HEIGHT)
    assert same_outputs(before, session.generate([plain], None))


def test_mask(files):
    """Where the mask is black the latents of the picture stay, so that only the rest is new."""
    mask = files / "mask.png"
    about = {"mask": str(mask), "mask_sha256": digest(mask)}
    session, request = open_request("sd15", files, strength=1.0, **about)
    first, second = (
        np.asarray(session.generate([replace(request, seed=seed)], None)[0].images[0], float)
        for seed in (1, 2)
    )
    changed = np.abs(first - second).mean((0, 2))
    assert changed[: WIDTH // 4].max() < changed[WIDTH // 2 + 8 :].min()


def test_other_proportions(files):
    """The middle is shown, which is said; without a size the picture keeps its own."""
    session, request = open_request("sd15", files, noise=LEVELS)
    wide = replace(request, width=160, height=80)
    assert session.remarks(wide, wide)[-1] == (
        "picture.png is 80x112, of other proportions than 160x80: its middle 80x40 is shown"
    )
    assert pictures.remarks(request) == ()
    alone = session.complete(replace(request, width=None, height=None))
    assert alone.width / alone.height == pytest.approx(WIDTH / HEIGHT, rel=0.1)


def test_no_pipeline_for_pictures(files):
    """A family whose library has none is refused by the pipeline's name."""
    session = shared_session("pixart", "demo", "float32", **SHORT)
    picture = existing(files, noise=LEVELS)
    with pytest.raises(RequestError, match="no pipeline for pictures beside PixArtSigmaPipeline"):
        session.complete(Request("a red cat", picture=picture))
