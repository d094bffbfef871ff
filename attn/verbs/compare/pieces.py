"""What was read of single traces, which may be kept until runs are compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from attn.errors import TraceError
from attn.verbs.analyze.earlier import trace_digest
from attn.verbs.compare.pairing import ComparedRun, open_member, open_runs, pair_up
from attn.verbs.workers.pieces import PieceFolder, TracePiece

if TYPE_CHECKING:
    from attn.analysis.compare.pairs import PairOptions
    from attn.analysis.compare.reading import SideReading, SideSelection
    from attn.trace.trace import Trace
    from attn.verbs.report import Report
    from attn.verbs.workers.work import ReadRecipe

PIECES = ".comparison.pieces"
ARRAYS = ("mass", "mass_steps", "share", "share_steps", "maps")


class KeptReadings:
    """What was read of traces, by trace and by what was selected."""

    def __init__(self, out: Path, options: PairOptions) -> None:
        """Take what is compared.

        Args:
            out: folder of the comparison.
            options: what is compared.
        """
        self._pieces = PieceFolder(out / PIECES, asdict(options))

    def read(self, trace: Trace, selection: SideSelection) -> SideReading:
        """Read what was selected of a trace, unless that was done.

        Raises:
            TraceError: a shard is damaged.
        """
        from attn.analysis.compare.reading import SideReading, read

        piece = self._pieces.read(*_key(trace, selection))
        if piece is None:
            return read(trace, selection)
        arrays = {name: piece.arrays.get(name) for name in ARRAYS}
        return SideReading(selection.terms, **arrays, lack=piece.facts)  # type: ignore[arg-type]

    def keep(self, trace: Trace, selection: SideSelection) -> None:
        """Read what was selected of a trace, unless that was done, and keep it.

        Raises:
            TraceError: a shard is damaged, or the disk is full.
        """
        reading = self.read(trace, selection)
        arrays = {name: getattr(reading, name) for name in ARRAYS}
        present = {name: array for name, array in arrays.items() if array is not None}
        self._pieces.write(TracePiece(reading.lack, present), *_key(trace, selection))

    def forget(self) -> None:
        """Take away what was kept.

        Raises:
            TraceError: it cannot be removed.
        """
        self._pieces.remove()


def look_at_pairs(
    runs: Sequence[ComparedRun], options: PairOptions, kept: KeptReadings
) -> Callable[[int], None]:
    """Return what reads a trace of the baseline, by index, and its partner in every variant."""
    from attn.analysis.compare.pairs import select_pair

    base, *others = runs
    pairings = [pair_up(base, run) for run in others]

    def look(index: int) -> None:
        trace = open_member(base.members[index])
        for pairing in pairings:
            for partner in pairing.partners(index):
                other = open_member(partner)
                _, first, second = select_pair(trace, other, options)
                kept.keep(trace, first)
                kept.keep(other, second)

    return look


def open_look(recipe: ReadRecipe, report: Report) -> Callable[[int], object]:
    """Return what a worker does with each trace of the baseline, by index."""
    from attn.verbs.compare.compare import parse

    options = dict(recipe.options)
    out = Path(options.pop("out"))
    selection = parse(**options)
    runs = open_runs([Path(run) for run in recipe.runs])
    return look_at_pairs(runs, selection, KeptReadings(out, selection))


def _key(trace: Trace, selection: SideSelection) -> tuple[str, str]:
    if trace.folder is None:
        raise TraceError("a trace in memory has no folder, so that nothing of it can be kept")
    about = msgspec.to_builtins(selection, enc_hook=str)
    return trace_digest(trace.folder), json.dumps(about, sort_keys=True)
