"""The index of many traces: each is read once, and again only when it has changed."""

import json

import pytest

from attn.errors import DamagedError
from attn.explorer import rows
from attn.explorer.opened import manifest_of, open_library
from tests.helpers.toy_traces import manifest, write_trace


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two traces, and a cache of their own that is written at once."""
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rows, "WORTHWHILE", 1)
    for name in "ab":
        write_trace(tmp_path / "runs" / name, manifest(samples=1))
    return tmp_path / "runs"


def read(folder):
    """Return the rows of a fresh look."""
    return json.loads(open_library([folder]).index())["items"]


def test_second_look_reads_no_manifest(folder, monkeypatch):
    """What was read once is there at the next look, without its manifest being parsed."""
    first = read(folder)
    monkeypatch.setattr(rows, "read_fields", lambda *_: pytest.fail("was read again"))
    assert read(folder) == first


def test_changed_trace_is_read_again(folder):
    """A trace that was written again is read again; one that cannot be read says so."""
    read(folder)
    write_trace(folder.parent / "c", manifest(samples=1), partial=True, done=2)
    text = (folder.parent / "c" / "trace.json").read_bytes()
    (folder / "a" / "trace.json").write_bytes(text)
    (folder / "b" / "trace.json").write_text("{}")
    first, second = read(folder)
    assert first["status"] == "partial"
    assert "trace.json" in second["error"]


def test_only_what_is_listed_is_read(folder):
    """Layers and tokens are looked at when a trace is opened, which then says what is wrong."""
    path = folder / "a" / "trace.json"
    about = json.loads(path.read_text())
    del about["sha256"]
    path.write_text(json.dumps(about | {"layers": 7}))
    first, _ = read(folder)
    assert first["prompt"] == "A cat, a bobcat"
    with pytest.raises(DamagedError, match=r"trace\.json"):
        manifest_of(folder / "a")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\x00"])
def test_damaged_cache(folder, text):
    """A cache that is no such thing is as none."""
    first = read(folder)
    (folder.parent / "cache" / rows.FILE).write_text(text)
    assert read(folder) == first


def test_cache_that_cannot_be_written(folder, monkeypatch):
    """Without a place for the cache everything is shown all the same."""
    (folder.parent / "cache").write_text("a file")
    assert [row["label"] for row in read(folder)] == ["a", "b"]
