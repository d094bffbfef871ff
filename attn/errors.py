"""Every error that `attn` expects, in one tree.

AttnError                     expected: the command line prints its message and exits 1
├── UsageError                the call itself is wrong (exit 2): backend, prompt, option
├── RequestError              this model cannot do what was asked: size, layers, blocks, budget
├── ModelError                a checkpoint could not be found, read or trusted
├── CaptureError              attention could not be recorded exactly
├── TraceError                a trace could not be written or read
│   └── DamagedError          what is there is not what was written
├── AnalysisError             an analysis cannot run on this trace
├── OutputError               standard output takes nothing
└── PluginError               a backend package is broken or in conflict with another

A message says what failed, where, what was found and expected, and what to do. Anything else that
is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from attn.visible import visible


class AttnError(Exception):
    """An expected failure; the message is written for the person who typed the command.

    What files say in it cannot steer a terminal, see `visible`.
    """

    exit_code = 1

    def __str__(self) -> str:
        """Return the message."""
        return visible(super().__str__())


class UsageError(AttnError):
    """The call is wrong whatever the model or the data."""

    exit_code = 2


class RequestError(AttnError):
    """The model cannot do what was asked."""


class ModelError(AttnError):
    """A checkpoint could not be found, read or trusted."""


class CaptureError(AttnError):
    """Attention could not be recorded exactly."""


class TraceError(AttnError):
    """A trace could not be written or read."""


class DamagedError(TraceError):
    """A file of a trace or of results is not as it was written."""


class AnalysisError(AttnError):
    """An analysis cannot run on this trace."""


class OutputError(AttnError):
    """Standard output takes nothing."""


class PluginError(AttnError):
    """A backend package is broken or in conflict with another."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known name, or nothing."""
    close = get_close_matches(name, list(names), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
