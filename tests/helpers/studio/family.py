"""Models whose steps a test lets go: each waits for a byte that the test sends, by no clock."""

import errno
import os
from dataclasses import dataclass, field, replace

from PIL.Image import new

from attn.backends.testing.fake import FakeBackend, FakeOptions, FakeSession
from attn.backends.types import AUTOMATIC
from tests.helpers.studio.plugin import NO_DISK, NO_MEMORY, STEPS

WRITTEN = os.fsync


@dataclass(frozen=True)
class HeldOptions(FakeOptions):
    """Those of the fake family, and a drawing, which nothing reads but its loader."""

    sketch: str = field(default="auto", metadata={"help": "a drawing"})


class HeldSession(FakeSession):
    """Shows what it expects after each step, and waits before the next one."""

    def remarks(self, request, completed):
        """Tell whether there is a drawing."""
        sketch = completed.options.get("sketch", "auto")
        drawn = "something is drawn" if sketch.endswith(".png") else "nothing is drawn"
        return (*super().remarks(request, completed), drawn)

    def forming(self, step):
        """Return what is expected of the picture after a step."""
        return new("RGB", (5, 7), (step, 97, 31))

    def generate(self, requests, on_call):
        """Follow the velocity, step by step as the test wants it."""
        if on_call is None:
            return super().generate(requests, None)
        reached = -1
        os.fsync = WRITTEN

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
    sent = os.read(pipe, 1)
    os.close(pipe)
    if sent == NO_MEMORY:
        raise MemoryError("what the test wants to see")
    if sent == NO_DISK:
        os.fsync = _full


def _full(handle):
    raise OSError(errno.ENOSPC, "No space left on device")


class _Held(FakeBackend):
    """Opens any name."""

    session: type[HeldSession]
    lora_families = ("sdxl",)

    def open(self, source, options, placement=AUTOMATIC):
        """Make the model; it waits while it generates."""
        made = super().open(source, options, placement)
        return self.session(made.model, made.info, options, made._dtype)

    def complete_loras(self, loras):
        """Take any LoRA, which changes nothing."""
        return tuple(replace(lora, sha256="0" * 64) for lora in loras)


class HeldBackend(_Held):
    """Draws."""

    Options = HeldOptions
    session = HeldSession


class HeldWords(_Held):
    """Writes."""

    session = WritingSession
