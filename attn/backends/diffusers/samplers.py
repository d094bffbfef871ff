"""Which sampler a name stands for, and how a model's own gives way to it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import diffusers

from attn.backends.loading.explain import first_line
from attn.backends.loading.quiet import quiet
from attn.errors import RequestError, did_you_mean

DEFAULTS = "_use_default_values"
"""Where a configuration of diffusers lists which of its settings nobody has set."""
FLOW = "flowmatch"
"""Beginning of the names of flow samplers; it may be left out for a flow model."""

SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
NAMES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpm_2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}),
    "PLMS": ("PNDMScheduler", {}),
    "DEIS": ("DEISMultistepScheduler", {}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "uni_pc_bh2": ("UniPCMultistepScheduler", {"solver_type": "bh2"}),
    "DPM": ("DPMSolverMultistepScheduler", {}),
    "dpm2m": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2},
    ),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", SDE),
    "DPM++ 2M SDE Heun": ("DPMSolverMultistepScheduler", SDE | {"solver_type": "heun"}),
    "DPM++ 3M SDE": ("DPMSolverMultistepScheduler", SDE | {"solver_order": 3}),
    "DPM++ 2S": ("DPMSolverSinglestepScheduler", {}),
}
"""What A1111 and ComfyUI call samplers whose class is called otherwise: the class, and settings.

Only letters, digits and `++` (which may be `pp`) of a name count, so that `dpmpp_2m_sde` is among
them; `_gpu` at its end is left out."""

DISTILLED = "it draws only with models that were distilled for it"
ABSENT = "diffusers does not have it"
REFUSED: dict[str, str] = {
    "LCM": DISTILLED,
    "TCD": DISTILLED,
    "FlowMatchLCM": DISTILLED,
    "EDMEuler": "it takes models with another input and noise",
    "EDMDPMSolverMultistep": "it takes models with another input and noise",
    "DPM++ SDE": "diffusers draws its noise without the seed, so no run would be like another",
    "DPMSolverSDE": "diffusers draws its noise without the seed, so no run would be like another",
    "DPM++ 2S a": f"{ABSENT}; DPM++ 2S is the same without noise",
    "dpmpp_2s_ancestral": f"{ABSENT}; DPM++ 2S is the same without noise",
    "ipndm": "diffusers has it for models of sound only",
    "ipndm_v": "diffusers has it for models of sound only",
    **dict.fromkeys(
        (
            *("DPM fast", "DPM adaptive", "Restart", "DDIM CFG++", "heunpp2", "euler_cfg_pp"),
            *("euler_ancestral_cfg_pp", "dpmpp_2m_cfg_pp", "dpmpp_2s_ancestral_cfg_pp"),
            *("res_multistep", "gradient_estimation", "er_sde", "seeds_2", "seeds_3"),
        ),
        ABSENT,
    ),
}
"""Samplers that are known by name and not used, and why."""

SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
SPACING = "timestep_spacing"
SCHEDULES: dict[str, tuple[str, Any]] = {
    "karras": ("use_karras_sigmas", True),
    "exponential": ("use_exponential_sigmas", True),
    "beta": ("use_beta_sigmas", True),
    "sgm_uniform": (SPACING, "trailing"),
    "simple": (SPACING, "trailing"),
    "normal": (SPACING, "linspace"),
    "uniform": (SPACING, "linspace"),
    "ddim_uniform": (SPACING, "leading"),
}
"""How steps are spread over the noise, which may end a sampler's name: the setting that does it."""
NO_SCHEDULES = (
    *("polyexponential", "kl_optimal", "align_your_steps", "linear_quadratic", "turbo"),
    "automatic",
)
"""Others, which diffusers does not have."""

ZERO_SNR = "rescale_betas_zero_snr"
FLOW_SIGMAS, FLOW_SHIFT = "use_flow_sigmas", "flow_shift"
"""Of samplers that were made for noise and betas, and sample flows too."""
OF_MODEL = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", ZERO_SNR, "shift"),
)
"""Settings that a model was trained with. They pass on even where they are a class's defaults,
because other classes have other ones."""
OF_CLASS = (
    *("algorithm_type", "solver_type", "solver_order", "lower_order_final", "euler_at_final"),
    *("final_sigmas_type", "variance_type", "interpolation_type"),
)
"""Settings that mean something else, or nothing, to another class."""
LATENTS = {"clip_sample": False, "thresholding": False}
"""Latents are not confined to -1 … 1 as pictures are, which some classes clip by default."""


