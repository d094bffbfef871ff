"""A LoRA file as plain data, for JSON and for tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from attn.lora.changes.kinds import KINDS
from attn.lora.file import Group, LoraFile, Module, blocks, counted, is_finite, targets, towers
from attn.lora.metadata import highlights
from attn.lora.names import DENOISER
from attn.schema import kohya_name, short_name

FIRST = 5
"""So many tensors are listed with their shapes."""


def describe(lora: LoraFile) -> dict[str, Any]:
    """Return all that is known of a file as JSON can hold it; what is not finite is null."""
    return {
        "file": _file(lora),
        "tensors": _tensors(lora),
        "format": _format(lora),
        "family": _family(lora),
        "norm": lora.norm,
        "towers": [_group(group, lora.norm) for group in towers(lora)],
        "targets": [_group(group, lora.norm) for group in targets(lora)],
        "blocks": block_rows(lora),
        "modules": [module_row(module) for module in lora.modules],
        "training": highlights(lora.metadata),
        "metadata": dict(lora.metadata),
        "oddities": [
            {"kind": odd.kind, "message": odd.message, "names": list(odd.names)}
            for odd in lora.oddities
        ],
        "model": None
        if lora.base is None
        else {"path": str(lora.base.path), "missing": dict(lora.base.missing)},
    }


def _file(lora: LoraFile) -> dict[str, Any]:
    return {
        "path": str(lora.path),
        "modules": list(lora.selection),
        "bytes": lora.size,
        "sha256": lora.sha256,
        "weights_sha256": lora.weights_sha256,
        "config_sha256": lora.config_sha256,
        "parameters": sum(info.elements for info in lora.header.tensors.values()),
        "dtypes": counted(info.dtype for info in lora.header.tensors.values()),
    }


def _tensors(lora: LoraFile) -> dict[str, Any]:
    """Count tensors: all, those of each tower, pairs of factors, alphas; list the first."""
    of_towers: dict[str, int] = {}
    for module in lora.modules:
        of_towers[module.tower] = of_towers.get(module.tower, 0) + len(module.roles)
    return {
        "count": len(lora.header.tensors),
        "towers": of_towers,
        "pairs": sum({"down", "up"} <= set(module.roles) for module in lora.modules),
        "alphas": sum("alpha" in module.roles for module in lora.modules),
        "unknown": len(lora.unknown),
        "unread": sum(len(module.unread) for module in lora.modules),
        "embeddings": len(lora.embeddings),
        "first": [
            {
                "name": name,
                "dtype": info.dtype,
                "shape": list(info.shape),
                "bytes": info.stop - info.start,
            }
            for name, info in list(lora.header.tensors.items())[:FIRST]
        ],
    }


def _format(lora: LoraFile) -> dict[str, Any]:
    return {
        "spelling": counted(module.spelling for module in lora.modules),
        "kinds": counted(module.kind for module in lora.modules),
        "titles": kind_titles(lora),
        "ranks": counted(str(m.rank) for m in lora.modules if m.rank is not None),
        "alphas": counted(_number(m.alpha) for m in lora.modules if m.alpha is not None),
        "scales": counted(_number(m.scale) for m in lora.modules if m.rank is not None),
        "adapters": list(lora.adapters),
        "loadable": lora.loadable,
        "backend": lora.backend,
        "reasons": list(lora.reasons),
    }


def _number(value: float) -> str:
    return f"{value:g}"


def kind_titles(lora: LoraFile) -> list[str]:
    """Return the kinds of change in a file as they are known, the most frequent first."""
    titles = counted(_title(module) for module in lora.modules)
    return list(titles)


def _title(module: Module) -> str:
    title = KINDS[module.kind].title
    if module.kind == "lora" and (module.has_core or math.prod((module.shape or ())[2:]) > 1):
        title = "LoCon (LoRA of convolutions)"
    return f"{title} with DoRA" if module.is_dora else title


def _family(lora: LoraFile) -> dict[str, Any]:
    family = lora.family
    return {"name": family.name, "title": family.title, "evidence": list(family.evidence)}


def _group(group: Group, whole: float | None) -> dict[str, Any]:
    return {
        "tower": group.tower,
        "name": group.name,
        "modules": len(group.modules),
        "norm": group.norm,
        "share": group.share(whole),
        "relative": group.relative,
    }


def block_rows(lora: LoraFile) -> list[dict[str, Any]]:
    """Return one row for every block, in the order of the network."""
    return [
        {
            "place": index,
            "tower": group.tower,
            "block": group.name,
            "name": short_name(group.name),
            "kohya": kohya_name(group.name) if group.tower == DENOISER else "",
            "modules": len(group.modules),
            "norm": group.norm,
            "share": group.share(lora.norm),
            "relative": group.relative,
        }
        for index, group in enumerate(blocks(lora))
    ]


def module_row(module: Module) -> dict[str, Any]:
    """Return one module; `shape` is spelled 640x320."""
    return {
        "tower": module.tower,
        "block": module.block.name,
        "target": module.target,
        "name": module.name,
        "kind": module.kind,
        "dora": module.is_dora,
        "rank": module.rank,
        "alpha": _finite(module.alpha),
        "scale": _finite(module.scale),
        "shape": None if module.shape is None else "x".join(map(str, module.shape)),
        "dtype": " ".join(module.dtypes),
        "norm": _finite(module.norm),
        "base_path": module.base_path,
        "base_norm": _finite(module.base_norm),
        "relative": _finite(module.relative),
        "problem": module.problem,
    }


def _finite(value: float | None) -> float | None:
    return value if is_finite(value) else None


def columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows of the same keys as columns."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return values
