"""Damaged and hostile manifests."""

import json
import shutil

import pytest

import attn
from attn.errors import TraceError


@pytest.fixture(scope="module")
def good(opened, tmp_path_factory):
    """A real trace, which tests copy and damage."""
    folder = tmp_path_factory.mktemp("good") / "run"
    pipe = opened("sd35").pipe
    attn.capture("sd35", "a red cat", model=pipe, out=folder, steps=2, size=(96, 64))
    return folder


@pytest.fixture
def damaged(good, tmp_path):
    """Open a copy of the trace after one edit of its manifest."""

    def edit(change):
        folder = tmp_path / "run"
        shutil.copytree(good, folder)
        manifest = json.loads((folder / "trace.json").read_text())
        change(manifest)
        (folder / "trace.json").write_text(json.dumps(manifest))
        return attn.open(folder)

    return edit


EDITS = {
    "schema": lambda m: m.update(schema=0),
    "samples": lambda m: m.update(samples=0),
    "branches": lambda m: m.update(branches=[]),
    "has no segments": lambda m: m.update(segments={}),
    "cannot be called": lambda m: m["layers"][0]["keys"][1].update(name="../../x"),
    "two segments": lambda m: m["layers"][0]["keys"][1].update(name="image"),
    "is 24 to -5": lambda m: m["layers"][0]["keys"][1].update(stop=-5),
    "is 0 to 10000000000": lambda m: m["layers"][0]["keys"][0].update(stop=10**10),
    "grid 0x0": lambda m: m["layers"][0]["keys"][0].update(grid=[0, 0]),
    "needs an index": lambda m: m["layers"][0].update(keys=[]),
    "one index": lambda m: m["layers"].append(m["layers"][0]),
    "count upwards": lambda m: m["steps"].reverse(),
    "listed twice": lambda m: m["shards"].append(m["shards"][0]),
    "lies outside": lambda m: m["kept"]["columns"][0].update(position=-7),
    "does not exist": lambda m: m["kept"]["columns"][0].update(segment="other"),
}


@pytest.mark.parametrize("said", EDITS)
def test_impossible_manifests_are_refused(damaged, said):
    """A manifest that no capture writes is refused with what is wrong, before anything uses it."""
    with pytest.raises(TraceError, match=rf"trace\.json makes no sense: .*{said}"):
        damaged(EDITS[said])


def test_tensors_that_do_not_fit_are_refused(damaged):
    """A manifest that is not this trace's is refused when its tensors are looked at."""
    trace = damaged(lambda manifest: manifest.update(samples=5))
    with pytest.raises(TraceError, match="1 on the axis sample, the manifest says 5"):
        trace.mass(layer=0)
