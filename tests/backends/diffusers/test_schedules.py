"""Steps, timesteps and noise of diffusers' samplers."""

import diffusers
import numpy as np
import pytest

from attn.backends.diffusers import schedules
from attn.errors import RequestError
from attn.schema import Request

BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
# calls of 5 steps by the step that each belongs to
PLAIN = [0, 1, 2, 3, 4]
SECOND_ORDER = [0, 0, 1, 1, 2, 2, 3, 3, 4]
CALLS = {
    "EulerDiscreteScheduler": PLAIN,
    "DDIMScheduler": PLAIN,
    "DPMSolverMultistepScheduler": PLAIN,
    "HeunDiscreteScheduler": SECOND_ORDER,
    "KDPM2DiscreteScheduler": SECOND_ORDER,
    "PNDMScheduler": [0, 0, 1, 2, 3, 4],
    "FlowMatchEulerDiscreteScheduler": PLAIN,
    "FlowMatchHeunDiscreteScheduler": SECOND_ORDER,
}
PRK = [0] * 4 + [1] * 4 + [2] * 4 + [3, 4]
DDIM_TIMESTEPS = [801, 601, 401, 201, 1]
ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2)
# of those that can replace SDXL's Euler in this environment
SDXL_SAMPLERS = (
    *("ddim", "ddpm", "deismultistep", "dpmsolvermultistep", "dpmsolversinglestep", "euler"),
    *("eulerancestral", "heun", "kdpm2", "kdpm2ancestral", "pndm", "unipcmultistep"),
)


def make(name, steps=5, **config):
    """Return a scheduler, ready for a number of steps."""
    if name.startswith("FlowMatch"):
        scheduler = getattr(diffusers, name)(shift=3.0)
    else:
        leading = {} if name == "PNDMScheduler" else {"timestep_spacing": "leading"}
        spacing = {} if "Multistep" in name else leading
        scheduler = getattr(diffusers, name)(**BETAS, **spacing, **config)
    scheduler.set_timesteps(steps)
    return scheduler


def opening(calls):
    """Return the places of the calls that open a step."""
    return [index for index, step in enumerate(calls) if index == 0 or calls[index - 1] != step]


@pytest.mark.parametrize(("name", "calls"), CALLS.items(), ids=CALLS)
def test_call_steps(name, calls):
    """Corrections belong to the step that they correct; there are as many steps as asked for."""
    scheduler = make(name, **({"skip_prk_steps": True} if name == "PNDMScheduler" else {}))
    assert len(scheduler.timesteps) == len(calls)
    assert schedules.call_steps(scheduler) == calls


def test_call_steps_of_runge_kutta():
    """PNDM's first three steps take four forwards each, unless it is told to skip them."""
    scheduler = make("PNDMScheduler", skip_prk_steps=False)
    assert len(scheduler.timesteps) == len(PRK)
    assert schedules.call_steps(scheduler) == PRK


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("name", CALLS)
def test_number_of_steps(name, steps):
    """Also for the shortest schedules, steps count from 0 without a gap to what was asked."""
    scheduler = make(name, steps, **({"skip_prk_steps": True} if name == "PNDMScheduler" else {}))
    calls = schedules.call_steps(scheduler)
    assert len(calls) == len(scheduler.timesteps)
    assert [calls[index] for index in opening(calls)] == list(range(steps))


@pytest.mark.parametrize("skip_prk", [True, False])
def test_pndm_opens_at_the_timesteps_of_ddim(skip_prk):
    """A step of PNDM is one of the points that first-order samplers visit, not a correction."""
    scheduler = make("PNDMScheduler", skip_prk_steps=skip_prk)
    first = opening(schedules.call_steps(scheduler))
    assert make("DDIMScheduler").timesteps.tolist() == DDIM_TIMESTEPS
    assert scheduler.timesteps[first].tolist() == DDIM_TIMESTEPS


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler"])
def test_second_order_opens_at_the_timesteps_of_ddim(name):
    """The first call of a second-order step is the predictor, at the step's own timestep."""
    scheduler = make(name)
    assert [scheduler.timesteps[index] for index in opening(SECOND_ORDER)] == DDIM_TIMESTEPS


