"""Families of models, ours and those of other packages: the face that plugin authors see.

    types        Backend, Session, BackendSpec, Output: what a family answers
    hookspecs    the one hook of a plugin
    shared       helpers for families of other packages
    builtin      our own families, offered through the same hook
    plugins/     finding packages, keeping their faults to themselves, checking their answers
    loading/     from a folder, file, hub id or demo to networks with all their weights
    diffusers/   the base of every family that is a pipeline of diffusers
    chat/        prompts as language models read them, in chat templates
    families/    one family each: all facts of it stand there
    testing/     the kit that every backend must pass, and a small fake

`plugins` finds a spec, its `load` imports a family, the family opens a `Session`, and the session
generates while it announces every forward to the engine. Families stand on `diffusers`, that on
`loading`, that on `types`.
"""

from attn.backends.hookspecs import hookimpl
from attn.backends.plugins.registry import Registered, find, installed, load
from attn.backends.types import (
    AUTOMATIC,
    Backend,
    BackendSpec,
    ModelInfo,
    OnCall,
    Output,
    Placement,
    Session,
    image_seed,
)

__all__ = [
    "AUTOMATIC",
    "Backend",
    "BackendSpec",
    "ModelInfo",
    "OnCall",
    "Output",
    "Placement",
    "Registered",
    "Session",
    "find",
    "hookimpl",
    "image_seed",
    "installed",
    "load",
]
