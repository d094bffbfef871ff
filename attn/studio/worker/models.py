"""The one model that is loaded, and what is made with it: in the worker."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from attn.backends import find
from attn.backends.plugins.guard import attributed, guarded
from attn.errors import UsageError
from attn.verbs.capture.capture import Captured, Shared, capture_with, open_session
from attn.verbs.capture.families import backend_options
from attn.verbs.capture.options import CaptureOptions
from attn.verbs.report import Report

if TYPE_CHECKING:
    from attn.backends.types import Backend, Preview, Session

Requested = dict[str, Any]
"""Arguments of `attn.capture`, as JSON has them; `model` is always there."""


class HeldModel:
    """A model that stays loaded until another one is asked for."""

    def __init__(self, show: Callable[[Preview], None], tell_loading: Callable[[], None]) -> None:
        """Hold nothing yet.

        Args:
            show: told after each step what the model expects of the outcome.
            tell_loading: told before a model is loaded.
        """
        self._show, self._tell_loading = show, tell_loading
        self._key: object = None
        self._session: Session | None = None
        self._planned: tuple[object, Session] | None = None

    def capture(self, requested: Requested, report: Report) -> Captured:
        """Capture with the model of a request.

        Raises:
            AttnError: see `attn.capture`.
        """
        options = _options(requested)
        shared = Shared(lambda: self._open(options), options.model)
        return capture_with(CaptureOptions(**requested | {"model": shared, "report": report}))

    def plan(self, requested: Requested) -> Captured:
        """Plan with it: with the model that is loaded, or without any weights.

        Raises:
            AttnError: see `attn.capture`.
        """
        options = _options(requested | {"dry_run": True, "report": Report()})
        shared = Shared(lambda: self._weightless(options), options.model)
        return capture_with(replace(options, model=shared))

    def _weightless(self, options: CaptureOptions) -> Session:
        """Return the session that is loaded, or one that can plan."""
        key = _key(options)
        if self._session is not None and self._key == key:
            return self._session
        if self._planned is None or self._planned[0] != key:
            self._planned = key, open_session(*_family(options), options)
        return self._planned[1]

    def _open(self, options: CaptureOptions) -> Session:
        key = _key(options)
        if self._session is None or self._key != key:
            self._session, self._key = None, None
            gc.collect()  # both do not fit into memory
            self._tell_loading()
            session = open_session(*_family(options), options)
            session.watch = self._show
            self._session, self._key = session, key
        return self._session


def plan(held: HeldModel, requested: Requested) -> dict[str, Any]:
    """Return what a request would keep, as the page tells it before the run.

    Raises:
        AttnError: the request cannot be run.
    """
    captured = held.plan(requested)
    planned = captured.plans[0]
    return {
        "bytes": captured.predicted_bytes,
        "steps": planned.steps,
        "layers": len(planned.layers),
        "level": planned.kept.level,
        "warnings": list(captured.warnings),
    }


def _options(requested: Requested) -> CaptureOptions:
    """Return the options of a request, which one model on one device can make.

    Raises:
        UsageError: it cannot, or an option cannot be meant.
    """
    options = CaptureOptions(**requested)
    if len(options.devices) > 1:
        raise UsageError(f"device: a run of the studio has one; got '{options.device}'")
    return options


def _family(options: CaptureOptions) -> tuple[Backend, object, Any]:
    """Return the family of a request, its model, and the family's options."""
    registered = find(options.backend)
    family = guarded(registered)
    with attributed(registered, "Options"):
        settings = backend_options(family.Options, registered.spec.name, options.backend_settings)
    return family, options.model, settings


def _key(options: CaptureOptions) -> object:
    """Return what two requests share that run with one session."""
    family, _, settings = _family(options)
    of_session = {
        name: value
        for name, value in asdict(settings).items()
        if name not in family.request_options
    }
    placement = options.device, options.dtype, options.offload
    return options.backend, str(options.model), repr(sorted(of_session.items())), placement