def test_flow_heun_opens_at_the_timesteps_of_flow_euler():
    """The same holds for flow models."""
    heun, euler = make("FlowMatchHeunDiscreteScheduler"), make("FlowMatchEulerDiscreteScheduler")
    assert heun.timesteps[opening(SECOND_ORDER)].tolist() == euler.timesteps.tolist()


def announced(session, scheduler, steps):
    """Generate; return the calls that were announced, and how often the denoiser really ran."""
    request = Request("a red cat", steps=steps, width=96, height=64, scheduler=scheduler)
    calls, forwards = [], []
    handle = session.model.register_forward_pre_hook(lambda *_: forwards.append(1))
    try:
        session.generate([session.complete(request)], calls.append)
    finally:
        handle.remove()
    return calls, len(forwards)


@pytest.mark.parametrize(
    ("backend", "scheduler"),
    [
        *(("sdxl", name) for name in SDXL_SAMPLERS),
        *(("sd35", name) for name in ("flowmatcheuler", "flowmatchheun")),
    ],
)
def test_real_generation(opened, backend, scheduler):
    """Every forward is announced, and the noise falls from step to step, whatever the sampler."""
    calls, forwards = announced(opened(backend), scheduler, 4)
    assert len(calls) == forwards
    steps = [call.step for call in calls]
    noise = [calls[index].noise for index in opening(steps)]
    assert [steps[index] for index in opening(steps)] == [0, 1, 2, 3]
    assert noise == sorted(noise, reverse=True)
    assert len(set(noise)) == 4


@pytest.mark.parametrize("name", ["DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler"])
def test_noise_of_ddpm(name):
    """The noise is sqrt(1 - alpha_bar) at the timestep, against betas summed up in float64."""
    scheduler = make(name)
    for timestep in scheduler.timesteps.tolist():
        expected = np.sqrt(1 - ALPHAS[timestep])
        assert schedules.noise_left(scheduler, timestep) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "HeunDiscreteScheduler"])
def test_noise_of_sigmas(name, karras):
    """Samplers that count in sigma agree: the noise is sigma / sqrt(1 + sigma²)."""
    scheduler = make(name, 7, use_karras_sigmas=karras)
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas.double(), strict=False):
        expected = float(sigma / (1 + sigma**2).sqrt())
        assert schedules.noise_left(scheduler, float(timestep)) == pytest.approx(expected, rel=2e-3)


def test_noise_of_flow():
    """The noise of a flow model is its sigma."""
    scheduler = make("FlowMatchEulerDiscreteScheduler", 7)
    noise = [schedules.noise_left(scheduler, float(time)) for time in scheduler.timesteps]
    np.testing.assert_allclose(noise, scheduler.sigmas[:-1].double(), rtol=1e-6)
    assert noise[0] == 1.0


@pytest.mark.parametrize("name", CALLS)
def test_noise_falls(name):
    """Over all training timesteps the noise grows strictly, and stays within 0 and 1."""
    scheduler = make(name)
    noise = [schedules.noise_left(scheduler, float(timestep)) for timestep in range(0, 1000, 7)]
    assert np.all(np.diff(noise) > 0)
    assert 0 <= noise[0] < noise[-1] <= 1


@pytest.mark.parametrize(
    ("scheduler", "steps", "message"),
    [
        ("pndm", 3, "PNDMScheduler needs at least 4 steps; got 3"),
        ("ddim", 1001, "DDIMScheduler makes at most 1000 steps for this model; got 1001"),
    ],
)
def test_impossible_numbers_of_steps(opened, scheduler, steps, message):
    """Numbers of steps on which the library would fail are refused before anything runs."""
    with pytest.raises(RequestError, match=f"^{message}$"):
        opened("sdxl").complete(Request("a cat", steps=steps, scheduler=scheduler))
