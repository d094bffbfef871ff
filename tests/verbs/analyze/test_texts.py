"""A capture of a model that writes text: its files, its labels, its bytes."""

import json

import numpy as np
import pytest

import attn
from attn.errors import TraceError

SETTINGS = {"gen_length": "10", "block_length": "5"}
PROMPTS = ("a red cat", "two dogs under a table")


@pytest.fixture(scope="module")
def captured(demo_cache, tmp_path_factory):
    """Two texts, generated as one batch of different lengths."""
    out = tmp_path_factory.mktemp("texts") / "run"
    return attn.capture("mmada", PROMPTS, steps=4, batch=2, out=out, settings=SETTINGS)


@pytest.fixture(scope="module")
def traces(captured):
    """The two traces."""
    return [attn.open(captured.path / entry.folder) for entry in captured.entries]


def test_files(traces):
    """Beside the attention lie the text and how it came about."""
    for trace in traces:
        assert trace.manifest.outputs == ("outputs/text.txt", "outputs/history.json")
        history = json.loads((trace.folder / "outputs/history.json").read_text())
        assert [step["block"] for step in history["steps"]] == [0, 0, 1, 1]
        assert (trace.folder / "outputs/text.txt").is_file()


def test_labels(traces):
    """The tokens of the generated segment are the final ones, on every axis."""
    for trace in traces:
        history = json.loads((trace.folder / "outputs/history.json").read_text())
        written = [token.id for token in trace.tokens() if token.segment == "generated"]
        assert written == history["steps"][-1]["tokens"]
        labels = trace.maps(1, "all.all").coords["token"].values
        assert labels[-1] == history["texts"][str(written[-1])]


def test_written(traces):
    """Tokens, masks, decisions and confidence are arrays by step and position."""
    trace = traces[1]
    tokens, masked = trace.written("tokens"), trace.written("masked")
    assert tokens.dims == ("step", "branch", "sample", "position")
    assert tokens.sizes["position"] == trace.layers[0].num_keys
    assert masked.sel(step=0).sum() == 10
    assert (tokens["segment"] == "generated").sum() == 10
    finalised = trace.written("finalised").sum(("branch", "sample", "position"))
    assert finalised.values.tolist() == [3, 2, 3, 2]
    assert (
        np.isnan(trace.written("confidence").sel(step=0).values).sum()
        == trace.layers[0].num_keys - 5
    )


def test_unknown_measure(traces):
    """A wrong name is told the right ones."""
    with pytest.raises(TraceError, match=r"there is no 'token' of a step.*Did you mean 'tokens'"):
        traces[0].written("token")


def test_bytes(captured, traces):
    """The plan says to the byte what is written."""
    written = sum(shard.bytes for trace in traces for shard in trace.manifest.shards)
    assert written == captured.predicted_bytes


def test_saved_again(traces, tmp_path):
    """A copy of a trace holds what was written too."""
    copy = traces[0].save(tmp_path / "copy")
    assert (copy.written("tokens") == traces[0].written("tokens")).all()


def test_pictures_hold_no_writing(demo_cache, tmp_path):
    """Models that draw have no such measures, and the message says which have."""
    drawn = attn.capture("sd15", "a cat", size=(64, 64), steps=1, keep="mass", out=tmp_path / "run")
    with pytest.raises(TraceError, match="only models that write text record it"):
        drawn.trace.written("tokens")
