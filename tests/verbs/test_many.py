"""Collections of any size: memory stays flat, and every shard is opened once for all analyses."""

import tracemalloc
from collections import Counter

import pytest

from attn.analysis.compare import spool
from attn.trace import store
from attn.verbs.analyze.analyze import analyze
from attn.verbs.compare.compare import compare
from attn.verbs.report import Report
from tests.helpers.toy_traces import write_collection

FEW, MANY = 5, 23
MOST = 12_000
"""Bytes that a trace or pair may add to the peak: its line of the index, what is told of it."""


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    """Two collections of each size."""
    root = tmp_path_factory.mktemp("many")
    for name, seed in (("base", 0), ("variant", 997)):
        for count in (1, FEW, MANY):
            write_collection(root / f"{name}-{count}", range(count), seed=seed)
    return root


def peak(verb, root, count):
    """Return the most bytes of Python and numpy while a verb runs."""
    tracemalloc.start()
    try:
        if verb == "analyze":
            analyze(root / f"base-{count}", pictures=False, report=Report())
        else:
            sides = [root / f"{name}-{count}" for name in ("base", "variant")]
            compare(*sides, out=root / f"out-{count}", pictures=False, report=Report())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LINEAR = pytest.mark.xfail(strict=True, reason="maps of differences take about 270 kB a pair")


@pytest.mark.parametrize("verb", ["analyze", pytest.param("compare", marks=LINEAR)])
def test_memory(collections, verb, monkeypatch):
    """Four times as many traces need the memory of one at a time, and what is said of each."""
    monkeypatch.setattr(spool, "LARGEST", 2**12)  # toy pairs would all stay in memory
    peak(verb, collections, 1)  # imports
    few, many = (peak(verb, collections, count) for count in (FEW, MANY))
    assert (many - few) / (MANY - FEW) < MOST


def test_shards_are_opened_once(collections, monkeypatch):
    """All analyses of a trace share its open shards."""
    opened = Counter()

    def count(path, **arguments):
        opened[path] += 1
        return store_open(path, **arguments)

    store_open = store.safe_open
    monkeypatch.setattr(store, "safe_open", count)
    analyze(collections / f"variant-{FEW}", pictures=False, report=Report())
    assert len(opened) == 3 * FEW
    assert set(opened.values()) == {1}
