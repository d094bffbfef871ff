"""What is not asked for is what the library's own pipeline does without being asked."""

import json

import numpy as np
import pytest
import torch

from attn.backends.loading.weights import gates
from attn.errors import ModelError
from attn.schema import Request
from tests.helpers.models.opening import SMALL, opening
from tests.helpers.toy_sessions import remarks

WAYS = [
    *(("sdxl", way) for way in ("folder", "file", "parts", "handed over")),
    *((name, way) for name in ("sd15", "sd35", "sd35:medium") for way in ("folder", "handed over")),
    *((name, way) for name in ("scribble", "scribble:sd15") for way in ("folder", "handed over")),
]


def opened_in(way, name, toys, saved):
    """Open a demo model in one of `WAYS`."""
    backend, _, variant = name.partition(":")
    sketch = {"sketch": "none"} if backend == "scribble" else {}
    if way == "handed over":
        return opening(backend, toys(name), **sketch)
    if way == "folder":
        return opening(backend, f"demo:{variant}" if variant else "demo", **sketch)
    _, model, settings = saved(name, way)
    return opening(backend, model, **settings)


def drawn(session, **asked):
    """Return the request as it was completed, and its picture."""
    request = session.complete(Request("a red cat", seed=3, **SMALL, **asked))
    return request, np.asarray(session.generate([request], None)[0].images[0])


def plain(pipe, request, **arguments):
    """Return the picture of the library's own call, without any argument that can be left out."""
    if hasattr(pipe, "controlnet"):
        black = torch.zeros(1, 3, request.height, request.width)
        arguments |= {"image": black, "controlnet_conditioning_scale": 0.0}
    pipe.set_progress_bar_config(disable=True)
    picture = pipe(
        request.prompt,
        generator=torch.Generator().manual_seed(request.seed),
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        width=request.width,
        height=request.height,
        **arguments,
    ).images[0]
    return np.asarray(picture)


@pytest.mark.parametrize(("name", "way"), WAYS, ids=[" ".join(case) for case in WAYS])
def test_default_picture(toys, saved, name, way):
    """Without a negative prompt every family draws what `pipe(prompt)` draws, bit for bit."""
    request, picture = drawn(opened_in(way, name, toys, saved))
    assert np.array_equal(picture, plain(toys(name), request))
    assert request.negative is (None if name in ("sdxl", "scribble") else "")


def test_default_picture_with_gates(opened):
    """A gated model draws what the library's call draws while its gates act, bit for bit."""
    session = opened("gated")
    request, picture = drawn(session)
    with gates.applied(gates.gated(session.model)):
        assert np.array_equal(picture, plain(session.pipe, request))
    assert not np.array_equal(picture, plain(session.pipe, request))


def test_empty_text_is_encoded(opened, toys):
    """An empty negative prompt is a text, and draws what the library draws from it."""
    request, picture = drawn(opened("sdxl"), negative="")
    assert np.array_equal(picture, plain(toys("sdxl"), request, negative_prompt=""))
    assert not np.array_equal(picture, plain(toys("sdxl"), request))
    tokens = opened("sdxl").sequence(request, "uncond").tokens
    assert (len(tokens), {token.special for token in tokens}) == (77, {True})


def test_zeros_have_no_tokens(opened):
    """A row that reads zeros keeps its segment, and has no tokens; nor is there any unguided."""
    session = opened("sdxl")
    request = session.complete(Request("a red cat", **SMALL))
    sequence = session.sequence(request, "uncond")
    assert ([segment.name for segment in sequence.segments], sequence.tokens) == (["clip"], ())
    assert session.complete(Request("a red cat", guidance=1, **SMALL)).negative == ""


def test_flag_of_a_model(copied, toys):
    """A model that was not trained with zeros reads an empty text instead."""
    folder = copied("sdxl")
    path = folder / "model_index.json"
    index = json.loads(path.read_text()) | {"force_zeros_for_empty_prompt": False}
    path.write_text(json.dumps(index))
    request, picture = drawn(opening("sdxl", folder))
    assert request.negative == ""
    assert np.array_equal(picture, plain(toys("sdxl"), request, negative_prompt=""))


