"""Names of samplers, and what a model's own sampler hands on to the one that takes its place."""

import re
from pathlib import Path

import diffusers
import numpy as np
import pytest

from attn.backends.diffusers import samplers, schedules
from attn.errors import RequestError
from attn.schema import Request
from tests.backends.diffusers.test_schedules import BETAS, make
from tests.helpers.models.opening import SMALL

DPM = "DPMSolverMultistepScheduler"
PAGE = Path(__file__).parents[3] / "docs" / "capture.md"
NAMED = [
    ("Euler a", "EulerAncestralDiscreteScheduler", {}),
    ("euler_ancestral", "EulerAncestralDiscreteScheduler", {}),
    ("DPM++ 2M", DPM, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    ("DPM++ 2M Karras", DPM, {"use_karras_sigmas": True}),
    ("dpm++2m-karras", DPM, {"use_karras_sigmas": True}),
    ("dpmpp_2m_sde_gpu", DPM, {"algorithm_type": "sde-dpmsolver++"}),
    ("DPM++ 2M SDE Heun Exponential", DPM, {"solver_type": "heun", "use_exponential_sigmas": True}),
    ("DPM++ 3M SDE Karras", DPM, {"solver_order": 3, "use_karras_sigmas": True}),
    ("DPM2 a Karras", "KDPM2AncestralDiscreteScheduler", {"use_karras_sigmas": True}),
    ("LMS Karras", "LMSDiscreteScheduler", {"use_karras_sigmas": True}),
    ("EulerDiscreteScheduler karras", "EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("euler sgm_uniform", "EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    ("ddim_ddim_uniform", "DDIMScheduler", {"timestep_spacing": "leading"}),
    ("DDIM Uniform", "DDIMScheduler", {"timestep_spacing": "linspace"}),
    ("dpmpp_2m beta", DPM, {"use_beta_sigmas": True, "use_karras_sigmas": False}),
    ("uni_pc_bh2", "UniPCMultistepScheduler", {"solver_type": "bh2"}),
    ("PLMS", "PNDMScheduler", {}),
]
REFUSED = [
    ("lcm", "it draws only with models that were distilled for it"),
    ("DPM++ SDE Karras", "diffusers draws its noise without the seed, so no run would be like"),
    ("dpm_adaptive", "diffusers does not have it; there are ddim, "),
    ("edmeuler", "it takes models with another input and noise"),
    ("ddim karras", "DDIMScheduler does not spread its steps as 'karras' does; those that do are"),
    ("Euler a Karras", "EulerAncestralDiscreteScheduler does not spread its steps as 'karras'"),
    ("euler kl_optimal", "diffusers does not spread steps as 'kl_optimal' does; there are karras"),
]
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize(("name", "cls", "settings"), NAMED, ids=[case[0] for case in NAMED])
def test_names_of_other_programs(name, cls, settings):
    """What A1111 and ComfyUI call a sampler is the class, with settings, that diffusers has."""
    selected = samplers.choose(make("EulerDiscreteScheduler"), name)
    assert type(selected).__name__ == cls
    assert selected.config.items() >= settings.items()


@pytest.mark.parametrize(("name", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_refused_names(name, reason):
    """Samplers that are known by name and would not draw are refused with the reason."""
    with pytest.raises(RequestError, match=f"^scheduler '{re.escape(name)}': {re.escape(reason)}"):
        samplers.choose(make("EulerDiscreteScheduler"), name)


def test_titles_find_the_same_again():
    """What a trace calls its sampler stands for the same settings, however it was asked for."""
    own = make("EulerDiscreteScheduler")
    for name in (*(case[0] for case in NAMED), "default", "euler", "heun"):
        selected, title = samplers.choose(own, name), samplers.title(own, name)
        again = samplers.choose(own, title)
        assert type(again) is type(selected)
        assert samplers._settings(again) == samplers._settings(selected)
        assert samplers.title(own, title) == title
    for name in ("dpm++2m karras", "DPMSolverMultistep Karras", "dpmpp_2m_karras"):
        assert samplers.title(own, name) == f"{DPM} karras"


def test_page_lists_every_name():
    """The page's table has every name and schedule; all resolve, or are refused with a reason."""
    rows = [row.split("|")[1] for row in PAGE.read_text().splitlines() if row.startswith("| `")]
    listed = {samplers.shorten(name) for row in rows for name in re.findall("`([^`]+)`", row)}
    table = (*samplers.NAMES, *samplers.REFUSED, *samplers.SCHEDULES, *samplers.NO_SCHEDULES)
    assert {samplers.shorten(name) for name in table} <= listed
    own = make("EulerDiscreteScheduler")
    for name in (*samplers.NAMES, *(f"euler {schedule}" for schedule in samplers.SCHEDULES)):
        assert samplers.choose(own, name) is not None


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpm++2m", "unipc"])
def test_latents_are_not_clipped(name):
    """No sampler confines latents to -1 … 1, whatever its class or the model's own says."""
    own = diffusers.DDPMScheduler(**BETAS, thresholding=True)
    config = samplers.choose(own, name if name != "ddpm" else "ddpm normal").config
    assert (config.get("clip_sample"), config.get("thresholding")) == (False, False)


@pytest.mark.parametrize("name", ["heun", "dpm2", "lms", "ddim", "pndm", "unipc"])
def test_noise_of_training_is_kept(name):
    """Betas that nobody has set are those of the model's own class, not of the other one."""
    own = diffusers.EulerDiscreteScheduler()
    selected = samplers.choose(own, name)
    np.testing.assert_array_equal(selected.alphas_cumprod, own.alphas_cumprod)


def test_solver_of_another_class_is_left():
    """Settings of one solver, which mean something else to another, stay behind."""
    own = diffusers.DPMSolverMultistepScheduler(**BETAS, algorithm_type="sde-dpmsolver++")
    assert samplers.choose(own, "deis").config.algorithm_type == "deis"
    assert samplers.choose(own, "DPM++ 2M").config.algorithm_type == "dpmsolver++"
    assert samplers.choose(own, "dpmsolvermultistep") is own


def test_prediction_of_a_short_configuration():
    """What an option says of prediction or betas holds also where the configuration is silent."""
    own = diffusers.PNDMScheduler(beta_start=0.00085, beta_end=0.012)
    assert schedules.predicting(own, "v", zero_snr=False).config.prediction_type == "v_prediction"
    assert schedules.with_betas(own, "scaled_linear").config.beta_schedule == "scaled_linear"


@pytest.mark.parametrize("steps", [7, 49])
def test_steps_of_karras(steps):
    """Also where two steps round to one timestep, there are as many as were asked for."""
    scheduler = samplers.choose(make("EulerDiscreteScheduler"), "dpm++2m-karras")
    scheduler.set_timesteps(steps)
    assert schedules.call_steps(scheduler) == list(range(steps))


@pytest.mark.parametrize(
    "name", ["euler beta", "dpmpp_2m_sde_karras", "euler ddim_uniform", "heun"]
)
def test_zero_snr(name):
    """A model that was trained to pure noise refuses what does not begin there, or stays in it."""
    own = diffusers.EulerDiscreteScheduler(**BETAS, **ZERO_SNR)
    with pytest.raises(RequestError, match=r"zero-terminal SNR"):
        samplers.choose(own, name)
    selected = samplers.choose(own, "ddim")
    assert selected.config.items() >= ZERO_SNR.items()


@pytest.mark.parametrize("name", ["ddim", "DPM++ 2M SDE Karras", "heun", "lms exponential"])
def test_pictures_are_those_of_the_library(toys, opened, name):
    """A sampler lent by name draws what a pipeline with that sampler draws, bit for bit."""
    import torch

    session = opened("sdxl")
    requested = session.complete(Request("a red cat", seed=3, scheduler=name, **SMALL))
    picture = session.generate([requested], None)[0].images[0]
    pipe = toys("sdxl")
    config = pipe.scheduler.config
    own, scheduler = (
        pipe.scheduler,
        {
            "ddim": lambda: diffusers.DDIMScheduler.from_config(config, clip_sample=False),
            "DPM++ 2M SDE Karras": lambda: diffusers.DPMSolverMultistepScheduler.from_config(
                config, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True
            ),
            "heun": lambda: diffusers.HeunDiscreteScheduler.from_config(config),
            "lms exponential": lambda: diffusers.LMSDiscreteScheduler.from_config(
                config, use_exponential_sigmas=True
            ),
        }[name](),
    )
    try:
        pipe.scheduler = scheduler
        expected = pipe(
            "a red cat",
            generator=torch.Generator().manual_seed(3),
            num_inference_steps=2,
            guidance_scale=requested.guidance,
            width=96,
            height=64,
        ).images[0]
    finally:
        pipe.scheduler = own
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize("name", ["heun", "Heun", "HeunDiscreteScheduler", "heun_discrete"])
def test_choose(name):
    """A sampler is found by its short and its full name, and keeps the model's settings."""
    selected = samplers.choose(make("EulerDiscreteScheduler"), name)
    assert type(selected) is diffusers.HeunDiscreteScheduler
    assert selected.config.beta_end == BETAS["beta_end"]
    assert selected.config.timestep_spacing == "leading"


@pytest.mark.parametrize("name", ["default", "euler", "EulerDiscreteScheduler"])
def test_choose_current(name):
    """The model's own sampler is used as it is."""
    current = make("EulerDiscreteScheduler")
    assert samplers.choose(current, name) is current


@pytest.mark.parametrize("name", ["heun", "FlowMatchHeun", "FlowMatchHeunDiscreteScheduler"])
def test_choose_for_flow(name):
    """For a flow model the common beginning of its samplers' names may be left out."""
    selected = samplers.choose(make("FlowMatchEulerDiscreteScheduler"), name)
    assert type(selected) is diffusers.FlowMatchHeunDiscreteScheduler
    assert selected.config.shift == 3.0


@pytest.mark.parametrize("name", ["default", "euler", "flowmatcheuler"])
def test_choose_current_for_flow(name):
    """So the model's own sampler is found by its short name."""
    current = make("FlowMatchEulerDiscreteScheduler")
    assert samplers.choose(current, name) is current


def test_choose_unknown():
    """A misspelt sampler gets the list, and the nearest name."""
    with pytest.raises(RequestError) as error:
        samplers.choose(make("EulerDiscreteScheduler"), "huen")
    assert str(error.value).startswith("no scheduler 'huen' for this model; there are ddim, ddpm, ")
    assert str(error.value).endswith(", unipcmultistep. Did you mean 'heun'?")


@pytest.mark.parametrize(
    ("current", "name", "listed"),
    [
        ("FlowMatchEulerDiscreteScheduler", "ddim", "flowmatcheuler, flowmatchheun"),
        ("EulerDiscreteScheduler", "flowmatchheun", "ddim, ddpm, "),
    ],
)
def test_choose_wrong_family(current, name, listed):
    """Flow models take flow samplers only, and others none of them."""
    with pytest.raises(RequestError) as error:
        samplers.choose(make(current), name)
    expected = f"no scheduler '{name}' for this model; there are {listed}"
    assert str(error.value).startswith(expected)


def test_choose_unfit():
    """Settings of the model that a sampler refuses are an error of the request."""
    current = diffusers.DDPMScheduler(beta_schedule="sigmoid")
    expected = "^scheduler 'heun' does not fit this model: sigmoid is not implemented for "
    with pytest.raises(RequestError, match=expected):
        samplers.choose(current, "heun")


def test_choose_without_its_package(monkeypatch):
    """A missing package is said in one line, not in the library's block of them."""

    def fail(config):
        raise ImportError("\nHeun requires the torchsde library\nYou can install it\n")

    monkeypatch.setattr(diffusers.HeunDiscreteScheduler, "from_config", fail)
    expected = "^scheduler 'heun' needs another package: Heun requires the torchsde library$"
    with pytest.raises(RequestError, match=expected):
        samplers.choose(make("EulerDiscreteScheduler"), "heun")
