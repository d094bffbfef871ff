"""`attn compare --sketch`: generate with several drawings, or none, from the same noise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attn.errors import UsageError
from attn.verbs.capture import arguments as check
from attn.verbs.capture.folders import name_folders, short_names
from attn.verbs.compare.variant_runs import (
    RESERVED,
    Generated,
    Required,
    choose_setting,
    generate_variants,
)
from attn.verbs.report import Report

NONE = "none"
FEWEST = 2
_SCALES = re.compile(r"(.+):(\d*\.?\d+(?:,\d*\.?\d+)*)", re.DOTALL)


def parse_sketches(specs: str | Path | Sequence[str | Path]) -> dict[str, dict[str, str]]:
    """Read drawings: `FILE`, `none`, or a sweep over the conditioning scale, `FILE:0,0.5,1`.

    Returns:
        options of the backend, by what the run is called; the first is the baseline.

    Raises:
        UsageError: there is nothing to compare with, or something twice.
    """
    listed = [specs] if isinstance(specs, str | Path) else specs
    requested = [pair for spec in listed for pair in _expand(spec)]
    if len(requested) < FEWEST:
        raise UsageError(
            "sketch: name what to compare with: another --sketch FILE, or --sketch none"
        )
    _require_different(requested)
    names = short_names({file: file for file, _ in requested})
    return {
        names[file] if scale is None else f"{names[file]}:{scale}": {"sketch": file}
        | ({} if scale is None else {"conditioning_scale": scale})
        for file, scale in requested
    }


def _expand(spec: str | Path) -> list[tuple[str, str | None]]:
    """Return a file with each of its scales."""
    match = None if isinstance(spec, Path) else _SCALES.fullmatch(spec)
    file = match[1] if match else str(spec)
    _require_scales(file)
    return [(file, scale) for scale in (match[2].split(",") if match else [None])]


def _require_different(requested: Sequence[tuple[str, str | None]]) -> None:
    """Refuse what would be the same run twice; the scale of no drawing has no effect."""
    seen = set()
    for file, scale in requested:
        told = file if scale is None or file == NONE else f"{file}:{scale}"
        run = file if file == NONE else (Path(file).resolve(), scale and float(scale))
        if run in seen:
            raise UsageError(f"sketch: {told} is named twice; leave one out")
        seen.add(run)


def _require_scales(file: str) -> None:
    """Refuse what would be a file and scales, were these numbers."""
    name, colon, scales = file.rpartition(":")
    if colon and Path(name).is_file() and not Path(file).exists():
        raise UsageError(
            f"sketch: '{scales}' are no conditioning scales for {name}: give numbers from 0, "
            "such as FILE:0,0.5,1"
        )


def generate_sketches(
    sketches: str | Path | Sequence[str | Path],
    prompt: str | Sequence[str] | None,
    out: str | Path | None,
    options: Mapping[str, Any],
    report: Report,
    require: Required,
) -> Generated:
    """Generate with every drawing, with one model in memory.

    Args:
        sketches: see `parse_sketches`.
        prompt: one or several; None takes the example of the built-in demo model.
        out: folder; the traces go to one folder per drawing in it.
        options: further arguments of `attn.capture`; `backend` is the first that takes drawings
            if missing, `seed` 0 to 15, `keep` `means`.
        report: told notes, warnings and progress.
        require: what keeps anything from being generated.

    Raises:
        UsageError: an argument is wrong in itself.
        AttnError: see `attn.capture`; what was finished stays on disk.
    """
    from attn.backends.plugins.registry import takers

    variants = parse_sketches(sketches)
    arguments = dict(options)
    setting = choose_setting(
        arguments.pop("backend", None) or takers("drawings")[0].spec.name, arguments
    )
    if check.SKETCH in setting.settings:
        raise UsageError(
            f"sketch: given as drawings to compare and as a setting "
            f"({setting.settings[check.SKETCH]}); leave the setting out"
        )
    runs = []
    for (label, selected), folder in zip(
        variants.items(), name_folders(list(variants), RESERVED), strict=True
    ):
        settings = dict(setting.settings) | selected
        # what is wrong with a setting is said before a model is loaded
        check.backend_options(setting.family.Options, setting.name, settings)
        runs.append((label, folder, {"settings": settings}))
    return generate_variants(setting, runs, prompt, out, report, require)