def test_guidance_as_a_number(toys):
    """A UNet that was distilled to read the guidance runs `cond` alone, as in the library."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    parts = dict(toys("sd15").components)
    config = dict(parts["unet"].config) | {"time_cond_proj_dim": 8}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        parts["unet"] = UNet2DConditionModel.from_config(config).eval()
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    session = opening("sd15", pipe)
    request, picture = drawn(session, guidance=7.5)
    assert session.branches(request) == ("cond",)
    assert np.array_equal(picture, plain(pipe, request))


def test_components_that_change_pictures(toys, opened):
    """A safety checker and a watermark are not run, are named, and stay with the pipeline."""
    guard = object()
    pipe, before = toys("sd15"), dict(toys("sd15").config)
    object.__setattr__(pipe, "safety_checker", guard)
    try:
        session = opening("sd15", pipe)
        _, picture = drawn(session)
    finally:
        result = pipe.safety_checker
        object.__setattr__(pipe, "safety_checker", None)
    assert result is guard
    assert dict(pipe.config) == before
    assert np.array_equal(picture, drawn(opened("sd15"))[1])
    assert session.warnings == (
        "the pipeline's safety_checker is not run: it would change finished pictures",
    )


def test_freeu(toys):
    """FreeU acts, as in the pipeline's own call, and is named with what undoes it."""
    pipe = toys("sdxl")
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.3, b2=1.4)
    try:
        session = opening("sdxl", pipe)
        request, picture = drawn(session)
        assert np.array_equal(picture, plain(pipe, request))
    finally:
        pipe.disable_freeu()
    assert session.warnings == (
        "FreeU is on (s1 0.9, s2 0.2, b1 1.3, b2 1.4), which changes pictures and attention; "
        "pipe.disable_freeu() takes it away",
    )
    assert not np.array_equal(picture, plain(pipe, request))


@pytest.mark.parametrize(("name", "attribute"), [("sd15", "unet"), ("sd35", "transformer")])
def test_ip_adapter(toys, monkeypatch, name, attribute):
    """An IP-Adapter, for which there is no picture, is refused at once, with the ways on."""
    denoiser = getattr(toys(name), attribute)
    if name == "sd35":
        monkeypatch.setattr(denoiser, "image_proj", torch.nn.Identity(), raising=False)
    else:
        config = dict(denoiser.config) | {"encoder_hid_dim_type": "ip_image_proj"}
        monkeypatch.setattr(denoiser, "_internal_dict", type(denoiser.config)(config))
    with pytest.raises(ModelError, match=r"unload_ip_adapter\(\), .* attn\.tap$"):
        opening(name, toys(name))


def test_sampler_that_clips(toys, monkeypatch):
    """A pipeline's own sampler that clips latents is used as it is, and warned of."""
    from diffusers import DDIMScheduler

    pipe = toys("sd15")
    clipping = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=True)
    monkeypatch.setattr(pipe, "scheduler", clipping)
    session = opening("sd15", pipe)
    euler = Request("a red cat", scheduler="euler", **SMALL)
    assert remarks(session, euler) == ()  # Euler, which does not clip, takes its place
    (warning,) = remarks(session, Request("a red cat", **SMALL))
    assert warning.startswith(
        "DDIMScheduler confines what it predicts (clip_sample), as for pixels"
    )


NUMBERLESS = [
    ("text_encoder", "'encoder_hidden_states' are NaN", "the weights of the text encoders"),
    ("controlnet", "'mid_block_additional_residual' are NaN", "the weights of the ControlNet"),
    ("unet", "numbers that the denoiser answers are NaN", "the weights of the denoiser"),
]


@pytest.mark.parametrize(
    ("part", "place", "whose"), NUMBERLESS, ids=[item[0] for item in NUMBERLESS]
)
def test_where_numbers_end(toys, monkeypatch, part, place, whose):
    """The first network whose numbers are none is named, and no other."""
    model = getattr(toys("scribble:sd15"), part)
    bias = [item for name, item in model.named_parameters() if name.endswith("bias")][-1]
    monkeypatch.setattr(bias, "data", torch.full_like(bias, torch.nan))
    with pytest.raises(ModelError) as error:
        drawn(opening("scribble", toys("scribble:sd15"), sketch="none"))
    assert place in str(error.value)
    assert whose in str(error.value)


@pytest.mark.parametrize("steps", [1, 2])
def test_sampler_that_divides_by_zero(toys, monkeypatch, steps):
    """Sound weights are not blamed for what a sampler computes from their answers."""
    from diffusers import DDIMScheduler

    pipe = toys("sdxl")
    settings = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    broken = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False, **settings)
    monkeypatch.setattr(pipe, "scheduler", broken)
    session = opening("sdxl", pipe)
    request = session.complete(Request("a red cat", **SMALL | {"steps": steps}))
    with pytest.raises(ModelError) as error:
        session.generate([request], None)
    where = "the VAE decodes" if steps == 1 else "the denoiser is given in call 2"
    assert f"of the latents that {where} are NaN or infinite" in str(error.value)
    assert (
        "the sampler made them, DDIMScheduler with prediction_type=epsilon, "
        "rescale_betas_zero_snr=True, timestep_spacing=trailing, "
    ) in str(error.value)
