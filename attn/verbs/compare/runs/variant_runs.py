"""Generate the same prompts and seeds once for every variant, with one model in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from attn.verbs.capture.capture import (
    Captured,
    Shared,
    capture_with,
    choose_prompts,
    open_session,
    parse_prompts,
)
from attn.verbs.capture.families import backend_options
from attn.verbs.capture.first_checks import check_folder, check_model
from attn.verbs.capture.folders import choose_folder, output_folder
from attn.verbs.capture.options import CaptureOptions, GenerationOptions, Prompt, read_prompt
from attn.verbs.compare.pairing import FOLDER, ComparedRun, open_run
from attn.verbs.report import Report
from attn.verbs.shards.parts import check_shard
from attn.verbs.workers.crews import KeptCrew
from attn.wording import count_noun

if TYPE_CHECKING:
    from attn.backends import Backend, Session
    from attn.engine.plan import Plan
    from attn.lora import LoraFile

BASE = "base"
MANY = 8
"""With more variants it is said how long they will take."""
WITHOUT = "without"
"""Folder of the same variants from prompts without the trigger words."""
RESERVED = (BASE, FOLDER, WITHOUT)
"""Folders of a comparison that are no variants."""


@dataclass(frozen=True)
class Generated:
    """What was generated, or with `dry_run` would be.

    Attributes:
        path: folder of the comparison.
        captured: by what each is called, the baseline first.
        prompts: as they were typed.
        files: the LoRAs of variants that have a single one, by what these are called.
    """

    path: Path
    captured: Mapping[str, Captured]
    prompts: tuple[str, ...]
    files: Mapping[str, LoraFile] = field(default_factory=dict)

    def runs(self) -> tuple[ComparedRun, ...]:
        """Look at what was generated, the baseline first."""
        return tuple(open_run(done.path, label) for label, done in self.captured.items())


@dataclass(frozen=True)
class Required:
    """What raises if traces are not to be generated.

    Attributes:
        of_prompts: told the prompts before the model is loaded.
        of_plan: told what will be kept of the baseline, before anything is generated.
    """

    of_prompts: Callable[[Sequence[str]], None]
    of_plan: Callable[[Plan], None]


@dataclass(frozen=True)
class Setting:
    """What all variants have in common.

    Attributes:
        name: of the backend.
        family: the backend.
        settings: options of the backend as they were given.
        model: what is opened.
        capture: what `attn capture` is given.
        prompts: what is drawn; None is what the options of `capture` say.
        verb: stands in the name of a folder that is not named.
    """

    name: str
    family: Backend
    settings: Mapping[str, str]
    model: object
    capture: CaptureOptions
    prompts: tuple[str, ...] | None = None
    verb: str = "compare"


class Generating(Protocol):
    """Options of a verb that generates variants."""

    @property
    def model(self) -> object:
        """What is opened; None is the family's default."""

    @property
    def out(self) -> str | Path | None:
        """Folder of the results."""

    @property
    def goes_on(self) -> bool:
        """Whether there may be traces of the same run."""

    @property
    def shard(self) -> str | None:
        """Which part of the traces is made."""

    @property
    def prompt(self) -> Prompt:
        """One or several, where they are not in a file."""


def capture_options(
    backend: str, options: Generating, settings: Mapping[str, str]
) -> CaptureOptions:
    """Return what all variants have in common, as `attn capture` takes it."""
    shared = {each.name: getattr(options, each.name) for each in fields(GenerationOptions)}
    return CaptureOptions(backend, options.prompt, settings=settings, **shared)


def choose_setting(
    backend: str, options: Generating, settings: Mapping[str, str], require: Required
) -> Setting:
    """Return what all variants have in common.

    Args:
        backend: its name.
        options: of the verb.
        settings: options of the backend as KEY: VALUE.
        require: what keeps anything from being generated.

    Raises:
        UsageError: the backend or one of its options is unknown, or the prompts cannot be used.
        AttnError: the model cannot be read, or the folder of the comparison is not to be used.
    """
    from attn.backends import find
    from attn.backends.plugins.guard import attributed, guarded

    registered = find(backend)
    name = registered.spec.name
    generation = capture_options(name, options, settings)
    check_model(options.model)
    check_shard(options.shard, options.out)
    check_folder(options.out, resume=options.goes_on)
    if typed := read_prompt(generation, generation.prompt):
        _require_prompts(generation, typed, require)
    family = guarded(registered)
    with attributed(registered, "Options"):
        read = backend_options(family.Options, name, settings)
    model = family.default_model(read) if options.model is None else options.model
    return Setting(name, family, settings, model, generation)


