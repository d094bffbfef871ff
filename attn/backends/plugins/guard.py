"""Backends of other packages at work: errors in their code name the package and the member.

A stranger's backend and session answer through guards, which check every answer (`answers`); what
their code raises keeps its traceback, and gets a note that names package, method and line.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.backends.plugins.advice import advice, one_line, remedy
from attn.backends.plugins.answer_types import AnswerError, as_declared, require_type, returned
from attn.backends.plugins.entry_points import BUILTIN_PACKAGE, Registered, whose
from attn.backends.plugins.registry import load
from attn.backends.plugins.validation import (
    check_branches,
    check_call,
    check_layers,
    check_order,
    check_outputs,
    check_request,
    check_sequence,
    check_towers,
)
from attn.backends.types import AUTOMATIC, Backend, ModelInfo, OnCall, Output, Placement, Session
from attn.errors import AttnError, CaptureError, PluginError
from attn.schema import Call, Layer, LayerKey, Lora, Request
from attn.schema import Sequence as TokenSequence

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

Outcome = Callable[[], Mapping[str, "np.ndarray"]]
KIT = "attn.backends.testing.check_backend"
Attributing = Callable[[str], AbstractContextManager[None]]
"""Makes of a method's name what puts a name to what goes wrong inside."""


def guarded(registered: Registered) -> Backend:
    """Load a backend; one of another package, and its sessions, come guarded.

    Raises:
        PluginError: see `registry.load`.
    """
    backend = load(registered)
    if registered.distribution == BUILTIN_PACKAGE:
        return backend
    attributing = partial(attributed, registered)
    ask = partial(_ask, attributing, Backend, backend)

    class Guarded(Backend):
        Options = backend.Options
        example_prompt = backend.example_prompt
        request_options = backend.request_options
        demo_note = backend.demo_note
        variants = backend.variants

        def note_on_demo(self, model: str) -> str:
            return str(ask("note_on_demo", model))

        def default_model(self, options: Any) -> str:
            return str(ask("default_model", options))

        def complete_loras(self, loras: Sequence[Lora]) -> tuple[Lora, ...]:
            return tuple(ask("complete_loras", loras))

        def open(self, source: object, options: Any, placement: Placement = AUTOMATIC) -> Session:
            return GuardedSession(ask("open", source, options, placement), attributing)

    return Guarded()


@contextmanager
def capture_attributed(registered: Registered) -> Iterator[None]:
    """Attribute attention that cannot be recorded in this block to the plugin's backend."""
    try:
        yield
    except CaptureError as error:
        if registered.distribution == BUILTIN_PACKAGE:
            raise
        raise CaptureError(
            f"{error} ({whose(registered)}; "
            f"{remedy(registered.distribution, f'find the method to mend with {KIT}')})"
        ) from error


@contextmanager
def attributed(registered: Registered, member: str) -> Iterator[None]:
    """Attribute errors raised in this block to the plugin that owns the backend.

    Raises:
        PluginError: an answer was not what it must be, or the code ended the process.
    """
    is_builtin = registered.distribution == BUILTIN_PACKAGE
    # what a plugin prints must not end up in the output of --json
    quiet = nullcontext() if is_builtin else redirect_stdout(sys.stderr)
    try:
        with quiet:
            yield
    except (Exception, SystemExit) as error:
        is_expected = isinstance(error, AttnError) and not isinstance(error, AnswerError)
        if is_builtin or is_expected:
            raise
        if isinstance(error, SystemExit):
            error = AnswerError(one_line(error), "raise an error of attn.errors")
        if not isinstance(error, AnswerError):
            error.add_note(_note(registered, member, error))
            raise
        raise PluginError(
            f"{whose(registered)}: {member}{error.location}: {error.problem}; "
            f"{remedy(registered.distribution, error.fix)}"
        ) from error


