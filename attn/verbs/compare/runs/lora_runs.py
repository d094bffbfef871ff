"""`attn compare --lora`: generate with and without LoRAs from the same noise, then compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.errors import ModelError, RequestError, UsageError
from attn.schema import Request
from attn.verbs.capture.families import SKETCH, complete_loras
from attn.verbs.capture.first_checks import check_drawing, check_loras
from attn.verbs.capture.folders import name_folders
from attn.verbs.compare.options import CompareOptions
from attn.verbs.compare.runs.control_variants import add_controls
from attn.verbs.compare.runs.leak_runs import add_leak
from attn.verbs.compare.runs.variant_runs import (
    BASE,
    RESERVED,
    Generated,
    Required,
    Sessions,
    choose_setting,
    generate_variants,
)
from attn.verbs.lora_specs import LoraVariant, lone_scales, parse_variants, tell_idle
from attn.verbs.report import Report

if TYPE_CHECKING:
    from attn.backends import Session
    from attn.lora import LoraFile
    from attn.lora.base.weights import Base
    from attn.schema import Lora


def generate(
    options: CompareOptions, settings: Mapping[str, str], report: Report, require: Required
) -> Generated:
    """Generate the baseline and every LoRA, with one model in memory.

    Args:
        options: of the comparison; its `lora` are the variants, a stack `A+B`, a sweep over scales
            `A:0,0.5,1`. The traces go to `base` and one folder per variant in its `out`.
        settings: options of the backend as KEY: VALUE.
        report: told notes, warnings and progress.
        require: what keeps anything from being generated.

    Raises:
        UsageError: an argument is wrong in itself, or nothing says which family to use.
        AttnError: see `attn.capture`; what was finished stays on disk.
    """
    variants = parse_variants(options.lora)
    if not variants:
        raise UsageError("lora: nothing is named; give a file with --lora FILE")
    for spec in lone_scales(options.lora) if len(variants) == 1 else ():
        report.warn(f"{spec}: one scale beside the baseline makes no curve; give two or more")
    for text in (text for variant in variants for text in tell_idle(variant.loras)):
        report.warn(text)
    plain, variants = variants, add_controls(variants, options)
    for variant in variants:
        check_loras(variant.loras)
    check_drawing(settings.get(SKETCH))
    backend = options.backend or infer_backend(variants)
    setting = choose_setting(backend, options, settings, require)
    # what is wrong with a file is said before a model is loaded
    stacks = [complete_loras(setting.family, variant.loras) for variant in variants]
    bases: list[Base] = []
    sessions = Sessions(setting, partial(_require_fit, stacks, bases))
    done = generate_variants(setting, _plan(variants), options.out, report, require, sessions)
    if options.leak:
        done = add_leak(done, setting, _plan(plain), options, (report, sessions))
    if options.dry_run:
        return done
    return replace(done, files=_read_files(plain, setting.model, bases[-1]))


def infer_backend(variants: Sequence[LoraVariant]) -> str:
    """Return the family that all LoRAs are made for, as their keys tell.

    Raises:
        UsageError: they are of several families, or of one that has no backend.
        ModelError: a file is no LoRA.
    """
    from attn.checkpoints.families import backend_of
    from attn.lora import read

    paths = dict.fromkeys(lora.path for variant in variants for lora in variant.loras)
    families = {path: read(Path(path)).family for path in paths}
    (name, *others) = {backend_of(family.name) for family in families.values()}
    if others or name is None:
        told = "; ".join(f"{path} is for {family.title}" for path, family in families.items())
        raise UsageError(f"the LoRAs do not tell which backend to use: {told}; name it with -b")
    return name


def _require_fit(stacks: Sequence[tuple[Lora, ...]], bases: list[Base], session: Session) -> None:
    """Raise before anything is generated if LoRAs do not fit the model.

    What fits in part is left to the captures, which warn of it in their traces. Where the model's
    weights are is added to `bases`, which can be kept when the model is gone.

    Raises:
        ModelError: names the first that does not fit.
    """
    from attn.backends.diffusers.adapters import describe_towers

    for stack in stacks:
        with suppress(RequestError):  # of defaults that are not those of the captures
            session.complete(Request(prompt="", loras=stack))
    bases.append(describe_towers(session.towers()))


def _plan(variants: Sequence[LoraVariant]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return label, folder and LoRAs of everything that is generated, the baseline first."""
    folders = name_folders([variant.label for variant in variants], RESERVED)
    labels = [
        folder if variant.label == BASE else variant.label
        for variant, folder in zip(variants, folders, strict=True)
    ]
    stacks = [{"lora": list(variant.loras)} for variant in variants]
    return [(BASE, BASE, {"lora": []}), *zip(labels, folders, stacks, strict=True)]


def _read_files(
    variants: Sequence[LoraVariant], model: object, loaded: Base
) -> dict[str, LoraFile]:
    """Read what single LoRAs changed, held against the model where that is a file or folder.

    Args:
        variants: those of several LoRAs are left out.
        model: what was opened.
        loaded: where the weights of the loaded model are.
    """
    from attn.lora import read
    from attn.lora.base.fit import applied
    from attn.verbs.lora import find_model

    files = {}
    for variant in variants:
        if len(variant.loras) == 1:
            (lora,) = variant.loras
            path = Path(lora.path)
            try:
                base = find_model(str(model), path) if isinstance(model, str | Path) else None
            except ModelError:  # it is made of separate parts
                base = None
            files[variant.label] = applied(read(path, base, lora.adapter), loaded, lora)
    return files