def _require_prompts(options: CaptureOptions, prompts: Sequence[str], require: Required) -> None:
    require.of_prompts([prompt.text for prompt in parse_prompts(options, prompts)[0]])


def generate_variants(
    setting: Setting,
    variants: Sequence[tuple[str, str, Mapping[str, Any]]],
    out: str | Path | None,
    report: Report,
    require: Required,
    sessions: Sessions | None = None,
) -> Generated:
    """Generate every variant.

    Args:
        setting: what all have in common.
        variants: what each is called, its folder, and its own options of `attn capture`; the
            baseline first.
        out: folder; the traces go to one folder per variant in it.
        report: told notes, warnings and progress.
        require: what keeps anything from being generated.
        sessions: those of variants that were generated before; None opens the model.

    Raises:
        UsageError: an argument is wrong in itself.
        AttnError: see `attn.capture`; what was finished stays on disk.
    """
    options = setting.capture
    sessions = sessions or Sessions(setting)
    requested = read_prompt(options, options.prompt)
    prompts = setting.prompts or choose_prompts(requested, setting.model, setting.family, report)
    _require_prompts(options, prompts, require)
    if setting.prompts is None:
        _note_few(len(prompts) * len(options.seeds) * options.images, report)
    options = replace(options, prompt=prompts, prompts=None)
    check_folder(out, resume=options.goes_on)
    folder = None if out is None else Path(out)
    target = choose_folder(folder, f"{setting.name}-{setting.verb}", prompts[0])
    captured = {}
    is_shared = options.shard is not None
    with (
        nullcontext() if options.dry_run else output_folder(target, shared=is_shared),
        closing(sessions),
    ):
        changes = variants[0][2]
        first = replace(options, **changes, model=sessions.shared(changes), seed=options.seeds[0])
        first = replace(first, dry_run=True, resume=False, shard=None)
        require.of_plan(capture_with(first).plans[0])
        if not options.dry_run:
            report.begin(target)
        for label, subfolder, changes in variants:
            report.note(f"{label}: {target / subfolder}")
            where: dict[str, Any] = {
                "model": sessions.shared(changes),
                "out": target / subfolder,
                "report": report,
            }
            begun = monotonic()
            captured[label] = capture_with(replace(options, **changes, **where))
            if len(captured) == 1 and len(variants) > MANY:
                _note_time(monotonic() - begun, len(variants) - 1, report)
            _note_failures(captured[label], label, report)
    return Generated(target, captured, prompts)


class Sessions:
    """The session of each variant: the same as before it while the model's options are the same.

    Args:
        setting: what all variants have in common.
        require: raises, before anything is generated, if a variant does not fit the model.
    """

    def __init__(self, setting: Setting, require: Callable[[Session], None] | None = None) -> None:
        self._setting = setting
        self._require = require
        self._options: Any = None
        self._shared: Shared | None = None
        self._crew = KeptCrew()

    def close(self) -> None:
        """End the workers, if there are any."""
        self._crew.close()

    def shared(self, arguments: Mapping[str, Any]) -> Shared:
        """Return the session that a variant's own arguments of `attn.capture` ask for."""
        setting = self._setting
        settings = self._common(arguments.get("settings", setting.settings))
        options = backend_options(setting.family.Options, setting.name, settings)
        if self._shared is None or options != self._options:
            self._options = options
            opening = partial(self._open, options)
            self._shared = Shared(opening, setting.model, settings, self._crew)
        return self._shared

    def _common(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """Return the settings of a session: what differs between its requests is left out."""
        setting = self._setting
        varying = setting.family.request_options
        common = {name: value for name, value in settings.items() if name not in varying}
        return common | {
            name: setting.settings[name] for name in varying if name in setting.settings
        }

    def _open(self, options: Any) -> Session:
        setting = self._setting
        session = open_session(setting.family, setting.model, options, setting.capture)
        if self._require is not None:
            self._require(session)
        return session


def _note_time(seconds: float, left: int, report: Report) -> None:
    """Say how long the rest will take, as far as the baseline tells."""
    report.note(f"the baseline took {seconds:.0f} s: {left} variants take {left * seconds:.0f} s")


def _note_few(pairs: int, report: Report) -> None:
    """Say of too few pairs, before they are generated, that nothing will be shown by them."""
    from attn.analysis.compare.paired import FEWEST

    if pairs < FEWEST:
        report.note(
            f"{count_noun(pairs, 'pair')} cannot tell an effect from chance: intervals take "
            f"{FEWEST} or more, as --seed 0-{FEWEST - 1} gives"
        )


def _note_failures(done: Captured, label: str, report: Report) -> None:
    for entry in done.failures:
        report.warn(f"{label}: seed {entry.seed} of '{entry.prompt}' failed: {entry.error}")
