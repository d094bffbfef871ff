"""What a diffusers scheduler does, in the words of a trace: steps, timesteps, noise."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import diffusers
import numpy as np

from attn.backends._explain import explained, suspects
from attn.backends._quiet import quiet
from attn.backends._source import read_object
from attn.errors import ModelError, RequestError, did_you_mean

FLOW = "flowmatch"
"""Beginning of the names of flow samplers; it may be left out for a flow model."""

ALIASES = {
    "eulera": "eulerancestral",
    "dpm": "dpmsolvermultistep",
    "dpm2m": "dpmsolvermultistep",
    "dpmpp2m": "dpmsolvermultistep",
    "unipc": "unipcmultistep",
}
"""What other programs call some samplers."""

BETAS = {"linear": (0.0001, 0.02), "scaled_linear": (0.00085, 0.012)}

ZERO_SNR = "rescale_betas_zero_snr"
PREDICTIONS = {"v": "v_prediction", "epsilon": "epsilon"}

RUNGE_KUTTA_CALLS = 4
"""Forwards of one Runge-Kutta step, with which PNDM can begin."""


MOST = 10**6
"""Beyond any number in a scheduler's configuration: it would only fill the memory."""


def read(cls: type[Any], folder: Path) -> Any:
    """Return the scheduler that a folder describes.

    Raises:
        ModelError: its configuration cannot be read or used.
    """
    path = folder / cls.config_name
    settings = read_object(path)
    for name, value in settings.items():
        if isinstance(value, int) and abs(value) > MOST:
            raise ModelError(f"{path}: {name} is {value}; expected at most {MOST}")
    trained = settings.get("num_train_timesteps", 1)
    if not isinstance(trained, int) or trained < 1:
        raise ModelError(
            f"{path}: num_train_timesteps is {trained!a}; expected a number of 1 or more"
        )
    with explained(f"cannot use {path}", suspects(cls, settings)):
        return cls.from_config(settings)


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
    for call in range(warm, len(timesteps)):
        corrects = call > warm and timesteps[call : call + 1] == timesteps[call + 1 : call + 2]
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
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is None or scheduler.config.get("use_flow_sigmas"):
        return float(np.clip(timestep / scheduler.config.num_train_timesteps, 0, 1))
    alphas = np.asarray(alphas, dtype=np.float64)
    alpha = np.interp(timestep, np.arange(len(alphas)), alphas)
    return float(np.sqrt(np.clip(1 - alpha, 0, 1)))


def choose(current: Any, name: str) -> Any:
    """Return another scheduler of the same kind, with the current one's configuration.

    Args:
        current: the model's own scheduler.
        name: class name, or short (`heun` for HeunDiscreteScheduler); `default` is the current.

    Raises:
        RequestError: unknown, not of the model's kind, or unable to begin with pure noise where
            the model was trained to.
    """
    asked, own = name, _short(type(current).__name__)
    name = ALIASES.get(_short(name), _short(name))
    if own.startswith(FLOW) and not name.startswith(FLOW):
        name = name if name == "default" else FLOW + name
    if name in ("default", own):
        return current
    known: dict[str, Any] = {_short(cls.__name__): cls for cls in _compatible(current)}
    if name not in known:
        raise RequestError(
            f"no scheduler '{asked}' for this model; there are {', '.join(sorted(known))}."
            + did_you_mean(name, known)
        )
    if current.config.get(ZERO_SNR) and not _takes(known[name], ZERO_SNR):
        able = sorted(other for other, cls in known.items() if _takes(cls, ZERO_SNR))
        raise RequestError(
            f"scheduler '{asked}' cannot begin with pure noise (zero-terminal SNR), which this "
            f"model was trained to; those that can are {', '.join(able)}"
        )
    try:
        with quiet():  # settings that the other scheduler does not know
            return known[name].from_config(current.config)
    except ImportError as exc:
        reason = str(exc).strip().splitlines()[0]
        raise RequestError(f"scheduler '{name}' needs another package: {reason}") from exc
    except (TypeError, ValueError, NotImplementedError) as exc:
        raise RequestError(f"scheduler '{name}' does not fit this model: {exc}") from exc


def predicting(current: Any, prediction: str, *, zero_snr: bool) -> Any:
    """Return the scheduler for a model that predicts something else than its configuration says.

    With zero-terminal SNR, a scheduler that cannot do it gives way to DDIM.

    Args:
        current: the scheduler of the model's configuration; it stays as it is.
        prediction: `v` or `epsilon`.
        zero_snr: whether the last training timestep was pure noise.
    """
    config = dict(current.config) | {"prediction_type": PREDICTIONS[prediction], ZERO_SNR: zero_snr}
    cls = type(current)
    if zero_snr:
        config["timestep_spacing"] = "trailing"
        if not _takes(cls, ZERO_SNR):
            cls = diffusers.DDIMScheduler
            config.setdefault("clip_sample", False)  # latents are not confined to -1 … 1
    with quiet():
        return cls.from_config(config)  # keeps what it does not take for others made from it


def with_betas(current: Any, schedule: str) -> Any:
    """Return a scheduler of the same kind with another schedule of betas.

    Args:
        current: the scheduler of the model's configuration; it stays as it is.
        schedule: `linear`, with diffusers' own ends 0.0001 and 0.02, or `scaled_linear`, with those
            of Stable Diffusion.
    """
    start, end = BETAS[schedule]
    config = dict(current.config)
    config |= {"beta_schedule": schedule, "beta_start": start, "beta_end": end}
    with quiet():
        return type(current).from_config(config)


def predicted(scheduler: Any) -> str | None:
    """Return `v`, `epsilon`, or None for schedulers of flow models."""
    kinds = {kind: name for name, kind in PREDICTIONS.items()}
    return kinds.get(scheduler.config.get("prediction_type"))


def _takes(cls: type, setting: str) -> bool:
    return setting in inspect.signature(cls).parameters


def check_steps(scheduler: Any, steps: int) -> None:
    """Refuse numbers of steps that the scheduler cannot make.

    Raises:
        RequestError: too many, or for PNDM that begins with Runge-Kutta steps too few.
    """
    name = type(scheduler).__name__
    needs_prk = hasattr(scheduler, "prk_timesteps") and not scheduler.config.skip_prk_steps
    if needs_prk and steps < scheduler.pndm_order:
        raise RequestError(f"{name} needs at least {scheduler.pndm_order} steps; got {steps}")
    most = scheduler.config.num_train_timesteps
    if hasattr(scheduler, "alphas_cumprod") and steps > most:
        raise RequestError(f"{name} makes at most {most} steps for this model; got {steps}")


def _compatible(current: Any) -> list[type]:
    if type(current).__name__.startswith("FlowMatch"):
        names = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
        return [getattr(diffusers, name) for name in names]
    # EDM's is listed for everybody, but takes models with another input and noise
    return [cls for cls in current.compatibles if cls.__name__ != "EDMEulerScheduler"]


def _short(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return plain.replace("scheduler", "").replace("discrete", "") or plain
