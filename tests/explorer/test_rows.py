"""The index of many traces: each is read once, and again only when it has changed."""

import errno
import json
from dataclasses import replace

import pytest

from attn.errors import DamagedError
from attn.explorer.listing import items, rows
from attn.explorer.listing.ends import read_ends
from attn.explorer.listing.library import open_library
from attn.explorer.opened import manifest_of
from attn.schema import find_words
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
    """Return the rows of a fresh look, which is then checked and kept."""
    library = open_library([folder])
    items = json.loads(library.index())["items"]
    list(library.check())
    return items


def test_second_look_reads_no_manifest(folder, monkeypatch):
    """What was read once is there at the next look, without its manifest being parsed."""
    first = read(folder)
    for name in ("read_fields", "read_ends"):
        monkeypatch.setattr(rows, name, lambda *_: pytest.fail("was read again"))
    assert read(folder) == first


@pytest.mark.parametrize("prompt", ["A cat, a bobcat", "cat, " * 2000])
def test_ends_say_what_the_whole_says(prompt, folder):
    """The ends of a manifest say the same as all of it; where they are too short, all is read."""
    about = manifest(samples=1)
    about = replace(about, request=replace(about.request, prompt=prompt), words=find_words(prompt))
    trace = folder / "c"
    write_trace(trace, about)
    whole = rows.read_fields(trace, rows.Listed)
    assert read_ends(str(trace), rows.Listed) == (whole if len(prompt) < 100 else None)
    assert read(folder)[2]["prompt"] == prompt


def test_damage_between_the_ends_is_found(folder):
    """A manifest that was changed where the list does not read says so once it was checked."""
    path = folder / "a" / "trace.json"
    path.write_bytes(path.read_bytes().replace(b"bob", b"bab", 1))
    library = open_library([folder])
    first, checking = json.loads(library.index()), library.check()
    next(checking)
    second = json.loads(library.index())
    list(checking)
    third = json.loads(library.index())
    assert [piece["unchecked"] for piece in (first, second, third)] == [2, 1, 0]
    assert "was changed since it was written" in third["items"][0]["error"]
    assert "error" not in third["items"][1]


def test_pieces(folder, monkeypatch):
    """The list comes in pieces, each before what is behind it was looked for."""
    for name in "cde":
        write_trace(folder / name, manifest(samples=1))
    whole = json.loads(open_library([folder]).index())
    looked, is_file = [], items.os.path.isfile
    monkeypatch.setattr(items.os.path, "isfile", lambda path: looked.append(path) or is_file(path))
    library, told, start = open_library([folder]), [], 0
    while start is not None:
        piece = json.loads(library.index(start, seconds=0))
        told, start = [*told, *piece["items"]], piece["next"]
        assert start is None or not any(
            f"/{'abcde'[start : start + 1]}/" in path for path in looked
        )
    assert [row["label"] for row in told] == list("abcde")
    assert piece | {"items": told} == whole


def test_a_folder_that_cannot_be_read(folder, monkeypatch):
    """It is listed with the reason; what lies beside it is listed as ever."""
    (folder / "aa").mkdir()
    scan = items.os.scandir

    def refuse(path):
        if str(path).endswith("aa"):
            raise PermissionError(errno.EACCES, "no", path)
        return scan(path)

    monkeypatch.setattr(items.os, "scandir", refuse)
    first, second, third = read(folder)
    assert [row["label"] for row in (first, second, third)] == ["a", "aa", "b"]
    assert "trace.json" in second["error"]
    assert "error" not in third


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


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\x00", '{"\udcff": []}', "[" * 5000])
def test_damaged_cache(folder, text):
    """A cache that is no such thing is as none."""
    first = read(folder)
    (folder.parent / "cache" / rows.FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read(folder) == first


def test_cache_that_cannot_be_written(folder, monkeypatch):
    """Without a place for the cache everything is shown all the same."""
    (folder.parent / "cache").write_text("a file")
    assert [row["label"] for row in read(folder)] == ["a", "b"]
