"""The list of a collection of many: its index is believed, and a trace read when it is opened."""

import json
from types import SimpleNamespace

import pytest

from attn.errors import DamagedError, TraceError
from attn.explorer.listing import items, rows
from attn.explorer.listing.library import open_library
from attn.explorer.opened import manifest_of
from tests.helpers.toy_traces import manifest, write_trace


def entry(folder, status="complete", error=None):
    """Return what an index says of a trace."""
    return SimpleNamespace(
        folder=folder, status=status, prompt=f"prompt {folder}", seed=5, error=error
    )


ENTRIES = [entry("0000"), entry("0001"), entry("0002", "failed", "the dog ate it"), entry("0003")]
ENTRIES += [entry("0004", "pending"), entry("0005", "pending")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A collection of six, of which three are finished and one has begun; two are many."""
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(items, "MANY", 2)
    for name in ("0000", "0001", "0003"):
        write_trace(tmp_path / "run" / name, manifest(samples=1))
    write_trace(tmp_path / "run" / "0004", manifest(samples=1), partial=True, done=2)
    return tmp_path / "run"


def told(folder, read_index=lambda _: ENTRIES):
    """Return what a fresh look tells."""
    return json.loads(open_library([folder], read_index).index())


def test_index_is_believed(folder, monkeypatch):
    """Of finished traces the first is read; of the others the list says what the index does."""
    looked, read = [], rows._row
    monkeypatch.setattr(rows, "_row", lambda path: looked.append(path[-4:]) or read(path))
    index = told(folder)
    assert looked == ["0000", "0004"]
    listed = {row["label"]: (row["status"], row["seed"], row["size"]) for row in index["items"]}
    size = index["items"][0]["size"]
    assert listed == {
        "0000": ("complete", 7, size),
        "0001": ("complete", 5, size),
        "0003": ("complete", 5, size),
        "0004": ("partial", 7, size),
    }
    assert [row["prompt"] for row in index["items"]][1:3] == ["prompt 0001", "prompt 0003"]
    assert [failure["label"] for failure in index["failures"]] == ["run/0002"]


def test_first_cannot_be_read(folder):
    """The next trace then says what all of them share."""
    (folder / "0000" / "trace.json").write_text("{}")
    first, second, third, _ = told(folder)["items"]
    assert "trace.json" in first["error"]
    assert (second["seed"], third["seed"], third["size"]) == (7, 5, second["size"])


def test_damage_is_said_when_opened(folder):
    """A trace that is listed and damaged, or gone, says so to whoever opens it."""
    (folder / "0003" / "trace.json").unlink()
    library = open_library([folder], lambda _: ENTRIES)
    item = next(item for item in library.items if item.label == "0003")
    with pytest.raises(TraceError):
        manifest_of(item.folder)


def broken(_):
    """Read an index that is damaged."""
    raise DamagedError("no")


@pytest.mark.parametrize("read_index", [lambda _: ENTRIES[:2], lambda _: ()])
def test_few(folder, read_index):
    """Of a collection of few, or without an index, each trace is looked at."""
    assert [row["seed"] for row in told(folder, read_index)["items"]] == [7, 7, 7, 7]


def test_damaged_index(folder):
    """What is there is found without the index."""
    assert len(open_library([folder], broken).items) == 4
