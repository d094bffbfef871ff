"""Code of strangers that runs while plugins are loaded can neither end the process nor stop it.

It may raise anything, leave the process, print, set alarms, start threads, loop or wait for ever.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from time import monotonic
from traceback import format_exception_only
from typing import Any, NoReturn

from attn.errors import PluginError
from attn.visible import visible

PATIENCE = 5.0
"""Seconds after which the user is told what is waited for."""
LIMIT = 60.0
"""Seconds after which a plugin counts as one that never ends."""


_ALONE = threading.RLock()
"""What is changed for the whole process is put back before another thread changes it."""


class Endless(BaseException):
    """Code of a stranger took longer than `LIMIT`; no `except Exception` in it catches this."""


@contextmanager
def contained(what: str, *, is_limited: bool = True) -> Iterator[None]:
    """Run a stranger's code in the block; whatever it raises leaves the block as an `Exception`.

    What it prints goes to stderr, `os._exit` raises, alarms that it sets are off afterwards, and
    threads that it starts are daemons.
    Ctrl-C stays Ctrl-C. The time limit needs the main thread; elsewhere there is none.

    Args:
        what: what is waited for, as the user is told.
        is_limited: whether the block is ended after `LIMIT` seconds.

    Raises:
        PluginError: caused by what is raised and is no `Exception`: SystemExit, GeneratorExit, …
    """
    interrupts: list[int] = []

    def interrupt(number: int, frame: Any) -> NoReturn:
        interrupts.append(number)
        raise KeyboardInterrupt

    with (
        _ALONE,
        redirect_stdout(sys.stderr),
        _no_exit(),
        _daemons(),
        _signals(interrupt, what, is_limited),
    ):
        try:
            yield
        except Exception:
            raise
        except BaseException as error:
            if interrupts:
                raise
            raise PluginError("".join(format_exception_only(error)).strip()) from error


@contextmanager
def _no_exit() -> Iterator[None]:
    """Let `os._exit` raise, which would end the process without a word."""

    def leave(status: int) -> NoReturn:
        raise SystemExit(f"os._exit({status})")

    leave_at_once = os._exit
    os._exit = leave
    try:
        yield
    finally:
        os._exit = leave_at_once


@contextmanager
def _daemons() -> Iterator[None]:
    """Let no thread that the code starts keep Python from ending, which waits for all but daemons.

    What other threads of this process start meanwhile stays as it is.
    """
    here, start = threading.get_ident(), threading.Thread.start

    def start_daemon(thread: threading.Thread) -> None:
        if threading.get_ident() == here and not thread.is_alive():
            thread.daemon = True
        start(thread)

    threading.Thread.start = start_daemon  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]


@contextmanager
def _signals(interrupt: Any, what: str, is_limited: bool) -> Iterator[None]:
    """Handle Ctrl-C and the alarm of the time limit ourselves, and restore both."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    began = monotonic()

    def alarm(number: int, frame: Any) -> None:
        if monotonic() - began >= LIMIT:
            raise Endless(f"it did not end within {LIMIT:g} seconds")
        sys.stderr.write(visible(f"still waiting for {what} ...\n"))
        signal.setitimer(signal.ITIMER_REAL, LIMIT - PATIENCE)

    handlers = {
        number: signal.signal(number, handler)
        for number, handler in ((signal.SIGINT, interrupt), (signal.SIGALRM, alarm))
    }
    rest, _ = signal.setitimer(signal.ITIMER_REAL, PATIENCE if is_limited else 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, rest)
        for number, handler in handlers.items():
            signal.signal(number, handler)
