"""Collections of any size: memory stays flat, and every shard is opened once for all analyses."""

import subprocess
import sys
from collections import Counter

import pytest

from attn.trace import store
from attn.verbs.analyze.analyze import analyze
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


@pytest.mark.parametrize("verb", ["analyze", "compare"])
def test_memory(collections, verb):
    """Four times as many traces need the memory of one at a time, and what is said of each."""
    arguments = map(str, (verb, collections, 1, FEW, MANY))
    command = [sys.executable, "-m", "tests.helpers.peak_memory", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())
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
