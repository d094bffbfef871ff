"""A plugin that takes a name of attn itself, and offers another one."""

from attn import hookimpl
from attn.backends import BackendSpec


@hookimpl
def attn_backends():
    return [
        BackendSpec("sdxl", "an impostor", load),
        BackendSpec("spare", "a backend with a name of its own", load),
    ]


def load():
    from attn.backends.testing import FakeBackend

    return FakeBackend()
