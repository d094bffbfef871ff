"""What a page has to know of a comparison: its index, its tables, and the traces it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attn.errors import TraceError
from attn.files.disk import is_file
from attn.files.markers import require_unchanged
from attn.files.outside import read_json
from attn.files.results import COMPARISON

NEWEST = 1
"""Highest `schema` that is understood."""
SUMMARY = "summary.png"
PAIRS_SHOWN = 10_000


@dataclass(frozen=True)
class _Difference:
    name: str
    base: Any = None
    variant: Any = None


@dataclass(frozen=True)
class _Run:
    name: str
    path: str = ""
    pairs: int = 0
    same_noise: int = 0
    notes: tuple[str, ...] = ()
    differences: tuple[_Difference, ...] = ()


@dataclass(frozen=True)
class ComparisonIndex:
    """What a page says of a comparison, of its `comparison.json`."""

    schema: int
    base: _Run
    variants: tuple[_Run, ...]
    files: tuple[str, ...]
    answer: str = ""
    controls: dict[str, str] = field(default_factory=dict)
    sweep: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What was compared with what."""
        return f"{', '.join(variant.name for variant in self.variants)} against {self.base.name}"


@dataclass(frozen=True)
class ListedTrace:
    """A trace that was opened, and could be one of a compared run.

    Attributes:
        id: what addresses name it by.
        folder: where it lies.
        prompt: that it is of.
        seed: that it was drawn from.
    """

    id: str
    folder: Path
    prompt: str
    seed: int


def is_comparison(folder: Path) -> bool:
    """Whether a folder holds the results of a comparison."""
    return is_file(folder / COMPARISON)


def read_comparison(folder: Path) -> ComparisonIndex:
    """Return the index of a comparison.

    Raises:
        TraceError: it cannot be read, is damaged, or a newer `attn` wrote it.
    """
    path = folder / COMPARISON
    require_unchanged(folder, COMPARISON)
    index = read_json(path, ComparisonIndex, expected="the index of a comparison")
    if index.schema > NEWEST:
        raise TraceError(
            f"{path} has schema {index.schema}, this attn reads up to schema {NEWEST}: update attn"
        )
    return index


def describe_comparison(folder: Path, members: Sequence[ListedTrace]) -> dict[str, Any]:
    """Return the facts of a comparison, as plain data.

    Args:
        folder: of the results.
        members: all traces that were opened; no other is ever read.

    Returns:
        `screen`; `answer`, `base`, `variants`, `controls`, `sweep` and `warnings` as in its index;
        `tables`, bytes by name; and `pairs`, the `prompt` and `seed` of traces that were opened,
        with the `id` of each run's, by the run's name.

    Raises:
        TraceError: its index cannot be read.
    """
    index = read_comparison(folder)
    return {
        "screen": "comparison",
        "answer": index.answer,
        "base": index.base.name,
        "variants": index.variants,
        "controls": index.controls,
        "sweep": index.sweep,
        "warnings": index.warnings,
        "tables": dict(_tables(folder, index)),
        "pairs": _pairs(folder, index, members),
    }


def _tables(folder: Path, index: ComparisonIndex) -> list[tuple[str, int]]:
    tables = []
    for name in index.files:
        path = folder / name
        if name.startswith("tables/") and name.endswith(".csv") and is_file(path):
            tables.append((name, path.stat().st_size))
    return tables


def _pairs(
    folder: Path, index: ComparisonIndex, members: Sequence[ListedTrace]
) -> list[dict[str, Any]]:
    """Return which traces were compared with each other, as far as they were opened."""
    by_run = {run.name: _members(folder, run, members) for run in (index.base, *index.variants)}
    keys = dict.fromkeys(key for found in by_run.values() for key in found)
    return [
        {
            "prompt": prompt,
            "seed": seed,
            "ids": {
                name: found[prompt, seed]
                for name, found in by_run.items()
                if (prompt, seed) in found
            },
        }
        for prompt, seed in list(keys)[:PAIRS_SHOWN]
    ]


def _members(
    folder: Path, run: _Run, members: Sequence[ListedTrace]
) -> Mapping[tuple[str, int], str]:
    """Return the ids of the opened traces of a run, by prompt and seed.

    The path in the index is a text that is compared with those of opened traces, or with what lies
    beside the comparison under the same name, where all of it was moved.
    """
    places = {Path(run.path), folder.parent / Path(run.path).name} if run.path else set()
    return {
        (member.prompt, member.seed): member.id
        for member in members
        if member.folder in places or member.folder.parent in places
    }
