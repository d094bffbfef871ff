"""Generate the same prompts and seeds once for every variant, with one model in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import UsageError
from attn.verbs.capture import arguments as check
from attn.verbs.capture.capture import Captured, Shared, capture, choose_prompts
from attn.verbs.capture.folders import choose_folder, output_folder, refuse_contents
from attn.verbs.compare.pairing import FOLDER, ComparedRun, open_run
from attn.verbs.report import Report

if TYPE_CHECKING:
    from attn.backends import Backend, Session
    from attn.engine.plan import Plan
    from attn.lora import LoraFile

BASE = "base"
RESERVED = (BASE, FOLDER)
"""Folders of a comparison that are no variants."""
SEEDS = tuple(range(16))
PLACING = ("device", "dtype", "offload")
"""Arguments of `attn.capture` that are about loading the model."""


@dataclass(frozen=True)
class Generated:
    """What was generated, or with `dry_run` would be.

    Attributes:
        path: folder of the comparison.
        captured: by what each is called, the baseline first.
        files: the LoRAs of variants that have a single one, by what these are called.
    """

    path: Path
    captured: Mapping[str, Captured]
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
        options: the same, read.
        model: what is opened.
        arguments: further arguments of `attn.capture`.
    """

    name: str
    family: Backend
    settings: Mapping[str, str]
    options: Any
    model: object
    arguments: Mapping[str, Any]


def choose_setting(backend: str, arguments: Mapping[str, Any]) -> Setting:
    """Read what `attn.compare` was given for `attn.capture`.

    Args:
        backend: its name.
        arguments: of `attn.capture`; `seed` is 0 to 15 if missing, `keep` `means`.

    Raises:
        UsageError: the backend or one of its options is unknown.
    """
    from attn.backends import find
    from attn.backends.plugins.guard import guarded, signed

    values = {"seed": SEEDS, "keep": "means", **arguments}
    registered = find(check.text("backend", backend))
    family = guarded(registered)
    settings = dict(check.pairs(values.pop("settings", None) or {}))
    with signed(registered, "Options"):
        options = check.backend_options(family.Options, registered.spec.name, settings)
    model = values.pop("model", None)
    model = family.default_model(options) if model is None else model
    return Setting(registered.spec.name, family, settings, options, model, values)


def generate_variants(
    setting: Setting,
    variants: Sequence[tuple[str, str, Mapping[str, Any]]],
    prompt: str | Sequence[str] | None,
    out: str | Path | None,
    report: Report,
    require: Required,
    require_of_model: Callable[[Session], None] | None = None,
) -> Generated:
    """Generate every variant.

    Args:
        setting: what all have in common.
        variants: what each is called, its folder, and its own arguments of `attn.capture`; the
            baseline first.
        prompt: one or several; None takes the example of the built-in demo model.
        out: folder; the traces go to one folder per variant in it.
        report: told notes, warnings and progress.
        require: what keeps anything from being generated.
        require_of_model: raises, before anything is generated, if a variant does not fit the model.

    Raises:
        UsageError: an argument is wrong in itself.
        AttnError: see `attn.capture`; what was finished stays on disk.
    """
    values = {"settings": setting.settings, **setting.arguments}
    requested = check.optional(check.texts, "prompt", prompt)
    prompts = choose_prompts(requested, setting.model, setting.family, report)
    require.of_prompts(prompts)
    path = None if out is None else Path(out)
    target = choose_folder(path, f"{setting.name}-compare", prompts[0])
    if not check.switch("resume", values.get("resume", False)):
        refuse_contents(target)
    elif out is None:
        raise UsageError("resume: say which folder to go on with, with --out DIR")
    dry_run = check.switch("dry_run", values.get("dry_run", False))
    placing = {key: values[key] for key in PLACING if key in values}
    opening = partial(setting.family.open, **placing, weights=not dry_run)
    sessions = _Sessions(setting, opening, require_of_model)
    captured = {}
    with nullcontext() if dry_run else output_folder(target):
        planning = {**values, **variants[0][2], "dry_run": True, "resume": False}
        planning["seed"] = check.seeds(values["seed"])[0]
        shared = sessions.shared(variants[0][2])
        plan = capture(setting.name, prompts, model=shared, **planning).plans[0]
        require.of_plan(plan)
        if not dry_run:
            report.begin(target)
        for label, folder, changes in variants:
            report.note(f"{label}: {target / folder}")
            arguments = {**values, **changes, "out": target / folder, "report": report}
            shared = sessions.shared(changes)
            captured[label] = capture(setting.name, prompts, model=shared, **arguments)
            _note_failures(captured[label], label, report)
    return Generated(target, captured)


class _Sessions:
    """The session of each variant: the same as before it while the model's options are the same.

    Args:
        setting: what all variants have in common.
        opening: `Backend.open` with all arguments but source and options.
        require: raises if a variant does not fit the model.
    """

    def __init__(
        self,
        setting: Setting,
        opening: Callable[..., Session],
        require: Callable[[Session], None] | None,
    ) -> None:
        self._setting = setting
        self._opening = opening
        self._require = require
        self._options: Any = None
        self._shared: Shared | None = None

    def shared(self, arguments: Mapping[str, Any]) -> Shared:
        """Return the session that a variant's own arguments of `attn.capture` ask for."""
        options = self._options_of(arguments.get("settings", self._setting.settings))
        if self._shared is None or options != self._options:
            self._options = options
            self._shared = Shared(partial(self._open, options))
        return self._shared

    def _options_of(self, settings: Mapping[str, str]) -> Any:
        """Return the options of a session: what differs between its requests is left out."""
        setting = self._setting
        varying = setting.family.request_options
        common = {name: value for name, value in settings.items() if name not in varying}
        common |= {name: setting.settings[name] for name in varying if name in setting.settings}
        return check.backend_options(setting.family.Options, setting.name, common)

    def _open(self, options: Any) -> Session:
        session = self._opening(self._setting.model, options)
        if self._require is not None:
            self._require(session)
        return session


def _note_failures(done: Captured, label: str, report: Report) -> None:
    for entry in done.failures:
        report.warn(f"{label}: seed {entry.seed} of '{entry.prompt}' failed: {entry.error}")
