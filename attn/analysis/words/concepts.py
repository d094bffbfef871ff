"""Which of some words outside the prompt each place of the picture is closest to.

The maps are those of `Trace.concept_maps`: at each place the concepts share out 1, so a map says
which of these concepts is meant, and not whether any is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from attn.analysis.needs import Needs
from attn.analysis.result import Result
from attn.analysis.tables import Table, make_table
from attn.analysis.words.select import select_layers, select_steps
from attn.schema import CONCEPT_MEASURES
from attn.trace.words.concepts import concept_layers

if TYPE_CHECKING:
    import xarray as xr

    from attn.trace.trace import Trace

NEEDS = Needs(segments=("image",), concepts=True)
TABLE = "concepts/concepts.csv"


@dataclass(frozen=True)
class ConceptsOptions:
    """What to look at."""

    among: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "concepts that share out each place, a+b as one; empty is all; --keep factors"
        },
    )
    layers: tuple[str, ...] = field(
        default=(), metadata={"help": "7, 0-11, or a glob of the path; empty is every layer"}
    )
    steps: tuple[str, ...] = field(default=(), metadata={"help": "7 or 0-9; empty is every step"})


def run(trace: Trace, options: ConceptsOptions) -> Result:
    """Measure the maps of concepts, in the first guidance row that was kept.

    Returns:
        `concepts/concepts.csv`, a row per measure, sample and concept; to draw, by measure, the
        maps (sample, concept, row, column).

    Raises:
        AnalysisError: a layer, step or concept is not there.
        TraceError: there is nothing of which maps of some concepts could be made.
    """
    steps = select_steps(trace.steps, options.steps) if options.steps else None
    arrays = {}
    for measure in CONCEPT_MEASURES:
        having = concept_layers(trace, measure)
        if having:
            layers = select_layers(
                having, options.layers, captured=trace.layers, having="maps of concepts"
            )
            arrays[measure] = trace.concept_maps(
                measure,
                among=options.among,
                layers=[layer.index for layer in layers],
                steps=steps,
                branch=trace.branches[0],
            )
    return Result({TABLE: _tabulate(arrays)}, arrays)


def _tabulate(arrays: dict[str, xr.DataArray]) -> Table:
    """Return shares, leads and peaks; places are the middles of cells, 0 to 1 from the corner."""
    rows = []
    for measure, maps in arrays.items():
        leader = maps.values.argmax(1)
        for sample, of_sample in enumerate(maps.values):
            for number, concept in enumerate(maps["concept"].values):
                values = of_sample[number]
                peak = np.unravel_index(values.argmax(), values.shape)
                rows.append(
                    {
                        "measure": measure,
                        "sample": sample,
                        "concept": str(concept),
                        "share": float(values.mean(dtype=np.float64)),
                        "leads": float((leader[sample] == number).mean()),
                        "peak": float(values.max()),
                        "peak_row": (int(peak[0]) + 0.5) / values.shape[0],
                        "peak_column": (int(peak[1]) + 0.5) / values.shape[1],
                    }
                )
    return make_table({name: np.array([row[name] for row in rows]) for name in rows[0]})
