"""What a diffusers scheduler does, in the words of a trace: steps, timesteps, noise."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import numpy as np

from attn.backends.diffusers.samplers import (
    FLOW,
    FLOW_SIGMAS,
    LATENTS,
    SPACING,
    ZERO_SNR,
    compatible,
    derive,
    shorten,
    takes,
)
from attn.errors import RequestError

BETAS = {"linear": (0.0001, 0.02), "scaled_linear": (0.00085, 0.012)}

PREDICTIONS = {"v": "v_prediction", "epsilon": "epsilon"}

RUNGE_KUTTA_CALLS = 4
"""Forwards of one Runge-Kutta step, with which PNDM can begin."""


def call_steps(scheduler: Any) -> list[int]:
    """Return, for each forward of the denoiser, the sampler's step that it belongs to.

    A step opens with the forward at its own timestep; what second-order samplers (Heun, KDPM2)
    and PNDM evaluate further on to finish the step belongs to it too. There are as many steps as
    were asked for.

    Args:
        scheduler: after `set_timesteps`.
    """
    timesteps = [float(timestep) for timestep in scheduler.timesteps]
    if scheduler.order == 2:  # noqa: PLR2004 - Heun-like: a predictor and a corrector
        return [call // 2 for call in range(len(timesteps))]
    warm = len(scheduler.prk_timesteps) if _starts_with_prk(scheduler) else 0
    steps = [call // RUNGE_KUTTA_CALLS for call in range(warm)]
    repeats = isinstance(scheduler, diffusers.PNDMScheduler)  # others round two steps to one time
    for call in range(warm, len(timesteps)):
        follows = timesteps[call : call + 1] == timesteps[call + 1 : call + 2]
        corrects = repeats and call > warm and follows
        steps.append((steps[-1] if steps else -1) + (not corrects))
    return steps


def _starts_with_prk(scheduler: Any) -> bool:
    return (
        getattr(scheduler, "prk_timesteps", None) is not None
        and not scheduler.config.skip_prk_steps
    )


def noise_left(scheduler: Any, timestep: float) -> float:
    """Return the share of noise in the picture at a timestep, 0 to 1.

    Flow models: sigma = timestep / number of training timesteps. Others: sqrt(1 - alpha_bar),
    interpolated between training timesteps.
    """
    if _is_flow(scheduler):
        return float(np.clip(timestep / scheduler.config.num_train_timesteps, 0, 1))
    alphas = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
    alpha = np.interp(timestep, np.arange(len(alphas)), alphas)
    return float(np.sqrt(np.clip(1 - alpha, 0, 1)))


def _is_flow(scheduler: Any) -> bool:
    has_alphas = getattr(scheduler, "alphas_cumprod", None) is not None
    return not has_alphas or bool(scheduler.config.get(FLOW_SIGMAS))


def predicting(current: Any, prediction: str, *, zero_snr: bool) -> Any:
    """Return the scheduler for a model that predicts something else than its configuration says.

    With zero-terminal SNR, a scheduler that cannot do it gives way to DDIM.

    Args:
        current: the scheduler of the model's configuration; it stays as it is.
        prediction: `v` or `epsilon`.
        zero_snr: whether the last training timestep was pure noise.
    """
    settings = {"prediction_type": PREDICTIONS[prediction], ZERO_SNR: zero_snr}
    cls = type(current)
    if zero_snr:
        settings[SPACING] = "trailing"
        if not takes(cls, ZERO_SNR):
            cls, settings = diffusers.DDIMScheduler, settings | LATENTS
    return derive(current, cls, settings)


def with_betas(current: Any, schedule: str) -> Any:
    """Return a scheduler of the same kind with another schedule of betas.

    Args:
        current: the scheduler of the model's configuration; it stays as it is.
        schedule: `linear`, with diffusers' own ends 0.0001 and 0.02, or `scaled_linear`, with those
            of Stable Diffusion.
    """
    start, end = BETAS[schedule]
    settings = {"beta_schedule": schedule, "beta_start": start, "beta_end": end}
    return derive(current, type(current), settings)


def predicted(scheduler: Any) -> str | None:
    """Return `v`, `epsilon`, or None for schedulers of flow models."""
    kinds = {kind: name for name, kind in PREDICTIONS.items()}
    return kinds.get(scheduler.config.get("prediction_type"))


def target(scheduler: Any) -> str:
    """Return what the denoiser answers to: `flow`, `v`, `sample` or `epsilon`."""
    if _is_flow(scheduler):
        return "flow"
    return {"v_prediction": "v", "sample": "sample"}.get(
        scheduler.config.get("prediction_type"), "epsilon"
    )


def require_sigmas(scheduler: Any, pipeline: str) -> None:
    """Refuse a scheduler that cannot be given the noise levels of its steps.

    Args:
        scheduler: that was asked for.
        pipeline: class of the pipeline that gives them.

    Raises:
        RequestError: names the schedulers that can.
    """
    if _takes_sigmas(type(scheduler)):
        return
    able = filter(_takes_sigmas, compatible(scheduler))
    names = sorted(shorten(cls.__name__).removeprefix(FLOW) for cls in able)
    raise RequestError(
        f"scheduler '{type(scheduler).__name__}' spreads its steps itself, but {pipeline} gives it "
        f"their noise levels; there are {', '.join(names)}"
    )


def _takes_sigmas(cls: type[Any]) -> bool:
    return "sigmas" in inspect.signature(cls.set_timesteps).parameters


def check_steps(scheduler: Any, steps: int) -> None:
    """Refuse numbers of steps that the scheduler cannot make.

    Raises:
        RequestError: too many; or too few for PNDM that begins with Runge-Kutta steps, and for
            noise levels that are stretched between two.
    """
    name = type(scheduler).__name__
    needs_prk = hasattr(scheduler, "prk_timesteps") and not scheduler.config.skip_prk_steps
    if needs_prk and steps < scheduler.pndm_order:
        raise RequestError(f"{name} needs at least {scheduler.pndm_order} steps; got {steps}")
    if scheduler.config.get("shift_terminal") and steps == 1:
        raise RequestError(
            f"{name} spreads its noise levels down to {scheduler.config.shift_terminal:g}, which "
            "takes at least 2 steps; got 1"
        )
    most = scheduler.config.num_train_timesteps
    if hasattr(scheduler, "alphas_cumprod") and steps > most:
        raise RequestError(f"{name} makes at most {most} steps for this model; got {steps}")
