"""A plugin whose hook has another name."""

from attn import hookimpl
from attn.backends import BackendSpec


@hookimpl
def attn_backend():
    return [BackendSpec("misspelt", "never seen", load)]


def load():
    from attn.backends.testing import FakeBackend

    return FakeBackend()
