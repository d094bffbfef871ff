"""Backends of other packages at work: what goes wrong in them is said with whose it is.

A stranger's session answers through a `GuardedSession`, which checks the type of every answer;
what its code raises keeps its traceback, and gets a note that names the package.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from attn.backends.plugins import OWN, Registered, one_line
from attn.backends.types import Backend, ModelInfo, OnCall, Output, Session
from attn.errors import AttnError, CaptureError, PluginError
from attn.schema import Layer, Request
from attn.schema import Sequence as TokenSequence

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


@contextmanager
def blamed(registered: Registered) -> Iterator[None]:
    """Say of what goes wrong in here whose backend ran, if it is not one of ours."""
    if registered.distribution == OWN:
        yield
        return
    try:
        yield
    except CaptureError as error:
        raise CaptureError(
            f"{error} ({_whose(registered)}; its author finds the method to mend with "
            "attn.backends.testing.check_backend)"
        ) from error
    except Exception as error:
        place = None if isinstance(error, AttnError) else _place(error, registered)
        if place is not None:
            error.add_note(
                f"It happened in {place}: {_whose(registered)}. Report it there, or update "
                f"or uninstall {registered.distribution}."
            )
        raise


def open_session(
    registered: Registered, backend: Backend, source: object, options: Any, **placing: Any
) -> Session:
    """Open a model; a session of another package comes guarded.

    Raises:
        ModelError: see `Backend.open`.
        PluginError: `open` of another package takes other arguments, or gives no session.
    """
    if registered.distribution == OWN:
        return backend.open(source, options, **placing)
    try:
        session = backend.open(source, options, **placing)
    except TypeError as error:
        if _place(error, registered) is not None:
            raise
        raise PluginError(
            f"{_whose(registered)}: open(): {one_line(error)}; give it the arguments of "
            "attn.backends.Backend.open"
        ) from error
    if not isinstance(session, Session):
        _refuse(registered, "open()", session, "a Session")
    return GuardedSession(session, registered)


class GuardedSession(Session):
    """Another session, whose answers are checked for their type."""

    def __init__(self, session: Session, registered: Registered) -> None:
        self._session = session
        self._registered = registered
        for name, kind in (("info", ModelInfo), ("warnings", list)):
            found = getattr(session, name, None)
            if not isinstance(found, kind):
                _refuse(registered, f"session.{name}", found, f"a {kind.__name__}")
        self.info = session.info
        self.warnings = session.warnings

    def complete(self, request: Request) -> Request:
        """See `Session.complete`."""
        return self._one("complete", self._session.complete(request), Request)

    def branches(self, request: Request) -> tuple[str, ...]:
        """See `Session.branches`."""
        return self._several("branches", self._session.branches(request), str)

    def towers(self) -> Mapping[str, nn.Module]:
        """See `Session.towers`."""
        from torch import nn

        towers = self._one("towers", self._session.towers(), Mapping)
        self._several("towers", tuple(towers.values()), nn.Module)
        return towers

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """See `Session.layers`."""
        return self._several("layers", self._session.layers(request), Layer)

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """See `Session.sequence`."""
        return self._one("sequence", self._session.sequence(request, branch), TokenSequence)

    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """See `Session.generate`."""
        outputs = self._several("generate", self._session.generate(requests, on_call), Output)
        if len(outputs) != len(requests):
            raise PluginError(
                f"{_whose(self._registered)}: session.generate() gave {len(outputs)} outputs for "
                f"{len(requests)} requests; give one for each"
            )
        return list(outputs)

    def check(self) -> None:
        """See `Session.check`."""
        self._session.check()

    def _one(self, method: str, answer: T, kind: type[Any]) -> T:
        if not isinstance(answer, kind):
            _refuse(self._registered, f"session.{method}()", answer, f"a {kind.__name__}")
        return answer

    def _several(self, method: str, answer: Sequence[T], kind: type[Any]) -> tuple[T, ...]:
        """Return a list or tuple that has at least one item, all of one type."""
        wanted = f"a tuple or list of {kind.__name__}, not empty"
        if not (isinstance(answer, list | tuple) and answer):
            _refuse(self._registered, f"session.{method}()", answer, wanted)
        for item in answer:
            if not isinstance(item, kind):
                _refuse(self._registered, f"session.{method}()", item, wanted)
        return tuple(answer)


def _refuse(registered: Registered, member: str, found: object, wanted: str) -> NoReturn:
    is_empty = found is None or (type(found) in (list, tuple, dict, str) and not found)
    got = repr(found) if is_empty else type(found).__name__
    raise PluginError(
        f"{_whose(registered)}: {member} gave {got}, expected {wanted}; if it is yours, see "
        f"plugins.md, else update or uninstall {registered.distribution}"
    )


def _whose(registered: Registered) -> str:
    return (
        f"backend '{registered.spec.name}' is from {registered.distribution} {registered.version}"
    )


def _place(error: BaseException, registered: Registered) -> str | None:
    """Return function, file and line where the package's own code raised, or None."""
    package = str(getattr(registered.spec.load, "__module__", "")).partition(".")[0]
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == package
    ]
    if not frames:
        return None
    frame, line = frames[-1]
    return f"{frame.f_code.co_name}() ({Path(frame.f_code.co_filename).name}:{line})"
