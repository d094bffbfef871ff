"""What plugins and verbs need: the types of the plugin interface, and the installed backends."""

from attn.backends.hookspecs import hookimpl
from attn.backends.manager import Registered, find, installed, load
from attn.backends.types import Backend, BackendSpec, ModelInfo, OnCall, Output, Session, image_seed

__all__ = [
    "Backend",
    "BackendSpec",
    "ModelInfo",
    "OnCall",
    "Output",
    "Registered",
    "Session",
    "find",
    "hookimpl",
    "image_seed",
    "installed",
    "load",
]
