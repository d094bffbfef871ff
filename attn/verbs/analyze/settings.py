"""The options of every analysis, made of those that all share and those of `--set`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from attn.analysis.registry import ANALYSES, find
from attn.errors import UsageError, did_you_mean
from attn.options import option_names, parse_options

Settings = Mapping[str, Any]
"""Options of every analysis, by its name."""


def read_settings(arguments: Mapping[str, Any], settings: Mapping[str, str]) -> Settings:
    """Return the options of every analysis; what is given goes to those that have such options."""
    pairs: dict[str, dict[str, str]] = {analysis.name: {} for analysis in ANALYSES}
    for setting in sorted(settings, key=lambda setting: "." in setting):
        name, _, key = setting.rpartition(".")
        for owner in [find(name).name] if name else _owners(key):
            pairs[owner][key] = settings[setting]
    options = {}
    for analysis in ANALYSES:
        parsed = parse_options(analysis.Options, pairs[analysis.name], f"analysis {analysis.name}")
        mine = {option.name for option in fields(parsed)} & arguments.keys()
        try:
            options[analysis.name] = replace(parsed, **{key: arguments[key] for key in mine})
        except ValueError as error:  # checked by the dataclass itself
            raise UsageError(str(error)) from error
    return options


def refuse_unread(
    only: Sequence[str] | None, arguments: Iterable[str], settings: Iterable[str]
) -> None:
    """Refuse options that none of the analyses has that may run.

    Raises:
        UsageError: names the first.
    """
    usual = [analysis.name for analysis in ANALYSES if not analysis.on_request]
    keys = {name: {*option_names(find(name).Options)} for name in (usual if only is None else only)}
    of = "the analyses that run without --only" if only is None else ", ".join(keys)
    for option in [*arguments, *settings]:
        owner, _, key = option.rpartition(".")
        read = key in set().union(*keys.values()) if not owner else find(owner).name in keys
        if not read:
            what = f"--set {option}" if option in settings else f"--{option}"
            raise UsageError(
                f"{what} has no effect on {of}: leave it out, or name in --only an "
                "analysis that has it"
            )


def _owners(key: str) -> list[str]:
    """Return the analyses that have an option of that name."""
    options = {analysis.name: {*option_names(analysis.Options)} for analysis in ANALYSES}
    owners = [name for name, keys in options.items() if key in keys]
    if not owners:
        hint = did_you_mean(key, set().union(*options.values()))
        raise UsageError(f"no analysis has an option '{key}'.{hint} See `attn analyze --list`.")
    return owners
