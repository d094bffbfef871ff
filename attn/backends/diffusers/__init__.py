"""The public base of every family that is a pipeline of diffusers: subclass two classes.

    session              a loaded pipeline: completing requests, reading prompts, generating
    joint                the same of pipelines whose text and image are one sequence
    videos               the same of pipelines that draw videos
    backend              opening folders, files, hub ids, demos, pipelines that are loaded
    calls                announcing forwards: guidance rows in one batch, or in a call each
    adapters             LoRAs, put in for one batch and taken out without a trace, by the layers
                         of adapter_layers
    samplers, schedules  samplers by name; their steps, timesteps, noise
    texts/               what text encoders read of prompts, with offsets and words
    forming              what a sampler expects of the finished image, step by step
    concepts             words outside the prompt, encoded alone
    components           what of a loaded pipeline changes the picture
    finite               pictures that are not numbers are refused, with the first place
    pictures, sizes      pictures that exist already; which sizes a model draws
    sharing              one pipeline, one thread

A family declares its parts (`Family`, `Part`) on a `DiffusersBackend`, and on a `DiffusersSession`
its text encoders, the segments they fill, and its layers; the methods of both that a family may
override have no underscore. plugins.md has one in 60 lines, the families here have the rest.

The names of `__all__` are public, and loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attn.backends.diffusers.adapters import Adapters
    from attn.backends.diffusers.backend import DiffusersBackend
    from attn.backends.diffusers.calls import Pipeline, Tower, announcing
    from attn.backends.diffusers.finite import finite_pictures, finite_steps
    from attn.backends.diffusers.joint import JointSession
    from attn.backends.diffusers.session import DiffusersSession
    from attn.backends.diffusers.texts.encoders import Encoder, labels_checked, unknown_tokens
    from attn.backends.diffusers.texts.prompts import Prompts
    from attn.backends.diffusers.texts.templates import Template, chat
    from attn.backends.diffusers.texts.tokens import Convert, TypedText, decode
    from attn.backends.diffusers.videos import VideoSession
    from attn.backends.loading.family import Family, Joint, ModelOptions, Part, SourceOptions
    from attn.backends.loading.recipe import Recipe
    from attn.backends.loading.source import Source

__all__ = [
    "Adapters",
    "Convert",
    "DiffusersBackend",
    "DiffusersSession",
    "Encoder",
    "Family",
    "Joint",
    "JointSession",
    "ModelOptions",
    "Part",
    "Pipeline",
    "Prompts",
    "Recipe",
    "Source",
    "SourceOptions",
    "Template",
    "Tower",
    "TypedText",
    "VideoSession",
    "announcing",
    "chat",
    "decode",
    "finite_pictures",
    "finite_steps",
    "labels_checked",
    "unknown_tokens",
]

_HOMES = {
    "diffusers.adapters": ("Adapters",),
    "diffusers.backend": ("DiffusersBackend",),
    "diffusers.calls": ("Pipeline", "Tower", "announcing"),
    "diffusers.texts.encoders": ("Encoder", "labels_checked", "unknown_tokens"),
    "diffusers.finite": ("finite_pictures", "finite_steps"),
    "diffusers.joint": ("JointSession",),
    "diffusers.texts.prompts": ("Prompts",),
    "diffusers.session": ("DiffusersSession",),
    "diffusers.texts.templates": ("Template", "chat"),
    "diffusers.texts.tokens": ("Convert", "TypedText", "decode"),
    "diffusers.videos": ("VideoSession",),
    "loading.family": ("Family", "Joint", "ModelOptions", "Part", "SourceOptions"),
    "loading.recipe": ("Recipe",),
    "loading.source": ("Source",),
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"attn.backends.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
