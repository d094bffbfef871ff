"""What the command line prints: safe for any terminal, and standard output for results alone."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import suppress
from functools import partial
from signal import SIGINT
from threading import Timer
from typing import TYPE_CHECKING, TextIO

import typer

from attn.errors import OutputError
from attn.files.safe_text import visible

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

RESEND = 0.05
"""Seconds after which an interrupt that was lost is sent again."""


def say(text: str, *, err: bool = False) -> None:
    """Print text with a new line, on stderr if `err`.

    Characters that steer a terminal are spelled out, as are those that the stream's encoding lacks;
    JSON stays the same JSON by this. A stderr that is closed or full is no error.

    Raises:
        OutputError: standard output is closed or takes nothing, because the disk is full, say. A
            reader that has gone away (`| head`) is left to Typer, which is quiet about it.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        if stream is None:
            raise OSError(errno.EBADF, "it is closed")
        safe = _encodable(visible(text), stream.encoding or "utf-8")
        typer.echo(safe, err=err)  # noqa: TID251 - here it is made safe
    except OSError as exc:
        if exc.errno == errno.EPIPE:
            raise
        if not err:
            _give_up(stream)
            raise OutputError(
                f"could not write to standard output: {exc.strerror}; what the command wrote into "
                "files is complete"
            ) from exc


def _give_up(stream: TextIO | None) -> None:
    """Close standard output, so that Python does not try to write the rest when it ends."""
    if stream is not None:
        with suppress(OSError):
            stream.close()
    sys.stdout = None


def _encodable(text: str, encoding: str) -> str:
    """Return text with the characters that an encoding lacks spelled as in JSON."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(map(partial(_spelled, encoding=encoding), text))
    return text


def _spelled(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(character)[1:-1]
    return character


def keep_results_apart() -> None:
    """Let only this process's `sys.stdout` reach standard output.

    Whatever else writes to descriptor 1, a library in C or a program that is started, goes to
    stderr, so that the object of --json stays whole.
    """
    try:
        results = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of the two is closed
        return
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    sys.stdout = os.fdopen(results, "w", encoding=encoding, errors=errors)


def resend_lost_interrupts() -> None:
    """Send Ctrl-C again if it came while Python could not raise it, in a destructor, say."""
    report = sys.unraisablehook

    def resend(lost: UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            report(lost)
            return
        timer = Timer(RESEND, os.kill, (os.getpid(), SIGINT))  # a signal also ends a sleep
        timer.daemon = True
        timer.start()

    sys.unraisablehook = resend
