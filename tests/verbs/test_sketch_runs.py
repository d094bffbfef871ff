"""Drawings that are compared: how they are typed, and what is made of them."""

import json

import pytest

from attn.errors import UsageError
from attn.verbs.compare import compare
from attn.verbs.sketch_runs import parse_sketches
from tests import sketches


def test_parse():
    """Files, none and sweeps over the scale are runs, in the order in which they are typed."""
    assert parse_sketches(["b/A.png:0.5,1", "none", "c:d/B.png"]) == {
        "A.png:0.5": {"sketch": "b/A.png", "conditioning_scale": "0.5"},
        "A.png:1": {"sketch": "b/A.png", "conditioning_scale": "1"},
        "none": {"sketch": "none"},
        "B.png": {"sketch": "c:d/B.png"},
    }


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ("A.png", "name what to compare with: another --sketch FILE, or --sketch none"),
        (["A.png", "b/A.png"], "A.png is named twice"),
        (["A.png:1,1"], "A.png:1 is named twice"),
    ],
)
def test_refused(specs, message):
    """One drawing is no comparison, and two runs need two names."""
    with pytest.raises(UsageError, match=message):
        parse_sketches(specs)


@pytest.mark.slow
def test_compare(demo_cache, tmp_path):
    """With and without the drawing, from the same noise: two folders of traces and the tables."""
    path = sketches.save(tmp_path)
    done = compare(
        sketch=[path, "none"],
        out=tmp_path / "out",
        seed=(0, 1),
        model="demo:sd15",
        steps=2,
        size=(96, 64),
        pictures=False,
    )
    assert (done.base, dict(done.variants)) == ("ring.png", {"none": 2})
    index = json.loads((tmp_path / "out/comparison.json").read_text())
    assert index["files"]
    traces = [tmp_path / "out" / name / "0001/outputs/sketch.png" for name in ("ring.png", "none")]
    assert all(trace.is_file() for trace in traces)
    changes = done.tables["mass.csv"].columns["change"]
    assert (changes != 0).any()
    overlap = done.tables["sketch.csv"].columns
    assert {"on", "inside"} < set(overlap["measure"])
    assert (overlap["change"] != 0).any()
