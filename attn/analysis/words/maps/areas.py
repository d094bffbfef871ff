"""Tables of where words are ahead: of the whole picture, and cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn.analysis.tables import Table, count_rows, make_table, stack_tables
from attn.analysis.words.maps.cells import GRIDS, cell_masses, tabulate_cells
from attn.analysis.words.maps.dominance import Dominance, dominance, lift, rivals
from attn.shapes import WordMaps

if TYPE_CHECKING:
    from attn.analysis.words.word_measures import SegmentWords

FOLDER = "base_analysis"
"""Below a segment: tables and figures that LoRA Attention Analyzer has in a folder of this name."""


@dataclass(frozen=True)
class Contest:
    """Who competes for the places of a picture: `measure` decides, among `names` if there are."""

    measure: Dominance
    names: Sequence[str] | None = None

    def winners(
        self, maps: WordMaps, measured: SegmentWords
    ) -> tuple[NDArray[np.int64], list[int]]:
        """Return (sample, row, column), the index of the dominant word, and who competes."""
        there = np.flatnonzero(measured.tokens)
        words = [measured.words[int(index)] for index in there]
        among = [int(there[index]) for index in rivals(words, self.names)]
        return dominance(maps, among, self.measure), among


def tabulate_places(maps: WordMaps, measured: SegmentWords, contest: Contest) -> dict[str, Table]:
    """Return `dominant.csv` and `grid_analysis_NxN.csv` of a segment, by their paths.

    Args:
        maps: (sample, word, row, column).
        measured: the words.
        contest: what decides which word is dominant, and among which.
    """
    tables = {f"{measured.segment}/tables/dominant.csv": _areas(maps, measured, contest)}
    there = np.flatnonzero(measured.tokens)
    for count in GRIDS:
        masses = cell_masses(maps, count)
        winners, _ = contest.winners(masses, measured)
        rank = np.full(len(measured.words) + 1, -1)  # of no word, too
        rank[there] = np.arange(len(there))
        words = [measured.words[int(index)] for index in there]
        tabulated = [
            tabulate_cells(of_sample[there], words, measured.segment, rank[winner])
            for of_sample, winner in zip(masses, winners, strict=True)
        ]
        path = f"{measured.segment}/{FOLDER}/grid_analysis_{count}x{count}.csv"
        tables[path] = stack_tables(
            {"sample": np.full(count_rows(table), sample)} | table
            for sample, table in enumerate(tabulated)
        )
    return tables


def _areas(maps: WordMaps, measured: SegmentWords, contest: Contest) -> Table:
    """Return one row per word that competes and sample."""
    winners, among = contest.winners(maps, measured)
    highest = lift(maps[:, among]).max(axis=(2, 3))
    index, sample = np.indices((len(among), len(maps))).reshape(2, -1)
    words = [measured.words[word] for word in among]
    areas = np.stack([(winners == word).mean(axis=(1, 2)) for word in among])
    return make_table(
        {
            "word": np.array([word.text for word in words], object)[index],
            "occurrence": np.array([word.number for word in words])[index],
            "segment": np.full(index.size, measured.segment, object),
            "sample": sample,
            "dominant": areas.ravel(),
            "lift_max": highest.T.ravel(),
        }
    )
