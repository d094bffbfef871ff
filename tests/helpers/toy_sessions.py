"""Sessions of the fake family and of the demo models; tests that use them ask for `demo_cache`."""

from functools import cache

import pytest

from attn.backends import find, load
from attn.backends.testing import CHECKS, FakeBackend, calls_ordered, towers_exist
from attn.backends.types import Placement
from attn.errors import CaptureError


def open_session(name, source="demo", dtype="float32", **options):
    """Open a model of a test's own, on the CPU."""
    backend = FakeBackend() if name == "fake" else load(find(name))
    return backend.open(source, backend.Options(**options), Placement("cpu", dtype))


shared_session = cache(open_session)
"""The same, opened once for each choice: for tests that leave it as it is."""


def checks_of(*, guidance):
    """Return the checks of a case: without guidance the same modules are called otherwise."""
    return CHECKS if guidance > 1 else (towers_exist, calls_ordered)


def remarks(session, request):
    """Return what the user is told of a request."""
    return session.remarks(request, session.complete(request))


def refuse_misread(session, requests):
    """Check that a language model which reads another token in its last row is refused for it."""
    last = session.branches(requests[0])[-1]
    sequence = session.sequence(requests[-1], last)
    text, length = sequence.tokens[2], sequence.segments[-1].stop

    def change(module, args, options):
        rows = options["input_ids"].clone()
        rows[-1, rows.shape[1] - length + text.position] = 7
        return args, options | {"input_ids": rows}

    hook = session.model.register_forward_pre_hook(change, with_kwargs=True)
    try:
        with pytest.raises(CaptureError) as error:
            session.generate(requests, None)
    finally:
        hook.remove()
    assert str(error.value) == (
        f"the language model reads token 7 at position 2, where the prompt has {text.text!r} "
        f"(token {text.id})"
    )
