"""Maps in the page, served and in one file, against the Python trace."""

import numpy as np
import pytest

import attn
from attn.explorer.roots import PRECISION
from attn.trace.store import shard_file
from attn.trace.trace import open_trace
from attn.trace.writer import TraceWriter
from tests.browser.conftest import served, watched
from tests.helpers.browsing.page_maps import READ, compare
from tests.helpers.toy_traces import (
    CROSS,
    JOINT,
    VIDEO,
    cross_layer,
    manifest,
    tensors,
    write_trace,
)

ODD = (*CROSS, cross_layer(5, (4, 7), 2))
GUIDED = manifest(JOINT, branches=("cond", "uncond"))
CASES = {
    "maps": (manifest(), {}, {}),
    "grids that do not divide": (manifest(ODD), {}, {}),
    "joint": (GUIDED, {}, {}),
    "other branch": (GUIDED, {"branch": "uncond"}, {"branch": "uncond"}),
    "second sample": (manifest(), {"sample": "1"}, {}),
    "some layers": (manifest(ODD), {"layers": "3,5"}, {"layers": [3, 5]}),
    "some steps": (manifest(), {"steps": "0-1"}, {"steps": [0, 1]}),
    "a layer in a step": (manifest(), {"steps": "2", "layers": "1"}, {"steps": [2], "layers": [1]}),
    "heads": (manifest(level="heads"), {}, {}),
    "a head": (manifest(level="heads"), {"heads": "1"}, {"heads": [1]}),
    "means": (manifest(level="means"), {}, {}),
    "towers": (
        manifest((*CROSS, cross_layer(5, (3, 5), 2, "controlnet"))),
        {"tower": "controlnet"},
        {"tower": "controlnet"},
    ),
    "a layer that did not run": (manifest(), {}, {}),
}  # fmt: skip
"""What a trace is, what is selected in the page, and the same as arguments of `word_maps`."""

VIDEOS = {
    "video": (manifest(VIDEO), {}, {}),
    "a frame": (manifest(VIDEO), {"frame": "3"}, {"frame": 3}),
    "a frame of a head": (
        manifest(VIDEO, level="heads"),
        {"frame": "4", "heads": "1"},
        {"frame": 4, "heads": [1]},
    ),
    "heads of a video": (manifest(VIDEO, level="heads"), {}, {}),
    "means of a video": (manifest(VIDEO, level="means"), {"frame": "0"}, {"frame": 0}),
}
"""The same of videos, of which one file has the means over frames alone, and says so."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The traces of all cases, in their order."""
    root = tmp_path_factory.mktemp("values")
    for number, (name, (about, *_)) in enumerate((CASES | VIDEOS).items()):
        if name == "a layer that did not run":
            write_with_gap(root / str(number), about)
        else:
            write_trace(root / str(number), about)
    return [root / str(number) for number in range(len(CASES | VIDEOS))]


def write_with_gap(folder, about):
    """Write a trace in which one layer did not run in one step."""
    files = tensors(about)
    files[shard_file(about.steps[1])]["3/map.image.text"][:] = np.nan
    with TraceWriter(folder, about) as writer:
        for step, shard in zip(about.steps, files.values(), strict=True):
            writer.put(step, shard)
        writer.finish(about)


@pytest.fixture(scope="module")
def read_served(chromium, folders):
    """Read what a server's page shows."""
    with served(chromium, *folders) as page:
        yield lambda number, selected: page.evaluate(READ, [number, selected])


@pytest.fixture(scope="module")
def read_file(chromium, folders, tmp_path_factory):
    """Read what one file shows, opened from the disk without a network."""
    path = tmp_path_factory.mktemp("file") / "page.html"
    assert attn.view(*folders[: len(CASES)]).save(path) == []
    with watched(chromium, "", offline=True) as page:
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        yield lambda number, selected: page.evaluate(READ, [number, selected])


@pytest.mark.parametrize("name", CASES | VIDEOS)
def test_served(name, read_served, folders):
    """Maps of words in the page are those of `Trace.word_maps`, to 1e-6, whatever is selected."""
    _, selected, same = (CASES | VIDEOS)[name]
    number = [*CASES, *VIDEOS].index(name)
    compare(read_served(number, selected), open_trace(folders[number]), selected, same)


@pytest.mark.parametrize("name", CASES)
def test_file(name, read_file, folders):
    """In one file they are within the error that it states, for every case."""
    _, selected, same = CASES[name]
    number = [*CASES].index(name)
    compare(read_file(number, selected), open_trace(folders[number]), selected, same, PRECISION)
