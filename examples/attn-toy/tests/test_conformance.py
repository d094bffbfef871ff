"""What attn relies on, checked by the kit that it ships."""

import pytest

from attn.backends import Session, find, load
from attn.backends.testing import CHECKS, Check
from attn.schema import Request


@pytest.fixture(scope="module")
def session() -> Session:
    """The demo model, as `attn capture -b toy` opens it."""
    backend = load(find("toy"))
    return backend.open("demo", backend.Options(blocks=3))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Check, session: Session) -> None:
    """Every check passes; a failure names the method and the repair."""
    check(session, Request("a red cat on a chair", width=64, height=96, steps=3))
