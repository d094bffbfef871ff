"""Changes of terms: all pairs of a few cells at a time, and the same numbers as of all at once."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.compare import changes, paired, spool
from attn.analysis.compare.pairs import PairOptions, compare_pair
from attn.analysis.compare.terms import Term
from attn.files import spool as files_spool
from tests.helpers.toy_traces import make_trace, manifest, tensors

COARSE, FINE = (7, 11), (23, 29)


@pytest.fixture(scope="module")
def pair():
    """Return a pair of traces of two images each."""
    about = manifest(samples=2)
    traces = [make_trace(about, tensors(about, seed)) for seed in (3, 5)]
    return compare_pair(*traces, PairOptions(), {})


def with_maps(pair, count, grid):
    """Yield so many pairs with other maps."""
    for seed in range(count):
        values = np.random.default_rng(seed).random((*pair.coarse.shape[:3], *grid))
        yield replace(pair, coarse=values)


@pytest.mark.parametrize("largest", [1, 2**12, 2**26])
def test_tiles(pair, largest, monkeypatch):
    """Every cell has the numbers of all its pairs at once, however few cells are read at a time."""
    monkeypatch.setattr(changes, "LARGEST", largest)
    pairs = list(with_maps(pair, 11, COARSE))
    for entry in changes.changes(pairs, changes.located(COARSE)):
        index = pair.terms.index(entry.term)
        sides = (np.concatenate([item.coarse[side][:, index] for item in pairs]) for side in (0, 1))
        expected = paired.paired_change(*sides)
        for name, values in vars(expected).items():
            np.testing.assert_allclose(getattr(entry.change, name), values, rtol=1e-12)


def test_terms_of_some_pairs(pair, monkeypatch):
    """A word that only some pairs have is compared over these."""
    monkeypatch.setattr(changes, "LARGEST", 1)
    readings = {
        side: replace(getattr(pair, side), terms=pair.terms[:2]) for side in ("base", "variant")
    }
    told = changes.changes([pair, replace(pair, **readings), pair], changes.mass)
    counts = {entry.term.key: int(entry.change.n.max()) for entry in told}
    words = [term.key for term in pair.terms if term.kind != "sink"]
    few = [term.key for term in pair.terms[:2]]
    assert counts == {key: 6 if key in few else 4 for key in words}


def test_memory(pair, monkeypatch):
    """Four times as many pairs with maps need no more memory than two pairs have numbers."""
    monkeypatch.setattr(files_spool, "LARGEST", 2**12)
    monkeypatch.setattr(changes, "LARGEST", 2**16)
    monkeypatch.setattr(paired, "BLOCK", 2**8)
    monkeypatch.setattr(paired, "RESAMPLES", 43)
    peaks = []
    for count in (7, 7, 29):  # the first makes what the checks of types need
        pairs = spool.Pairs(with_maps(pair, count, FINE))
        tracemalloc.start()
        changes.changes(pairs, changes.located(FINE))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 2 * pair.coarse[..., 0, 0].size * np.prod(FINE) * 8


def test_what_is_kept_of_a_pair_holds_no_more(pair):
    """An array that outlives its pair keeps nothing but its own numbers in memory."""
    (kept,) = spool.Pairs([replace(pair, images=np.ones((2, 2)))])
    arrays = spool._numbers(kept)
    assert {"coarse", "images", "changed.clip", "base.mass"} <= {*arrays}
    assert [name for name, array in arrays.items() if array.base is not None] == []


@pytest.mark.parametrize(
    ("sizes", "lead", "strongest"),
    [
        ({"red": (1.0, 0.2), "cat": (0.1, 0.05)}, "cat", "red"),
        ({"red": (1.0, 0.2), "cat": (0.001, 0.005)}, "red", "red"),  # little beside next to none
        ({"red": (0.0, 0.2), "cat": (0.1, 0.05)}, "red", "red"),  # none before
        ({"the": (0.1, 0.3), "cat": (0.5, 0.05)}, "cat", "cat"),
    ],
)
def test_who_leads(sizes, lead, strongest):
    """A comparison is told by the content word of largest relative change that matters."""
    entries = [
        changes.TermChange(
            Term("clip", "word", name, 1, False, (("clip", 1),)),
            paired.paired_change(np.full(5, base), base + change * np.linspace(0.9, 1.1, 5)),
        )
        for name, (base, change) in sizes.items()
    ]
    assert changes.headline(entries).term.text == lead
    assert changes.strongest(entries).term.text == strongest
