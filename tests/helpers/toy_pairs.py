"""Pairs of toy traces whose words and images change by as much as a test asks for."""

from dataclasses import replace

import numpy as np

from attn.analysis.compare.pairs import PairOptions, compare_pair
from tests.helpers.toy_traces import make_trace, manifest

SEEDS = range(5)
RNG = np.random.default_rng(5)


def make_pairs(levels, **factors):
    """Return pairs whose images change by levels, and whose words by factors, a bit at random."""
    about = manifest(samples=1)
    made = []
    for seed in SEEDS:
        trace = make_trace(replace(about, request=replace(about.request, seed=seed)))
        pair = compare_pair(trace, trace, PairOptions(), {})
        mass = pair.base.mass.copy()
        for at, term in enumerate(pair.terms):
            mass[:, at] *= 1 + factors.get(term.text, 0.0) * (1 + RNG.normal() / 50)
        images = np.array([[levels * (1 + RNG.normal() / 20), 0.5]])
        made.append(replace(pair, variant=replace(pair.variant, mass=mass), images=images))
    return made
