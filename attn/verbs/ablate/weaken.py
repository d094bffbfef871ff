"""`attn ablate --weaken`: heads in the order of what a scan found, a few of them, then more.

Source: head relevance vectors (arXiv 2412.02237) are checked so: the maps of the first heads are
multiplied by -2, most relevant first, then least relevant first.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

from attn.analysis.compare.written import TOKEN
from attn.errors import RequestError
from attn.explorer.comparisons import is_comparison, read_comparison
from attn.files.disk import is_file, is_folder
from attn.files.outside import read_text
from attn.schema import CutTarget, Intervention
from attn.trace.store import read_manifest
from attn.verbs.ablate.scan import CutVariant
from attn.verbs.compare.controls.cut_effects import CUTS, LEVEL
from attn.verbs.compare.controls.weakening import LEAST, MOST, name_weakened
from attn.verbs.compare.pairing import FOLDER, open_run
from attn.verbs.parsing import finite_number

TABLE = f"tables/{CUTS}"
FEWEST = 2

Head = tuple[str, int]
"""A layer, as a cut names it, and a head of it."""


def read_ranking(scan: str | Path) -> list[Head]:
    """Return the heads of a scan, the one that changed most first.

    Args:
        scan: what `attn ablate --scan heads` left: its folder, or `comparison` in it.

    Raises:
        RequestError: it is none.
        AttnError: it cannot be read.
    """
    folders = [Path(scan) / FOLDER, Path(scan)]
    folder = next((of for of in folders if is_comparison(of)), None)
    if folder is None or not is_file(folder / TABLE):
        raise RequestError(
            f"weaken: {scan} is not of a scan of heads; give the folder that attn ablate --scan "
            "heads left"
        )
    rows = [row for row in _rows(folder / TABLE) if row.get("measure") in (LEVEL, TOKEN)]
    heads = {
        run.name: _head(folder, run.name, run.path) for run in read_comparison(folder).variants
    }
    effects: dict[Head, float] = {}
    for row in rows:
        head, change = heads.get(row.get("cut") or ""), finite_number(row.get("change") or "")
        if head is None or head in effects or change is None:
            raise RequestError(
                f"weaken: {row.get('cut')} in {folder / TABLE} is not one head cut once, with what "
                "it changed; give the folder that attn ablate --scan heads left"
            )
        effects[head] = change
    if len(effects) < FEWEST:
        raise RequestError(f"weaken: {folder / TABLE} has {len(effects)} heads, too few to order")
    return sorted(effects, key=lambda head: -effects[head])


def _rows(path: Path) -> list[dict[str, str | None]]:
    try:
        return list(csv.DictReader(StringIO(read_text(path, error=RequestError))))
    except csv.Error as error:
        raise RequestError(f"weaken: {path} is no table of a scan: {error}") from error


def _head(folder: Path, name: str, path: str) -> Head | None:
    """Return which head a run of a scan cut; None if it is not one.

    A scan that was moved as a whole has its runs beside its comparison.
    """
    places = [Path(path), folder.parent / Path(path).name]
    run = open_run(next((of for of in places if is_folder(of)), places[0]), name)
    cuts = read_manifest(run.members[0].folder).request.interventions
    target = cuts[-1].target if cuts else None
    if target is None or len(target.layers) != 1 or len(target.heads) != 1:
        return None
    return target.layers[0], target.heads[0]


def weaken_cuts(
    ranking: Sequence[Head], cuts: Sequence[CutVariant], factor: float, points: int
) -> list[CutVariant]:
    """Return a variant for each number of heads and each order.

    Args:
        ranking: the heads, most relevant first.
        cuts: what is done in those heads; none weighs all that they read.
        factor: on the probabilities of those heads, where no cut is named.
        points: how many numbers of heads, evenly apart; the last is not yet all.

    Raises:
        RequestError: more than one cut is named, or it is limited already.
    """
    if len(cuts) > 1:
        raise RequestError("weaken: one --cut at a time is done in the heads")
    act = cuts[0].cut if cuts else Intervention(CutTarget(queries="all"), "weigh", factor)
    if act.target.layers or act.target.heads:
        raise RequestError(f"weaken: {cuts[0].name} is limited to heads or layers; leave that out")
    counts = [round(len(ranking) * at / (points + 1)) for at in range(1, points + 1)]
    return [
        CutVariant(name_weakened(count, order), _in_heads(act, heads[:count]))
        for order, heads in ((MOST, ranking), (LEAST, ranking[::-1]))
        for count in dict.fromkeys(max(1, count) for count in counts)
    ]


def _in_heads(act: Intervention, heads: Sequence[Head]) -> tuple[Intervention, ...]:
    """Return an act for each layer, done in its heads."""
    by_layer: dict[str, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    return tuple(
        replace(act, target=replace(act.target, layers=(layer,), heads=tuple(sorted(of))))
        for layer, of in sorted(by_layer.items())
    )
