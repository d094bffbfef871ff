"""The files of each family, one module for each with its declaration, `FAMILY`.

    *    one family: parts, layouts, published sizes, pipelines, tokenizers, LoRAs

A module put here is known everywhere: to `attn backends --model`, to the loading of files, to
`attn lora` and to the placing of LoRAs. Removing it removes the family.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attn.checkpoints.family import FamilyFiles
    from attn.checkpoints.layouts import Naming
    from attn.checkpoints.lora_kinds import LoraKind


@cache
def families() -> dict[str, FamilyFiles]:
    """Return the declarations by the names of the families."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return {module.FAMILY.name: module.FAMILY for module in modules}


@cache
def layouts() -> tuple[Naming, ...]:
    """Return the layouts of authors."""
    tables = (family.transformer for family in families().values())
    return tuple(table.layout for table in tables if table)


@cache
def pipelines() -> dict[str, str]:
    """Return families by the class that a diffusers folder names; see `family_of`."""
    ordered = sorted(families().values(), key=lambda family: not family.unet)
    return {name: family.name for family in ordered for name in family.pipelines}


def family_of(pipeline: str, unet: Mapping[str, object]) -> str | None:
    """Return the family of a pipeline; None where none has its class.

    Args:
        pipeline: its class.
        unet: the configuration of its UNet; empty where it has none.
    """
    for family in families().values():
        said = {name: unet.get(name) for name in family.unet}
        if family.unet and unet and pipeline in family.pipelines and said == family.unet:
            return family.name
    return pipelines().get(pipeline)


@cache
def lora_kinds() -> dict[str | None, LoraKind]:
    """Return the kinds of LoRAs by name."""
    return {kind.name: kind for family in families().values() for kind in family.loras}


def backend_of(lora: str | None) -> str | None:
    """Return the backend that opens the models of a kind of LoRAs; None if none does."""
    owners = {kind.name: each.name for each in families().values() for kind in each.loras}
    return owners.get(lora)


def base_family(family: str) -> str:
    """Return the family whose parts and layouts a family's models have: their own, or another's."""
    return (families()[family].base if family in families() else None) or family
