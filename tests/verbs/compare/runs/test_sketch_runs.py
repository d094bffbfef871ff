"""Drawings that are compared: how they are typed, and what is made of them."""

import json
from itertools import product

import numpy as np
import pytest

from attn.analysis.images import read_image
from attn.analysis.sketch.edges import measure_deviation
from attn.analysis.sketch.strokes import read_strokes
from attn.errors import UsageError
from attn.trace.trace import open_trace
from attn.verbs.capture.folders import name_folders
from attn.verbs.compare.compare import compare
from attn.verbs.compare.runs.sketch_runs import parse_sketches
from attn.verbs.compare.runs.variant_runs import RESERVED
from tests.helpers import sketches

pytestmark = pytest.mark.usefixtures("undrawn")


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
        (["A.png", "b/../A.png"], "b/../A.png is named twice; leave one out"),
        (["A.png:1,1.0"], "A.png:1.0 is named twice; leave one out"),
        (["none:0,1"], "none is named twice; leave one out"),
    ],
)
def test_refused(specs, message):
    """One drawing is no comparison, and two runs need two names."""
    with pytest.raises(UsageError, match=message):
        parse_sketches(specs)


def test_files_of_one_name():
    """Drawings of the same name in several folders are told apart by their folders."""
    result = parse_sketches(["A.png", "b/A.png:0,1", "b/B.png"])
    assert list(result) == ["A.png", "b/A.png:0", "b/A.png:1", "b/B.png"]
    assert result["b/A.png:1"] == {"sketch": "b/A.png", "conditioning_scale": "1"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "sdxl"}, "backend sdxl reads no drawing, .*; --backend scribble does"),
        ({"settings": {"sketch": "B.png"}}, r"and as a setting \(B.png\); leave the setting out"),
    ],
)
def test_settings_that_clash(options, message, tmp_path):
    """A backend without drawings, or a drawing of its own for all runs, is refused at once."""
    with pytest.raises(UsageError, match=message):
        compare(sketch=[sketches.save(tmp_path), "none"], out=tmp_path / "out", **options)


def test_drawings_called_like_results():
    """A folder of traces never takes the name of the results, or of the baseline."""
    names = ["comparison", "Base", "summary.png", "none"]
    expected = ["comparison-2", "Base-2", "summary.png", "none"]
    assert name_folders(names, RESERVED) == expected


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
        only=("words", "sketch"),
    )
    assert {"sketch_changes.png", "summary.png"} < set(done.files)
    assert (done.base, dict(done.variants)) == ("ring.png", {"none": 2})
    index = json.loads((tmp_path / "out/comparison/comparison.json").read_text())
    assert index["files"]
    traces = [tmp_path / "out" / name / "0001/outputs/sketch.png" for name in ("ring.png", "none")]
    assert all(trace.is_file() for trace in traces)
    changes = done.tables["mass.csv"]["change"]
    assert (changes != 0).any()
    overlap = done.tables["sketch.csv"]
    assert {"on", "inside"} < set(overlap["measure"])
    assert (overlap["change"] != 0).any()
    followed = {name: [] for name in ("ring.png", "none")}
    strokes = read_strokes(open_trace(traces[0].parents[1]))
    for name, seed in product(followed, ("0000", "0001")):
        image = read_image(open_trace(tmp_path / "out" / name / seed), 0)
        deviation = measure_deviation(strokes, image)
        followed[name].append(0.0 if deviation is None else deviation.followed)
    row = done.tables["sketch_images.csv"].to_dict("records")[0]
    assert row["measure"] == "followed"
    means = [np.mean(parts) for parts in followed.values()]
    assert [row["base"], row["variant"]] == pytest.approx(means)
