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
from attn.verbs.capture import arguments as check
from attn.verbs.capture.folders import name_folders
from attn.verbs.compare.lora_specs import LoraVariant, Spec, parse_variants
from attn.verbs.compare.variant_runs import (
    BASE,
    RESERVED,
    Generated,
    Required,
    choose_setting,
    generate_variants,
)
from attn.verbs.report import Report

if TYPE_CHECKING:
    from attn.backends import Session
    from attn.lora import LoraFile
    from attn.lora.base import Base
    from attn.schema import Lora


def generate(
    lora: Spec | Sequence[Spec],
    prompt: str | Sequence[str] | None,
    out: str | Path | None,
    options: Mapping[str, Any],
    report: Report,
    require: Required,
) -> Generated:
    """Generate the baseline and every variant, with one model in memory.

    Args:
        lora: one variant or several; a stack is `A+B`, a sweep over scales `A:0,0.5,1`.
        prompt: one or several; None takes the example of the built-in demo model.
        out: folder; the traces go to `base` and one folder per variant in it.
        options: further arguments of `attn.capture`. `backend` is that of the LoRAs if missing,
            `seed` 0 to 15, `keep` `means`.
        report: told notes, warnings and progress.
        require: what keeps anything from being generated.

    Raises:
        UsageError: an argument is wrong in itself, or nothing says which family to use.
        AttnError: see `attn.capture`; what was finished stays on disk.
    """
    variants = parse_variants(lora)
    if not variants:
        raise UsageError("lora: nothing is named; give a file with --lora FILE")
    arguments = dict(options)
    setting = choose_setting(arguments.pop("backend", None) or infer_backend(variants), arguments)
    # what is wrong with a file is said before a model is loaded
    stacks = [check.complete_loras(setting.family, variant.loras) for variant in variants]
    bases: list[Base] = []
    fitting = partial(_require_fit, stacks, bases)
    done = generate_variants(setting, _plan(variants), prompt, out, report, require, fitting)
    is_plan = bool(setting.arguments.get("dry_run"))
    return replace(done, files={} if is_plan else _read_files(variants, setting.model, bases[-1]))


def infer_backend(variants: Sequence[LoraVariant]) -> str:
    """Return the family that all LoRAs are made for, as their keys tell.

    Raises:
        UsageError: they are of several families, or of one that has no backend.
        ModelError: a file is no LoRA.
    """
    from attn.lora import read
    from attn.lora.families import BACKENDS

    paths = dict.fromkeys(lora.path for variant in variants for lora in variant.loras)
    families = {path: read(Path(path)).family for path in paths}
    (name, *others) = {BACKENDS.get(family.name or "") for family in families.values()}
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
    from attn.lora.fit import applied
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