@dataclass(frozen=True)
class Sampler:
    """What a name stands for.

    Attributes:
        label: a key of `NAMES`, or what the class is called.
        short: the class, see `shorten`.
        settings: of the class, and of the schedule.
        schedule: a key of `SCHEDULES`, or nothing.
    """

    label: str
    short: str
    settings: dict[str, Any]
    schedule: str


@lru_cache
def read(name: str) -> Sampler:
    """Find out what a name stands for, whether or not there is such a sampler.

    Raises:
        RequestError: it is known, and not used; or its schedule is.
    """
    plain, schedule = _split(name)
    plain = plain.removesuffix("gpu")
    for label, (cls, settings) in NAMES.items():
        if shorten(label) == plain:
            return Sampler(label, shorten(cls), _with_schedule(settings, schedule), schedule)
    return Sampler(plain, plain, _with_schedule({}, schedule), schedule)


@lru_cache(2**10)  # all names are compared for each trace of a run
def shorten(name: str) -> str:
    """Return a name in small letters and digits, without what all classes are called."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower().replace("++", "pp"))
    return plain.replace("scheduler", "").replace("discrete", "") or plain


def _split(name: str) -> tuple[str, str]:
    """Take the schedule off the end of a name; of schedules that do the same, the first."""
    plain = shorten(name)
    for schedule in sorted((*SCHEDULES, *NO_SCHEDULES), key=len, reverse=True):
        sampler = plain.removesuffix(shorten(schedule))
        if sampler in ("", plain):
            continue
        if schedule in NO_SCHEDULES:
            raise RequestError(
                f"scheduler '{name}': diffusers does not spread steps as '{schedule}' does; "
                f"there are {', '.join(SCHEDULES)}"
            )
        same = (other for other, setting in SCHEDULES.items() if setting == SCHEDULES[schedule])
        return sampler, next(same)
    return plain, ""


def _with_schedule(settings: Mapping[str, Any], schedule: str) -> dict[str, Any]:
    if not schedule:
        return dict(settings)
    name, value = SCHEDULES[schedule]
    return {**settings, **dict.fromkeys(SIGMAS, False), name: value}


def choose(current: Any, name: str) -> Any:
    """Return another scheduler of the same kind, with the current one's configuration.

    Args:
        current: the model's own scheduler.
        name: class name, short (`heun` for HeunDiscreteScheduler), or as A1111 and ComfyUI call it,
            also with a schedule behind it (`dpm++2m-karras`); `default` is the current one.

    Raises:
        RequestError: unknown, not of the model's kind, or unable to begin with pure noise where
            the model was trained to.
    """
    if name == "default":
        return current
    current_name = shorten(type(current).__name__)
    sampler = read(name)
    if _flows(current) and not sampler.short.startswith(FLOW):
        fitting = {shorten(cls.__name__) for cls in compatible(current)}
        short = sampler.short if sampler.short in fitting else FLOW + sampler.short
        sampler = replace(sampler, short=short)
    has_settings = all(current.config.get(key) == value for key, value in sampler.settings.items())
    if sampler.short == current_name and has_settings:
        return current
    cls = _find(current, name, sampler)
    # not all classes begin with pure noise otherwise
    spacing: dict[str, Any] = {SPACING: "trailing"} if current.config.get(ZERO_SNR) else {}
    if FLOW_SHIFT in current.config and takes(cls, "shift"):
        spacing["shift"] = current.config[FLOW_SHIFT]
    try:
        return derive(current, cls, spacing | LATENTS | sampler.settings)
    except ImportError as exc:
        raise RequestError(f"scheduler '{name}' needs another package: {first_line(exc)}") from exc
    except (TypeError, ValueError, NotImplementedError) as exc:
        raise RequestError(f"scheduler '{name}' does not fit this model: {exc}") from exc


def derive(current: Any, cls: type[Any], settings: dict[str, Any]) -> Any:
    """Return a scheduler of a class that samples the same model.

    Args:
        current: the scheduler that it is made from; it stays as it is.
        cls: its class.
        settings: that are to be others than those of the current one.
    """
    config = dict(current.config)
    left = {DEFAULTS, *config.get(DEFAULTS, ())} - set(OF_MODEL)
    if cls is not type(current):
        left |= set(OF_CLASS)
    with quiet():  # settings that the other class does not know, and keeps for others
        return cls.from_config({k: v for k, v in config.items() if k not in left} | settings)


def title(current: Any, name: str) -> str:
    """Return the class of a chosen scheduler, or what tells it from the plain one of its class.

    `choose` finds the same scheduler by it.

    Args:
        current: the model's own scheduler.
        name: see `choose`.
    """
    scheduler, sampler = choose(current, name), read(name)
    cls = type(scheduler).__name__
    for simpler in (cls, f"{cls} {sampler.schedule}"):
        if _settings(choose(current, simpler)) == _settings(scheduler):
            return simpler
    return f"{sampler.label} {sampler.schedule}".rstrip()


def _settings(scheduler: Any) -> dict[str, Any]:
    return {name: value for name, value in scheduler.config.items() if not name.startswith("_")}


def _find(current: Any, name: str, sampler: Sampler) -> type[Any]:
    """Return the class of a sampler that fits the model.

    Raises:
        RequestError: there is none, or it cannot do what is asked.
    """
    classes: dict[str, Any] = {shorten(cls.__name__): cls for cls in compatible(current)}
    names = ", ".join(sorted(classes))
    for refused, reason in REFUSED.items():
        if shorten(refused) in (sampler.label, sampler.short):
            raise RequestError(f"scheduler '{name}': {reason}; there are {names}")
    if sampler.short not in classes:
        raise RequestError(
            f"no scheduler '{name}' for this model; there are {names}."
            + did_you_mean(sampler.short, classes)
        )
    cls: type[Any] = classes[sampler.short]
    if current.config.get(ZERO_SNR):
        _require_pure_noise(cls, name, sampler, classes)
    if sampler.schedule:
        _require_setting(cls, name, sampler, classes)
    return cls


def _require_pure_noise(
    cls: type[Any], name: str, sampler: Sampler, classes: Mapping[str, type[Any]]
) -> None:
    """Refuse what does not begin where a model with zero-terminal SNR does, or stays there."""
    is_sde = sampler.settings.get("algorithm_type") == SDE["algorithm_type"]
    if sampler.schedule == "beta" or (is_sde and sampler.schedule == "karras"):
        raise RequestError(
            f"scheduler '{name}': with zero-terminal SNR, which this model was trained to, too "
            f"many steps of '{sampler.schedule}' fall into pure noise, and the scene is not what "
            "was asked for; take exponential, or no schedule"
        )
    if takes(cls, ZERO_SNR) and sampler.settings.get(SPACING) != "leading":
        return
    able = sorted(other for other, cls_of_other in classes.items() if takes(cls_of_other, ZERO_SNR))
    raise RequestError(
        f"scheduler '{name}' cannot begin with pure noise (zero-terminal SNR), which this "
        f"model was trained to; those that can are {', '.join(able)}"
    )


def _require_setting(
    cls: type[Any], name: str, sampler: Sampler, classes: Mapping[str, type[Any]]
) -> None:
    """Refuse a schedule that a class does not have."""
    setting, _ = SCHEDULES[sampler.schedule]
    if takes(cls, setting):
        return
    able = sorted(other for other, cls_of_other in classes.items() if takes(cls_of_other, setting))
    raise RequestError(
        f"scheduler '{name}': {cls.__name__} does not spread its steps as '{sampler.schedule}' "
        f"does; those that do are {', '.join(able) or 'none of this model'}"
    )


def clipping(scheduler: Any) -> str:
    """Return the setting by which a scheduler confines its latents to -1 … 1, or nothing."""
    config = scheduler.config
    active = (name for name in LATENTS if takes(type(scheduler), name) and config.get(name))
    return next(active, "")


def takes(cls: type, setting: str) -> bool:
    """Whether a class of schedulers has a setting."""
    return setting in inspect.signature(cls).parameters


def compatible(current: Any) -> list[type[Any]]:
    """Return the classes that can take a scheduler's place."""
    names = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
    flows = [getattr(diffusers, name) for name in names]
    if type(current).__name__.startswith("FlowMatch"):
        return flows
    refused = {shorten(name) for name in REFUSED}  # of which diffusers lists some for everybody
    usual = [cls for cls in current.compatibles if shorten(cls.__name__) not in refused]
    if _flows(current):
        return [*(cls for cls in usual if takes(cls, FLOW_SIGMAS)), *flows]
    return usual


def _flows(current: Any) -> bool:
    """Whether a scheduler samples a flow."""
    is_flow = shorten(type(current).__name__).startswith(FLOW)
    return is_flow or bool(current.config.get(FLOW_SIGMAS))