class GuardedSession(Session):
    """Another session, whose answers are checked."""

    def __init__(self, session: Session, attributing: Attributing) -> None:
        self._session = session
        self._signing = attributing
        self._unfilled = ""
        self.info = replace(self._attribute("info", ModelInfo), identity=self._identity)
        self.warnings = self._attribute("warnings", tuple[str, ...])
        self.weighs_words = self._attribute("weighs_words", bool)
        self.shows_pictures = self._attribute("shows_pictures", bool)

    def complete(self, request: Request) -> Request:
        """See `Session.complete`."""
        self._unfilled = ""
        completed: Request = self._ask("complete", request, check=check_request)
        names = ("guidance", "width", "height")
        self._unfilled = ", ".join(name for name in names if getattr(completed, name) is None)
        return completed

    def remarks(self, request: Request, completed: Request) -> tuple[str, ...]:
        """See `Session.remarks`."""
        return tuple(self._ask("remarks", request, completed))

    def branches(self, request: Request) -> tuple[str, ...]:
        """See `Session.branches`."""
        return tuple(self._ask("branches", request, check=check_branches))

    def towers(self) -> Mapping[str, nn.Module]:
        """See `Session.towers`."""
        towers: Mapping[str, nn.Module] = self._ask("towers", check=check_towers)
        return towers

    def layers(self, request: Request) -> tuple[Layer, ...]:
        """See `Session.layers`."""
        sequence = self.sequence(request, self.branches(request)[0])
        check = partial(check_layers, towers=self.towers(), sequence=sequence)
        return tuple(self._ask("layers", request, check=check))

    def sequence(self, request: Request, branch: str) -> TokenSequence:
        """See `Session.sequence`."""
        check = partial(check_sequence, branch=branch, prompt=request.prompt_of(branch))
        sequence: TokenSequence = self._ask("sequence", request, branch, check=check)
        return sequence

    def spans(self, request: Request) -> tuple[tuple[int, int], ...]:
        """See `Session.spans`."""
        return tuple(self._ask("spans", request))

    def left_out(self, request: Request) -> tuple[LayerKey, ...]:
        """See `Session.left_out`."""
        return tuple(self._ask("left_out", request))

    def concept_modules(self, request: Request) -> Mapping[LayerKey, str]:
        """See `Session.concept_modules`."""
        return dict(self._ask("concept_modules", request))

    def concept_lengths(self, request: Request) -> tuple[int, ...]:
        """See `Session.concept_lengths`."""
        return tuple(self._ask("concept_lengths", request))

    def generate(self, requests: Sequence[Request], on_call: OnCall | None) -> list[Output]:
        """See `Session.generate`."""
        heard = None if on_call is None else self._hearing(requests, on_call)
        check = partial(check_outputs, requests=requests)
        self._session.watch, self._session.keeps_forming = self.watch, self.keeps_forming
        return list(self._ask("generate", requests, heard, check=check))

    def check(self) -> None:
        """See `Session.check`."""
        self._ask("check")

    def _ask(
        self, member: str, *arguments: Any, check: Callable[[Any], None] = lambda answer: None
    ) -> Any:
        return _ask(self._hinting, Session, self._session, member, *arguments, check=check)

    @contextmanager
    def _hinting(self, name: str) -> Iterator[None]:
        """Add what `complete` left out, which may be why something later goes wrong."""
        with self._signing(name):
            try:
                yield
            except Exception as error:
                hint = f"complete() left {self._unfilled} None: fill in what the model has"
                if self._unfilled and isinstance(error, AnswerError):
                    error.fix = f"{error.fix} ({hint})"
                elif self._unfilled and not isinstance(error, AttnError):
                    error.add_note(hint)
                raise

    def _attribute(self, name: str, kind: Any) -> Any:
        with self._signing(f"session.{name}"):
            value = as_declared(getattr(self._session, name, None), kind)
            require_type(value, kind, "set it in __init__")
        return value

    def _identity(self) -> dict[str, Any]:
        with self._signing("session.info.identity()"):
            identity = self._session.info.identity()
            require_type(identity, dict[str, Any], "return the sha256 or the revision of the model")
        return identity

    def _hearing(self, requests: Sequence[Request], on_call: OnCall) -> OnCall:
        """Return a function that checks an announcement before passing it on."""
        towers, branches = self.towers(), self.branches(requests[0])
        samples, steps = len(requests) * requests[0].images, requests[0].steps or 1
        before = -1

        def hear(call: Call) -> None:
            nonlocal before
            with self._hinting("session.generate(), on_call(call)"):
                require_type(call, Call, "give it a Call with all that plugins.md lists")
                check_call(call, towers, branches, samples)
                check_order(call, before, steps)
            before = call.step
            if call.outcome is not None:
                call = replace(call, outcome=partial(self._outcome, call.outcome))
            on_call(call)

        return hear

    def _outcome(self, outcome: Outcome) -> Mapping[str, np.ndarray]:
        import numpy as np

        with self._hinting("session.generate(), call.outcome()"):
            values = outcome()
            require_type(values, Mapping[str, np.ndarray], "return all of STEP_MEASURES")
        return values


def _ask(
    attributing: Attributing,
    owner: type,
    target: object,
    member: str,
    *arguments: Any,
    check: Callable[[Any], None] = lambda answer: None,
    **keywords: Any,
) -> Any:
    """Call a member of the plugin interface and check what it returns."""
    name = f"session.{member}()" if owner is Session else f"{member}()"
    declared = f"{owner.__name__}.{member}"
    with attributing(name):
        try:
            answer = getattr(target, member)(*arguments, **keywords)
        except TypeError as error:
            if len(list(traceback.walk_tb(error.__traceback__))) > 1:
                raise
            raise AnswerError(
                one_line(error), f"give it the arguments of attn.backends.{declared}"
            ) from error
        except StopIteration as error:  # none may pass through the generators around this
            raise RuntimeError(one_line(error)).with_traceback(error.__traceback__) from error
        kind = returned(getattr(owner, member))
        answer = as_declared(answer, kind)
        require_type(answer, kind, f"return what plugins.md says of {declared}")
        check(answer)
    return answer


def _note(registered: Registered, member: str, error: BaseException) -> str:
    """Describe where an error was raised: in the package, or in `attn` observing it."""
    package = str(getattr(registered.spec.load, "__module__", "")).partition(".")[0]
    frames = list(traceback.walk_tb(error.__traceback__))
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in frames]
    positions = [index for index, name in enumerate(names) if name.partition(".")[0] == package]
    last = positions[-1] if positions else -1
    if positions and any(name.startswith("attn.engine.") for name in names[last:]):
        return (
            f"It happened while attn recorded {member}: {whose(registered)}. Report it to attn, "
            f"with what {KIT} says."
        )
    frame, line = frames[last]
    where = f"{frame.f_code.co_name}() ({Path(frame.f_code.co_filename).name}:{line})"
    fix = remedy(registered.distribution, advice(error, package, f"mend it and run {KIT}"))
    return f"It happened in {member}, {where}: {whose(registered)}; {fix}, or report it there."
