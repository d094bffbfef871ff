"""What stands in place of the built-in families; torch is not imported yet.

`held` draws pictures and takes drawings; `held-words` shows a text that is written, and has no pad,
which is most of the page's cost; both take LoRAs. `lost` cannot be loaded.
"""

from attn import hookimpl
from attn.backends import BackendSpec

STEPS = "ATTN_TEST_STEPS"
"""The variable with the path of the pipe that a byte for each step comes through."""
STEP, NO_MEMORY, NO_DISK = b"x", b"m", b"d"
"""What a model that waits is sent: to go on, or what it is to lack."""


@hookimpl
def attn_backends():
    """Offer all three."""
    return [
        BackendSpec("held", "waits before each step", _held, takes=("drawings", "loras")),
        BackendSpec("held-words", "the same, with a text", _held_words, takes=("loras",)),
        BackendSpec("lost", "cannot be loaded", _lost),
    ]


def _held():
    from tests.helpers.studio.family import HeldBackend

    return HeldBackend()


def _held_words():
    from tests.helpers.studio.family import HeldWords

    return HeldWords()


def _lost():
    raise ImportError("No module named 'flash_lost'")
