"""What a comparison left: the value of `attn.compare` and `attn.ablate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.verbs.report_page import REPORT

if TYPE_CHECKING:
    import xarray as xr
    from pandas import DataFrame

    from attn.analysis.compare.differences import Difference
    from attn.verbs.capture.capture import Captured

SCHEMA = 1
"""Version of `comparison.json`."""


@dataclass(frozen=True)
class Compared:
    """What a comparison left.

    Attributes:
        path: folder of the results, `comparison` in the one that was asked for.
        base: what the baseline is called.
        variants: number of pairs of images by what a variant is called.
        tables: data frames by name, such as `mass.csv`, each made when it is looked at.
        files: relative to `path`.
        warnings: what the reader of the results should know.
        plans: of a dry run what would be generated, the baseline first; then nothing else is there.
        answer: what changed, in sentences: the first paragraph of `report.html`.
        differences: settings in which a variant differs from the baseline, by what it is called.
        controls: what each variant that is a control is of another, such as `null of style`, by
            what it is called.
        maps: where each word is read, (value, word, row, column), by what a variant is called; made
            when it is looked at. See `attn.analysis.compare.mean_maps:mean_maps`.
        noun: what pairs are of.
    """

    path: Path
    base: str
    variants: Mapping[str, int]
    tables: Mapping[str, DataFrame] = field(repr=False)
    files: tuple[str, ...] = field(repr=False)
    warnings: tuple[str, ...]
    plans: tuple[Captured, ...] = field(default=(), repr=False)
    answer: str = ""
    differences: Mapping[str, tuple[Difference, ...]] = field(default_factory=dict)
    controls: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, xr.DataArray] = field(default_factory=dict, repr=False)
    noun: str = "image"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return what a notebook shows: the page of what was made."""
        from attn.verbs.view import show_path

        return show_path(self.path, repr(self))

    @property
    def pictures(self) -> dict[str, Path]:
        """The figures and images that were written, by their names in `files`."""
        return {name: self.path / name for name in self.files if name.endswith(".png")}

    @property
    def report(self) -> Path:
        """The page that tells all of it."""
        return self.path / REPORT

    @property
    def predicted_bytes(self) -> int:
        """Bytes of all folders `attention/` that a dry run plans."""
        return sum(plan.predicted_bytes for plan in self.plans)
