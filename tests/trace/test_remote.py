"""Traces behind URLs: copied once, in bounds, and only what is listed."""

import json
from dataclasses import replace

import numpy as np
import pytest

import attn
from attn.errors import DamagedError, TraceError
from attn.files.digests import seal
from attn.files.disk import encode_json
from attn.files.kept import ROOM
from attn.trace.remote import RemoteSource, open_source
from tests.helpers.toy_traces import manifest, write_collection, write_trace, write_whole


def stored(folder, name):
    """Return the field of a manifest that is not in it any more, and its content without digest."""
    facts = json.loads((folder / name).read_bytes())
    del facts["sha256"]
    return facts


def test_a_trace_is_the_same_elsewhere(storage, tmp_path):
    """A trace behind a URL has the arrays and outputs of the one that was put there."""
    here = write_whole(tmp_path / "t", 3)
    there = attn.open(storage.share(here, "bucket/t"))
    near = attn.open(here)
    assert there.manifest == near.manifest
    layer = near.layers[0].index
    assert np.array_equal(there.mass(layer), near.mass(layer))
    copied = {path.relative_to(there.folder) for path in there.folder.rglob("*.*")}
    listed = {path.relative_to(here) for path in here.rglob("*.*")}
    assert listed - copied == {here.joinpath("attention/shards.jsonl").relative_to(here)}


def test_what_is_there_is_not_copied_again(storage, tmp_path):
    """The second time only the manifest is asked for; what was written anew is copied anew."""
    here = write_trace(tmp_path / "t")
    url = storage.share(here, "t")
    attn.open(url)
    storage.asked.clear()
    first = attn.open(url)
    assert storage.asked == ["t/trace.json"]
    storage.share(write_trace(tmp_path / "u", seed=5), "t")
    again = attn.open(url)
    layer = again.layers[0].index
    assert not np.array_equal(first.manifest.shards, again.manifest.shards)
    assert np.array_equal(again.mass(layer), attn.open(tmp_path / "u").mass(layer))


def test_an_interrupted_trace(storage, tmp_path):
    """A partial trace has the steps that its journal listed when it was copied."""
    url = storage.share(write_trace(tmp_path / "t", partial=True, done=2), "t")
    assert [attn.open(url).manifest.status, len(attn.open(url).steps)] == ["partial", 2]


def test_damage_is_said(storage, tmp_path):
    """A shard that is not as listed is an error with its URL, and is not kept."""
    url = storage.share(write_trace(tmp_path / "t"), "t")
    shard = "attention/step-0001.safetensors"
    data = bytearray((tmp_path / "t" / shard).read_bytes())
    data[-1] ^= 1
    storage.put(f"t/{shard}", bytes(data))
    with pytest.raises(DamagedError, match=r"memory://t/attention/step-0001.* has SHA-256"):
        attn.open(url)
    assert not open_source(url).folder.joinpath(shard).exists()


@pytest.mark.parametrize("name", ["../key", "/etc/passwd", "a/../../key", ".hidden", "a\\b", ""])
def test_names_that_lead_elsewhere(storage, tmp_path, name):
    """What a manifest lists is copied below its folder under a plain name, or not at all."""
    about = stored(write_trace(tmp_path / "t"), "trace.json") | {"outputs": [name]}
    url = storage.share(tmp_path / "t", "t")
    storage.put("t/trace.json", seal(encode_json(about)))
    storage.put("key", b"1")
    with pytest.raises(TraceError, match=r"names|outside"):
        attn.open(url)
    assert [path for path in storage.asked if path != "t/trace.json"] == []


def test_folders_of_a_collection_that_lead_elsewhere(storage, tmp_path):
    """What an index lists is looked for below it only."""
    url = storage.share(write_collection(tmp_path / "c", [3, 5]), "c")
    source = open_source(url)
    with pytest.raises(DamagedError, match=r"memory://c names '\.\./t', expected a plain name"):
        source.bring("../t")


def test_a_collection_comes_one_trace_at_a_time(storage, tmp_path):
    """Of a collection the index comes first, and a trace when it is asked for."""
    source = open_source(storage.share(write_collection(tmp_path / "c", [3, 5, 7]), "c"))
    assert isinstance(source, RemoteSource)
    assert source.is_collection
    assert storage.asked == ["c/trace.json", "c/index.json"]
    storage.asked.clear()
    source.bring("0001", shards=False)
    assert storage.asked == ["c/0001/trace.json", "c/0001/outputs/image-0.png"]
    source.bring("0001")
    assert [path for path in storage.asked if "safetensors" in path] == [
        f"c/0001/attention/step-000{step}.safetensors" for step in range(3)
    ]


def test_neither_trace_nor_collection(storage, tmp_path):
    """A URL of anything else, and a collection where a trace is meant, say so."""
    with pytest.raises(TraceError, match=r"memory://c holds neither trace\.json nor index.json"):
        open_source("memory://c")
    url = storage.share(write_collection(tmp_path / "c", [3]), "c")
    with pytest.raises(TraceError, match="memory://c is a collection of traces: open one"):
        attn.open(url)


def test_copies_have_bounds(storage, tmp_path, monkeypatch):
    """A collection that is larger than the cache goes through it, and no trace that is larger."""
    url = storage.share(write_collection(tmp_path / "c", [3, 5, 7]), "c")
    whole = sum(path.stat().st_size for path in (tmp_path / "c" / "0000").rglob("*.*"))
    monkeypatch.setenv(ROOM, str(1.5 * whole / 1e9))
    source = open_source(url)
    folders = [source.bring(name) for name in ("0000", "0001", "0002")]
    assert [(folder / "trace.json").exists() for folder in folders] == [False, False, True]
    monkeypatch.setenv(ROOM, str(0.5 * whole / 1e9))
    with pytest.raises(TraceError, match="have no room in"):
        open_source(url).bring("0001")


def test_nothing_is_told_but_a_copy(storage, tmp_path):
    """That something is copied is told once, with where copies are kept."""
    told = []
    about = replace(manifest(samples=1), samples=1)
    source = open_source(storage.share(write_trace(tmp_path / "t", about), "t"), told.append)
    source.bring()
    source.bring()
    assert told == [f"reading memory://t; copies are kept in {source.folder}"]
