"""What a sampler expects at each step: its numbers, its pictures, and where there are none."""

import diffusers
import numpy as np
import pytest
import torch

from attn.backends.diffusers.forming import CELLS, SIDE, Forming, expected_picture, forming
from attn.schema import Request

SHAPE = (2, 3, 7, 5)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SAMPLERS = {
    "EulerDiscreteScheduler": BETAS,
    "HeunDiscreteScheduler": BETAS,
    "DDIMScheduler": BETAS,
    "PNDMScheduler": BETAS | {"skip_prk_steps": True},
    "DPMSolverMultistepScheduler": BETAS | {"use_karras_sigmas": True},
    "UniPCMultistepScheduler": BETAS,
    "FlowMatchEulerDiscreteScheduler": {"shift": 3.0},
}


class Vae:
    """A VAE that decodes latents to their first three channels, eight times as large."""

    config = diffusers.configuration_utils.FrozenDict(scaling_factor=0.5, shift_factor=0.25)

    def decode(self, latents, return_dict=True):
        """Return pixels, -1 to 1."""
        return (latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3),)


def noised(scheduler, picture, noise, level):
    """Return the sampler's latents of a noised picture, and how much of them is noise."""
    timestep = scheduler.timesteps[level : level + 1]
    if type(scheduler).__name__.startswith("FlowMatch"):
        sigma = float(timestep) / 1000
        return (1 - sigma) * picture + sigma * noise, sigma
    latents = scheduler.add_noise(picture, noise, timestep)
    alphas = np.asarray(scheduler.alphas_cumprod, np.float64)
    return latents, float(np.sqrt(1 - np.interp(float(timestep), np.arange(1000), alphas)))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_expected_picture(name, prediction):
    """A denoiser that knows the picture has it expected at every level, whatever it predicts."""
    is_flow = name.startswith("FlowMatch")
    kind = {} if is_flow else {"prediction_type": prediction}
    scheduler = getattr(diffusers, name)(**SAMPLERS[name], **kind)
    scheduler.set_timesteps(6)
    generator = torch.Generator().manual_seed(11)
    picture, noise = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    for level in (0, 2, 4):
        latents, sigma = noised(scheduler, picture, noise, level)
        signal = np.sqrt(1 - sigma**2)
        answers = {
            "epsilon": noise,
            "v_prediction": signal * noise - sigma * picture,
            "sample": picture,
        }
        answer = noise - picture if is_flow else answers[prediction]
        scheduler._step_index = level
        expected = expected_picture(scheduler, scheduler.timesteps[level], answer, latents)
        torch.testing.assert_close(expected, picture, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("backend", ["sdxl", "sd15", "sd35", "gated", "scribble"])
def test_frames(backend, opened):
    """Each step has its frame, the last is the picture, and no random number is drawn for them."""
    session = opened(backend, "demo")
    requests = [
        session.complete(
            Request(f"a {colour} star on a white background", seed=7, steps=3, width=96, height=64)
        )
        for colour in ("red", "blue")
    ]
    state = torch.get_rng_state()
    (plain, _), (output, other) = (
        session.generate(requests, on_call) for on_call in (None, lambda call: None)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert plain.images[0].tobytes() == output.images[0].tobytes()
    assert [len(frames) for frames in (*output.forming, *other.forming)] == [3, 3]
    image, *frames = (np.asarray(of, int) for of in (output.images[0], *output.forming[0]))
    assert np.abs(frames[-1] - image).max() <= 2
    assert (frames[0] != frames[-1]).any()
    assert plain.forming == ()
    assert not {"step", "decode"} & {*vars(session.pipe.scheduler), *vars(session.pipe.vae)}


def ran(scheduler, vae, latents, finished):
    """Return what is seen of a sampler's steps with these latents, and of this decoding."""
    with forming(scheduler, vae) as seen:
        for timestep in scheduler.timesteps:
            last = scheduler.step(latents, timestep, latents, return_dict=False)[0]
        vae.decode(finished(last), return_dict=False)
    return seen


def scheduler_of(steps):
    """Return a sampler of a flow model."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(steps)
    return scheduler


def test_large_latents():
    """Latents of many cells are averaged down before they are decoded, pictures once more."""
    latents = torch.rand(1, 3, 3 * CELLS, 2 * CELLS, generator=torch.Generator().manual_seed(5))
    seen = ran(scheduler_of(2), Vae(), latents, lambda last: last / 0.5 + 0.25)
    assert seen.warnings == ()
    ((first, _),) = seen.frames
    assert first.size == (round(round(2 * CELLS / 3) * SIDE / CELLS), SIDE)


@pytest.mark.parametrize(
    ("shape", "warnings"),
    [
        ((1, 35, 64), ()),
        ((1, 3, 5, 7), ("the forming pictures are left out: Vae is given latents that are scaled "
                        "in another way",)),
    ],
)  # fmt: skip
def test_left_out(shape, warnings):
    """Where frames would be wrong there are none; it is said, unless latents never are a grid."""
    vae = Vae()
    vae.decode = lambda latents, return_dict=True: (latents,)
    seen = ran(scheduler_of(2), vae, torch.full(shape, 0.75), lambda last: last)
    assert (seen.frames, seen.warnings) == ([], warnings)


def test_no_step():
    """A picture that no step of the sampler made has no frames, and a sentence says why."""
    with forming(scheduler_of(2), Vae()) as seen:
        seen.decode(Vae().decode, torch.zeros(1, 3, 5, 7))
    assert seen.warnings == ("the forming pictures are left out: no step of the sampler was seen",)


def test_endless_numbers():
    """A step whose numbers are none leaves the frames out, not the picture."""
    scheduler = scheduler_of(2)
    seen = Forming(scheduler, Vae())
    for answer in (torch.zeros(1, 3, 5, 7), torch.full((1, 3, 5, 7), torch.inf)):
        seen.see(answer, torch.zeros(1, 3, 5, 7))
    seen.note(torch.zeros(1, 3, 5, 7))
    seen.decode(Vae().decode, torch.full((1, 3, 5, 7), 0.25))
    (warning,) = seen.warnings
    assert warning.endswith("what the sampler expects is not finite in some step")
