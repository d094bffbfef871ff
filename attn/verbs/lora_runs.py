"""`attn compare --lora`: generate with and without LoRAs from the same noise, then compare."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import ModelError, UsageError
from attn.options import parse_options
from attn.verbs import arguments as check
from attn.verbs.capture import Captured, capture, choose_prompts
from attn.verbs.folders import choose_folder, refuse_contents
from attn.verbs.pairing import Run, open_run
from attn.verbs.report import Report
from attn.verbs.stacks import Spec, Variant, parse_variants

if TYPE_CHECKING:
    from attn.lora import LoraFile

BASE = "base"
SEEDS = tuple(range(16))
LONGEST = 80
"""Longest name of a folder, in characters."""
PLACING = ("device", "dtype", "offload")
"""Arguments of `attn.capture` that are about loading the model."""


def generate(
    lora: Spec | Sequence[Spec],
    prompt: str | Sequence[str] | None,
    out: str | Path | None,
    options: Mapping[str, Any],
    report: Report,
) -> tuple[Path, tuple[Run, ...], dict[str, LoraFile]]:
    """Generate the baseline and every variant, with one model in memory.

    Args:
        lora: one variant or several; a stack is `A+B`, a sweep over scales `A:0,0.5,1`.
        prompt: one or several; None takes the example of the built-in demo model.
        out: folder; the traces go to `base` and one folder per variant in it.
        options: further arguments of `attn.capture`. `backend` is that of the LoRAs if missing,
            `seed` 0 to 15, `keep` `means`.
        report: told notes, warnings and progress.

    Returns:
        The folder; what was generated, the baseline first; by variant the file of its LoRA, if it
        has a single one.

    Raises:
        UsageError: an argument is wrong in itself, or nothing says which family to use.
        AttnError: see `attn.capture`; what was finished stays on disk.
    """
    from attn.backends import find, load
    from attn.backends.guard import blamed, open_session

    variants = parse_variants(lora)
    if not variants:
        raise UsageError("lora: nothing is named; give a file with --lora FILE")
    given = {"seed": SEEDS, "keep": "means", **options}
    backend, model = given.pop("backend", None), given.pop("model", None)
    registered = find(check.text("backend", backend or infer_backend(variants)))
    family, name = load(registered), registered.spec.name
    for variant in variants:  # what is wrong with a file is said before a model is loaded
        family.complete_loras(variant.loras)
    settings = check.pairs(given.get("settings") or {})
    own = parse_options(family.Options, settings, f"backend {name}")
    model = family.default_model(own) if model is None else model
    prompts = choose_prompts(check.optional(check.texts, "prompt", prompt), model, family, report)
    target = choose_folder(None if out is None else Path(out), f"{name}-compare", prompts[0])
    if not given.get("resume"):
        refuse_contents(target)
    placing = {key: given.pop(key) for key in PLACING if key in given}
    with blamed(registered):
        session = open_session(registered, family, model, own, **placing)
    runs = []
    for label, folder, loras in _plan(variants):
        report.note(f"{label}: {target / folder}")
        stack = [(one.path, one.scale) for one in loras]
        done = capture(
            name, prompts, model=session, lora=stack, out=target / folder, report=report, **given
        )
        note_failures(done, label, report)
        runs.append(open_run(target / folder, label))
    return target, tuple(runs), _read_files(variants, model)


def infer_backend(variants: Sequence[Variant]) -> str:
    """Return the family that all LoRAs are made for, as their keys tell.

    Raises:
        UsageError: they are of several families, or of one that has no backend.
        ModelError: a file is no LoRA.
    """
    from attn.lora import read

    paths = dict.fromkeys(lora.path for variant in variants for lora in variant.loras)
    families = {path: read(Path(path)).family for path in paths}
    names = {family.name for family in families.values()}
    (name, *others) = names
    if others or name is None:
        told = "; ".join(f"{path} is for {one.title}" for path, one in families.items())
        raise UsageError(f"the LoRAs do not tell which backend to use: {told}; name it with -b")
    return name


def name_folders(labels: Sequence[str]) -> list[str]:
    """Return names of folders for variants: legal everywhere, different, and not the baseline's."""
    names: list[str] = []
    for label in labels:
        plain = re.sub(r"[^\w.+-]+", "-", label).strip("-.")[:LONGEST] or "lora"
        taken = {BASE, "tables", "variants", *(name.casefold() for name in names)}
        number = 2
        name = plain
        while name.casefold() in taken:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names


def _plan(variants: Sequence[Variant]) -> list[tuple[str, str, tuple[Any, ...]]]:
    """Return label, folder and LoRAs of everything that is generated, the baseline first."""
    folders = name_folders([variant.label for variant in variants])
    labels = [
        folder if variant.label == BASE else variant.label
        for variant, folder in zip(variants, folders, strict=True)
    ]
    stacks = [variant.loras for variant in variants]
    return [(BASE, BASE, ()), *zip(labels, folders, stacks, strict=True)]


def note_failures(done: Captured, label: str, report: Report) -> None:
    """Warn of every trace of a run that failed."""
    for entry in done.failures:
        report.warn(f"{label}: seed {entry.seed} of '{entry.prompt}' failed: {entry.error}")


def _read_files(variants: Sequence[Variant], model: object) -> dict[str, LoraFile]:
    """Read what single LoRAs change, held against the model where that is a file or folder."""
    from attn.lora import read
    from attn.verbs.lora import find_model

    files = {}
    for variant in variants:
        if len(variant.loras) == 1:
            path = Path(variant.loras[0].path)
            try:
                base = find_model(str(model), path) if isinstance(model, str | Path) else None
            except ModelError:  # it is made of separate parts
                base = None
            files[variant.label] = read(path, base)
    return files
