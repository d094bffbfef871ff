"""One plugin: from its entry point to its backends, or to the reason why it has none.

A stranger's package must not take the command down: it is imported, registered and asked on its
own, and what goes wrong becomes a `Failure` that `attn backends` shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint
from itertools import islice
from re import fullmatch
from threading import enumerate as enumerate_threads
from time import perf_counter

import pluggy

from attn.backends.hookspecs import GROUP, Hooks
from attn.backends.plugins.advice import advice, one_line, repair
from attn.backends.plugins.answer_types import AnswerError, got
from attn.backends.plugins.contained import contained
from attn.backends.plugins.switches import (
    ALL,
    DISABLE,
    NONE,
    is_switched_off,
    normalise,
    switched_off_names,
)
from attn.backends.types import BackendSpec
from attn.errors import did_you_mean
from attn.versions import attn_version

BUILTIN_PACKAGE = "attn"
MOST = 1000
"""Backends of one plugin: a generator may yield them without end."""
NAMELESS = "a package without a name"
BUILTIN = EntryPoint(name=BUILTIN_PACKAGE, value="attn.backends.builtin", group=GROUP)


@dataclass(frozen=True, eq=False)
class Registered:
    """A backend that can be used, and the distribution that it comes from."""

    spec: BackendSpec
    plugin: str
    distribution: str
    version: str
    seconds: float = 0.0  # that the import and the hook of its plugin took
    threads: int = 0  # that they left running

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


def declared(distributions: Iterable[Distribution]) -> tuple[list[EntryPoint], list[Failure]]:
    """Return the entry points of packages for attn, and whose cannot be read.

    Of a package that is on the path twice the first counts, as Python imports it.
    """
    entries: list[EntryPoint] = []
    failures: list[Failure] = []
    seen: set[str] = set()
    for distribution in distributions:
        result = _read(distribution)
        name = _identified(distribution)[0] if result else NAMELESS
        if normalise(name) in seen:
            continue
        if name != NAMELESS:
            seen.add(normalise(name))
        if isinstance(result, Failure):
            failures.append(result)
        else:
            entries += result
    return entries, failures


def ask(entry: EntryPoint) -> list[Registered] | Failure:
    """Return the backends of one plugin, or why there are none."""
    distribution, version = origin(entry)
    if entry is not BUILTIN and is_switched_off(_names(entry)):
        return _switched_off(entry.name, distribution)
    stage = "import"
    try:
        with contained(
            f"plugin '{entry.name}' of {distribution}; {DISABLE}={distribution} skips it"
        ):
            began, threads = perf_counter(), set(enumerate_threads())
            module = _imported(entry)
            stage = "register"
            hooks = _register(module, entry)
            stage = "attn_backends"
            specs = _specs(hooks)
            seconds = perf_counter() - began
            left = set(enumerate_threads()) - threads
    # Code of strangers raises anything; the other backends must stay usable.
    except Exception as error:  # noqa: BLE001
        module = entry.value.partition(":")[0]
        fix = advice(error, module, f'run python -c "import {module}; {module}.attn_backends()"')
        return Failure(entry.name, distribution, stage, one_line(error), repair(distribution, fix))
    facts = (entry.name, distribution, version, seconds, len(left))
    return [Registered(spec, *facts) for spec in specs]


def origin(entry: EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution; only the built-in entry point has none."""
    if entry.dist is None:
        return BUILTIN_PACKAGE, attn_version()
    return _identified(entry.dist)


def whose(registered: Registered) -> str:
    """Describe the package of a backend."""
    return (
        f"backend '{registered.spec.name}' is from {registered.distribution} {registered.version}"
    )


def misspelt(entries: Sequence[EntryPoint], failures: Sequence[Failure] = ()) -> tuple[str, ...]:
    """Return remarks on what the environment disables, but is not installed."""
    names = {name for entry in entries for name in _names(entry)}
    names |= {normalise(failure.distribution) for failure in failures}
    return tuple(
        f"{DISABLE}: no plugin '{name}' is installed.{did_you_mean(name, names)}"
        for name in sorted(switched_off_names() - {*names, *ALL, *NONE})
    )


def _identified(distribution: Distribution) -> tuple[str, str]:
    """Return name and version; damaged or half-written metadata has neither."""
    try:
        name, version = distribution.name, distribution.version
    except Exception:  # noqa: BLE001 - which error depends on the damage and on Python
        name = version = ""
    return name or NAMELESS, version or "unknown"


