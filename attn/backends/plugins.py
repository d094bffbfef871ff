"""One plugin: from its entry point to its backends, or to the reason why it has none.

A stranger's package must not take the command down: it is imported, registered and asked on its
own, and what goes wrong becomes a `Failure` that `attn backends` shows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from re import fullmatch
from time import perf_counter
from traceback import format_exception_only

import pluggy

import attn
from attn.backends.hookspecs import GROUP, Hooks
from attn.backends.types import BackendSpec
from attn.errors import AttnError, PluginError

DISABLE = "ATTN_DISABLE_PLUGINS"
OWN = "attn"
BUILTIN = EntryPoint(name=OWN, value="attn.backends.builtin", group=GROUP)


@dataclass(frozen=True, eq=False)
class Registered:
    """A backend that can be used, and the distribution that it comes from."""

    spec: BackendSpec
    plugin: str
    distribution: str
    version: str
    seconds: float = 0.0  # that the import of its plugin took

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that `--backend` takes for it."""
        return (self.spec.name, *self.spec.aliases)


@dataclass(frozen=True)
class Failure:
    """A plugin, or one backend of it (`names`), that is installed but cannot be used."""

    plugin: str
    distribution: str
    stage: str
    cause: str
    fix: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.distribution} (plugin '{self.plugin}'): {self.stage}: {self.cause}; {self.fix}"
        )


def ask(entry: EntryPoint) -> list[Registered] | Failure:
    """Return the backends of one plugin, or why there are none."""
    distribution, version = origin(entry)
    if _is_disabled(entry):
        fix = "unset it to use the plugin"
        return Failure(entry.name, distribution, "disabled", f"{DISABLE} is set", fix)
    stage = "import"
    try:
        # what a plugin prints must not end up in the output of --json
        with redirect_stdout(sys.stderr):
            began = perf_counter()
            module = entry.load()
            seconds = perf_counter() - began
            stage = "register"
            hooks = _register(module, entry.name)
            stage = "attn_backends"
            specs = list(_specs(hooks))
    # Code of strangers raises anything; the other backends must stay usable.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return Failure(entry.name, distribution, stage, one_line(error), repair(distribution))
    return [Registered(spec, entry.name, distribution, version, seconds) for spec in specs]


def origin(entry: EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution; only the built-in entry point has none."""
    if entry.dist is None:
        return OWN, attn.__version__
    # half-written metadata has neither, although the types say so
    return entry.dist.name or "a package without a name", entry.dist.version or "unknown"


def one_line(error: BaseException) -> str:
    """Put an exception on one line; our own need no type in front."""
    lines = [str(error)] if isinstance(error, AttnError) else format_exception_only(error)
    return " ".join("".join(lines).split())


def repair(distribution: str) -> str:
    """Say what a user can do about a broken plugin."""
    return f"update or uninstall {distribution}, or set {DISABLE}={distribution}"


def _is_disabled(entry: EntryPoint) -> bool:
    """Whether the environment switches the plugin off, by any of its names or with all others."""

    def normal(name: str) -> str:
        return name.strip().lower().replace("_", "-").replace(".", "-")

    listed = {normal(name) for name in os.environ.get(DISABLE, "").split(",")}
    names = (entry.name, origin(entry)[0], entry.value.partition(":")[0])
    return entry is not BUILTIN and bool(listed & {"1", "true", "all", *map(normal, names)})


def _register(module: object, name: str) -> pluggy.HookRelay:
    """Return the hooks of one plugin, alone in its own manager."""
    plugins = pluggy.PluginManager(GROUP)
    plugins.add_hookspecs(Hooks)
    try:
        plugins.register(module, name)
        plugins.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{error}, expected attn_backends() without arguments") from error
    if not plugins.get_hookcallers(module):
        raise PluginError("no hook found, expected attn_backends() marked with @attn.hookimpl")
    return plugins.hook


def _specs(hooks: pluggy.HookRelay) -> Iterator[BackendSpec]:
    answers = hooks.attn_backends()
    if not answers:  # pluggy drops None
        raise PluginError("got None, expected a list of BackendSpec")
    for spec in answers[0]:
        if flaw := _flaw(spec):
            raise PluginError(flaw)
        yield spec


def _flaw(spec: object) -> str | None:
    """Return what is wrong with an item that a plugin offers as a spec, if anything."""
    if not isinstance(spec, BackendSpec):
        return f"got an item of type {type(spec).__name__}, expected BackendSpec"
    if not isinstance(spec.aliases, tuple):
        return f"aliases of '{spec.name}': got {spec.aliases!r}, expected a tuple"
    for name in (spec.name, *spec.aliases):
        if not (isinstance(name, str) and fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)):
            return f"got the name {name!r}, expected lower-case letters, digits and dashes"
    if not (isinstance(spec.summary, str) and len(spec.summary.splitlines()) == 1):
        return f"summary of '{spec.name}': got {spec.summary!r}, expected one line"
    if not callable(spec.load):
        return f"load of '{spec.name}': got {spec.load!r}, expected a function"
    return None
