"""`attn compare --sketch`: generate with several drawings, or none, from the same noise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attn.errors import UsageError
from attn.options import parse_options
from attn.verbs import arguments as check
from attn.verbs.capture import capture, choose_prompts
from attn.verbs.folders import choose_folder, refuse_contents
from attn.verbs.lora_runs import PLACING, SEEDS, name_folders, note_failures
from attn.verbs.pairing import Run, open_run
from attn.verbs.report import Report

BACKEND = "scribble"
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
    listed = [specs] if isinstance(specs, str | Path) else list(specs)
    found: dict[str, dict[str, str]] = {}
    for spec in listed:
        match = None if isinstance(spec, Path) else _SCALES.fullmatch(spec)
        file = match[1] if match else str(spec)
        for scale in match[2].split(",") if match else [None]:
            name = file if file == NONE else Path(file).name
            label = name if scale is None else f"{name}:{scale}"
            if label in found:
                raise UsageError(f"sketch: {label} is named twice; rename one of the files")
            found[label] = {"sketch": file} | ({"conditioning_scale": scale} if scale else {})
    if len(found) < FEWEST:
        raise UsageError(
            "sketch: name what to compare with: another --sketch FILE, or --sketch none"
        )
    return found


def generate_sketches(
    sketches: str | Path | Sequence[str | Path],
    prompt: str | Sequence[str] | None,
    out: str | Path | None,
    options: Mapping[str, Any],
    report: Report,
) -> tuple[Path, tuple[Run, ...]]:
    """Generate with every drawing, with one model in memory.

    Args:
        sketches: see `parse_sketches`.
        prompt: one or several; None takes the example of the built-in demo model.
        out: folder; the traces go to one folder per drawing in it.
        options: further arguments of `attn.capture`; `backend` is `scribble` if missing, `seed`
            0 to 15, `keep` `means`.
        report: told notes, warnings and progress.

    Returns:
        The folder; what was generated, the baseline first.

    Raises:
        UsageError: an argument is wrong in itself.
        AttnError: see `attn.capture`; what was finished stays on disk.
    """
    from attn.backends import find, load

    variants = parse_sketches(sketches)
    given = {"seed": SEEDS, "keep": "means", **options}
    registered = find(check.text("backend", given.pop("backend", None) or BACKEND))
    family, name = load(registered), registered.spec.name
    settings = dict(check.pairs(given.pop("settings", None) or {}))
    own = parse_options(family.Options, settings, f"backend {name}")
    for chosen in variants.values():  # what is wrong with a setting is said before a model loads
        parse_options(family.Options, settings | chosen, f"backend {name}")
    model = given.pop("model", None)
    model = family.default_model(own) if model is None else model
    prompts = choose_prompts(check.optional(check.texts, "prompt", prompt), model, family, report)
    target = choose_folder(None if out is None else Path(out), f"{name}-compare", prompts[0])
    if not given.get("resume"):
        refuse_contents(target)
    session = family.open(model, own, **{key: given.pop(key) for key in PLACING if key in given})
    runs = []
    for (label, chosen), folder in zip(variants.items(), name_folders(list(variants)), strict=True):
        report.note(f"{label}: {target / folder}")
        done = capture(
            name,
            prompts,
            model=session,
            settings=settings | chosen,
            out=target / folder,
            report=report,
            **given,
        )
        note_failures(done, label, report)
        runs.append(open_run(target / folder, label))
    return target, tuple(runs)