def _read(distribution: Distribution) -> list[EntryPoint] | Failure:
    """Return the entry points of a package for attn, or say that they cannot be read."""
    try:
        return list(distribution.entry_points.select(group=GROUP))
    # What is in a damaged file raises anything; the other packages must stay usable.
    except Exception as error:  # noqa: BLE001
        name, _ = _identified(distribution)
        if is_switched_off({normalise(name)}):
            return _switched_off(name, name)
        cause = f"entry_points.txt in {distribution.locate_file('')}: {one_line(error)}"
        fix = 'write toy = "attn_toy" under [project.entry-points.attn] and install it again'
        return Failure(name, name, "metadata", cause, repair(name, fix))


def _switched_off(plugin: str, distribution: str) -> Failure:
    fix = "unset it to use the plugin"
    return Failure(plugin, distribution, "disabled", f"{DISABLE} is set", fix)


def _names(entry: EntryPoint) -> set[str]:
    return set(map(normalise, (entry.name, origin(entry)[0], entry.value.partition(":")[0])))


def _imported(entry: EntryPoint) -> object:
    """Return the object that an entry point names."""
    written = f"the entry point is {entry.name} = {entry.value!r}"
    fix = "let it name the module with the hook, and install the package again"
    if not entry.pattern.match(entry.value):
        raise AnswerError(f"{written}, expected a module", fix)
    try:
        import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{entry.module}.".startswith(f"{error.name}."):
            raise
        raise AnswerError(f"{written}, but there is no module '{error.name}'", fix) from error
    try:
        return entry.load()
    except AttributeError as error:
        raise AnswerError(f"{written}, but {error}", fix) from error


def _register(module: object, entry: EntryPoint) -> pluggy.HookRelay:
    """Return the hooks of one plugin, alone in its own manager."""
    plugins = pluggy.PluginManager(GROUP)
    plugins.add_hookspecs(Hooks)
    hook = "attn_backends() without arguments, marked with @attn.hookimpl"
    fix = "write the hook as in plugins.md"
    names: list[str] = []
    try:
        plugins.register(module, entry.name)
        names = [caller.name for caller in plugins.get_hookcallers(module) or ()]
        plugins.check_pending()
    except pluggy.PluginValidationError as error:
        unknown = next((name for name in names if not hasattr(Hooks, name)), None)
        if unknown is None:
            raise AnswerError(f"{error}, expected {hook}", fix) from error
        meant = did_you_mean(unknown, [name for name in vars(Hooks) if not name.startswith("_")])
        raise AnswerError(
            f"got a hook '{unknown}', expected {hook}.{meant}", "rename the function"
        ) from error
    if not names and entry.attr:
        raise AnswerError(
            f"the entry point is {entry.name} = {entry.value!r}, expected the module with the hook",
            f'write {entry.name} = "{entry.module}" and install the package again',
        )
    if not names:
        raise AnswerError(f"no hook found, expected {hook}", fix)
    return plugins.hook


def _specs(hooks: pluggy.HookRelay) -> list[BackendSpec]:
    answers = hooks.attn_backends()
    answer = answers[0] if answers else None  # pluggy drops None
    fix = "return a list of BackendSpec"
    if not isinstance(answer, Iterable) or isinstance(answer, str | Mapping):
        raise AnswerError(f"got {got(answer)}, expected a list of BackendSpec", fix)
    specs = list(islice(answer, MOST + 1))
    if len(specs) > MOST:
        raise AnswerError(f"got more than {MOST}, expected a list of BackendSpec", fix)
    if not specs:
        raise AnswerError("got none, expected at least one BackendSpec", fix)
    for spec in specs:
        if flaw := _flaw(spec):
            raise AnswerError(flaw, "write the BackendSpec as in plugins.md")
    return specs


def _flaw(spec: object) -> str | None:
    """Return the fault of an item that a plugin offers as a spec, if it has one."""
    if not isinstance(spec, BackendSpec):
        return f"got an item {got(spec)}, expected BackendSpec"
    for name in ("aliases", "takes"):
        if not isinstance(names := getattr(spec, name), tuple):
            return f"{name} of '{spec.name}': got {names!r}, expected a tuple"
    for name in (spec.name, *spec.aliases):
        if not (isinstance(name, str) and fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)):
            return f"got the name {name!r}, expected lower-case letters, digits and dashes"
    if not (isinstance(spec.summary, str) and len(spec.summary.splitlines()) == 1):
        return f"summary of '{spec.name}': got {spec.summary!r}, expected one line"
    if not callable(spec.load):
        return f"load of '{spec.name}': got {spec.load!r}, expected a function"
    return None
