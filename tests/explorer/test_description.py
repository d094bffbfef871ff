"""What the page is told of a trace."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from attn.explorer.description import describe
from attn.schema import block_columns
from attn.trace.measures.axes import all_columns
from attn.trace.words.prompts import read_prompt
from attn.trace.words.sums import lay_out
from tests.helpers.toy_traces import CROSS, JOINT, VIDEO, manifest


@pytest.mark.parametrize("layers", [CROSS, JOINT], ids=["cross", "joint"])
@pytest.mark.parametrize("branch", ["cond", "uncond"])
def test_words_are_those_of_python(layers, branch):
    """A word's columns of maps and keys of masses are those that Python's tables add up."""
    about = manifest(layers, branches=("cond", "uncond"))
    (keyset,) = describe(about)["keysets"]
    prompt = read_prompt(about, branch)
    columns = block_columns(layers[0], "image.text", about.kept.columns)
    keys = all_columns(about, layers[0], "image.text")
    for group in keyset["groups"][branch]:
        if group["kind"] == "word":
            indices = [prompt.positions({group["word"]}, group["segment"])]
            assert group["columns"] == np.flatnonzero(lay_out(columns, indices)[:, 0]).tolist()
            assert group["keys"] == np.flatnonzero(lay_out(keys, indices)[:, 0]).tolist()


@pytest.mark.parametrize("layers", [CROSS, JOINT], ids=["cross", "joint"])
def test_nothing_is_counted_twice_or_lost(layers):
    """Groups with columns have each column once; columns are sums that have each key once."""
    (keyset,) = describe(manifest(layers))["keysets"]
    held = [at for group in keyset["groups"]["cond"] for at in group["columns"]]
    assert sorted(held) == list(range(len(keyset["columns"])))
    assert sorted(at for keys in keyset["columns"] for at in keys) == list(range(keyset["keys"]))


def test_negative_prompt():
    """The other guidance row has its own text and words."""
    about = manifest(branches=("cond", "uncond"))
    texts = {item["name"]: item["text"] for item in describe(about)["branches"]}
    labels = [word["label"] for word in describe(about)["branches"][1]["words"]]
    assert texts == {"cond": "A cat, a bobcat", "uncond": "blurry cat"}
    assert labels == ["blurry", "cat"]


def test_truncated():
    """What an encoder did not read is told."""
    (branch,) = describe(manifest(JOINT))["branches"]
    assert branch["truncated"] == {"t5": "bobcat"}


def test_plain_data():
    """All of it goes into JSON."""
    assert msgspec.json.decode(msgspec.json.encode(describe(manifest())))["screen"] == "picture"


def test_video():
    """Of a video the page is told its files and frames; of a picture there is nothing to tell."""
    about = manifest(VIDEO)
    outputs = ("outputs/image-0.png", "outputs/video-0.png")
    about = replace(about, request=replace(about.request, frames=17), outputs=outputs)
    told = describe(about)
    spans = [(0, 0), (1, 4), (5, 8), (9, 12), (13, 16)]
    assert told["video"] == {"files": ["outputs/video-0.png"], "spans": spans}
    assert told["pictures"] == ["outputs/image-0.png"]
    assert [(layer["grid"], layer["frames"]) for layer in told["layers"]] == [
        ((2, 3), 5),
        ((4, 6), 5),
    ]
    assert describe(manifest())["video"] is None
