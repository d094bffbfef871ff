"""The installed backends: all of them, one by name, and each name given to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions

from attn.backends.plugins.advice import advice, one_line, repair
from attn.backends.plugins.answer_types import require_type
from attn.backends.plugins.contained import contained
from attn.backends.plugins.entry_points import (
    BUILTIN,
    BUILTIN_PACKAGE,
    Failure,
    Registered,
    ask,
    declared,
    misspelt,
    origin,
    whose,
)
from attn.backends.plugins.memory import require_room
from attn.backends.plugins.validation import check_declared
from attn.backends.types import Backend
from attn.errors import PluginError, UsageError, did_you_mean

__all__ = ["Failure", "Installed", "Registered", "find", "installed", "load", "takers"]


@dataclass(frozen=True)
class Installed:
    """All backends by name, all that could not be loaded, and what else is remarkable."""

    specs: tuple[Registered, ...]
    failures: tuple[Failure, ...]
    remarks: tuple[str, ...] = ()


@cache
def installed() -> Installed:
    """Load all plugins, once per process; tests start afresh with `installed.cache_clear()`."""
    entries, unreadable = declared(distributions())
    strangers = sorted(entries, key=lambda entry: (origin(entry), entry.name))
    answers = [ask(entry) for entry in (BUILTIN, *strangers)]
    offered = [item for answer in answers if not isinstance(answer, Failure) for item in answer]
    kept, conflicts = _settle(offered)
    return Installed(
        specs=tuple(sorted(kept, key=lambda item: item.spec.name)),
        failures=(
            *unreadable,
            *(answer for answer in answers if isinstance(answer, Failure)),
            *conflicts,
        ),
        remarks=misspelt(strangers, unreadable),
    )


def find(name: str) -> Registered:
    """Return the backend of that name or alias.

    Raises:
        UsageError: there is none, or it is installed but could not be loaded.
    """
    by_name = {each: item for item in installed().specs for each in item.names}
    if name in by_name:
        return by_name[name]
    for failure in installed().failures:
        if name in (failure.plugin, failure.distribution, *failure.names):
            raise UsageError(f"backend '{name}' is installed but cannot be used: {failure}")
    guess = did_you_mean(name.lower(), by_name)
    unknown = [failure for failure in installed().failures if not failure.names]
    raise UsageError(
        f"no backend '{name}'.{guess} Installed: {', '.join(sorted(by_name))}."
        + (" What these have is not known, because they cannot be used:" if unknown else "")
        + "".join(f"\n  {failure}" for failure in unknown)
    )


def takers(what: str) -> tuple[Registered, ...]:
    """Return the backends with this in `BackendSpec.takes`, those of this package first."""
    able = (item for item in installed().specs if what in item.spec.takes)
    return tuple(sorted(able, key=lambda item: item.distribution != BUILTIN_PACKAGE))


MISSING = (ImportError, MemoryError, OSError, RuntimeError)
"""What an import raises where memory or a package is missing."""


def load(registered: Registered) -> Backend:
    """Import a backend's family, which may take seconds.

    Raises:
        PluginError: a third party's backend cannot be imported or is incomplete, or what a
            built-in one needs cannot be imported.
    """
    require_room()
    load = registered.spec.load
    try:
        with contained(f"backend '{registered.spec.name}'", is_limited=False):
            backend = load()
        require_type(backend, Backend, "return an instance of attn.backends.Backend")
        check_declared(backend)
    except Exception as error:
        if registered.distribution == BUILTIN_PACKAGE and isinstance(error, MISSING):
            raise PluginError(
                f"backend '{registered.spec.name}' cannot be loaded: {one_line(error)}; is there "
                "enough memory, and is every package that attn needs here?"
            ) from error
        if registered.distribution == BUILTIN_PACKAGE:
            raise
        where = f"see where with attn backends {registered.spec.name} --debug"
        fix = advice(error, str(getattr(load, "__module__", "")), where)
        raise PluginError(
            f"{whose(registered)}: load(): {one_line(error)}; "
            f"{repair(registered.distribution, fix)}"
        ) from error
    return backend


def _settle(offered: Sequence[Registered]) -> tuple[list[Registered], list[Failure]]:
    """Give each name to one backend: built-ins win, of two strangers neither does."""
    builtin = [item for item in offered if item.distribution == BUILTIN_PACKAGE]
    beaten = {
        item: rival for item in offered if item not in builtin and (rival := _rival(item, builtin))
    }
    strangers = [item for item in offered if item not in builtin and item not in beaten]
    beaten |= {item: rival for item in strangers if (rival := _rival(item, strangers))}
    kept = [item for item in offered if item not in beaten]
    return kept, [_conflict(item, rival) for item, rival in beaten.items()]


def _rival(item: Registered, others: Sequence[Registered]) -> Registered | None:
    shares = (each for each in others if each is not item and set(each.names) & set(item.names))
    return next(shares, None)


def _conflict(item: Registered, rival: Registered) -> Failure:
    shared = next(name for name in item.names if name in rival.names)
    return Failure(
        item.plugin,
        item.distribution,
        stage="names",
        cause=f"'{shared}' of backend '{item.spec.name}' is also a name of backend "
        f"'{rival.spec.name}' from {rival.distribution} {rival.version}",
        fix=repair(item.distribution, "rename it"),
        names=item.names,
    )
