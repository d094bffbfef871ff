"""Models whose steps a test lets go: each waits for a byte that the test sends, by no clock.

`held` draws pictures, takes drawings and LoRAs; `held-words` shows a text that is written; `lost`
cannot be loaded.
"""

import os
from dataclasses import dataclass, field, replace

from PIL.Image import new

from attn import hookimpl
from attn.backends import BackendSpec
from attn.backends.testing.fake import FakeBackend, FakeOptions, FakeSession
from attn.backends.types import AUTOMATIC

STEPS = "ATTN_TEST_STEPS"
"""The variable with the path of the pipe that a byte for each step comes through."""


@hookimpl
def attn_backends():
    """Offer all three."""
    return [
        BackendSpec("held", "waits before each step", HeldBackend, takes=("drawings", "loras")),
        BackendSpec("held-words", "the same, with a text", HeldWords),
        BackendSpec("lost", "cannot be loaded", _lost),
    ]


def _lost():
    raise ImportError("No module named 'flash_lost'")


@dataclass(frozen=True)
class HeldOptions(FakeOptions):
    """Those of the fake family, and a drawing, which nothing reads but its loader."""

    sketch: str = field(default="auto", metadata={"help": "a drawing"})


class HeldSession(FakeSession):
    """Shows what it expects after each step, and waits before the next one."""

    def forming(self, step):
        """Return what is expected of the picture after a step."""
        return new("RGB", (5, 7), (step, 97, 31))

    def generate(self, requests, on_call):
        """Follow the velocity, step by step as the test wants it."""
        if on_call is None:
            return super().generate(requests, None)
        reached = -1

        def call(about):
            nonlocal reached
            on_call(about)
            if about.step > reached:
                reached = about.step
                if reached and self.watch is not None:
                    self.watch((self.forming(reached),))
                _wait()

        return super().generate(requests, call)


class WritingSession(HeldSession):
    """Shows a text."""

    def forming(self, step):
        """Return the text so far."""
        return "word " * step + "░"


def _wait():
    pipe = os.open(os.environ[STEPS], os.O_RDONLY)
    try:
        if os.read(pipe, 1) == b"m":
            raise MemoryError("what the test wants to see")
    finally:
        os.close(pipe)


class _Held(FakeBackend):
    """Opens any name."""

    session: type[HeldSession]

    def open(self, source, options, placement=AUTOMATIC):
        """Make the model; it waits while it generates."""
        made = super().open(source, options, placement)
        return self.session(made.model, made.info, options, made._dtype)


class HeldBackend(_Held):
    """Draws."""

    Options = HeldOptions
    session = HeldSession

    def complete_loras(self, loras):
        """Take any LoRA, which changes nothing."""
        return tuple(replace(lora, sha256="0" * 64) for lora in loras)


class HeldWords(_Held):
    """Writes."""

    session = WritingSession
