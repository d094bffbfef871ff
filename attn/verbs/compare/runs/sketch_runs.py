"""`attn compare --sketch`: generate with several drawings, or none, from the same noise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from attn.errors import UsageError
from attn.files.disk import is_file, is_there
from attn.verbs.capture.drawings import Drawing, drawing_file
from attn.verbs.capture.families import SKETCH, backend_options
from attn.verbs.capture.first_checks import check_drawing
from attn.verbs.capture.folders import name_folders, short_names
from attn.verbs.compare.options import CompareOptions
from attn.verbs.compare.runs.variant_runs import (
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


def parse_sketches(specs: Drawing | Sequence[Drawing]) -> dict[str, dict[str, str]]:
    """Read drawings: `FILE`, `none`, an image, or a sweep over its scale, `FILE:0,0.5,1`.

    Returns:
        options of the backend, by what the run is called; the first is the baseline.

    Raises:
        UsageError: there is nothing to compare with, or something twice.
    """
    listed = specs if isinstance(specs, Sequence) and not isinstance(specs, str) else [specs]
    files = [spec if isinstance(spec, str | Path) else Path(drawing_file(spec)) for spec in listed]
    requested = [pair for file in files for pair in _expand(file)]
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
    if colon and is_file(Path(name)) and not is_there(Path(file)):
        raise UsageError(
            f"sketch: '{scales}' are no conditioning scales for {name}: give numbers from 0, "
            "such as FILE:0,0.5,1"
        )


def generate_sketches(
    options: CompareOptions, settings: Mapping[str, str], report: Report, require: Required
) -> Generated:
    """Generate with every drawing, with one model in memory.

    Args:
        options: of the comparison; for its `sketch` see `parse_sketches`. `backend` is the first
            that takes drawings if missing. The traces go to one folder per drawing in `out`.
        settings: options of the backend as KEY: VALUE.
        report: told notes, warnings and progress.
        require: what keeps anything from being generated.

    Raises:
        UsageError: an argument is wrong in itself.
        AttnError: see `attn.capture`; what was finished stays on disk.
    """
    from attn.backends.plugins.registry import takers

    variants = parse_sketches(options.sketch or ())
    backend = options.backend or takers("drawings")[0].spec.name
    if SKETCH in settings:
        raise UsageError(
            f"sketch: given as drawings to compare and as a setting "
            f"({settings[SKETCH]}); leave the setting out"
        )
    for changes in variants.values():
        check_drawing(changes[SKETCH])
    setting = choose_setting(backend, options, settings, require)
    runs = []
    for (label, selected), folder in zip(
        variants.items(), name_folders(list(variants), RESERVED), strict=True
    ):
        changed = dict(setting.settings) | selected
        # what is wrong with a setting is said before a model is loaded
        backend_options(setting.family.Options, setting.name, changed)
        runs.append((label, folder, {"settings": changed}))
    return generate_variants(setting, runs, options.out, report, require)
