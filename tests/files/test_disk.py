"""Files that survive: whole or not at all, and journals whose last line may be torn."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest

from attn.errors import DamagedError, TraceError
from attn.files import disk
from attn.files.disk import (
    append_lines,
    as_utf8,
    copy_atomic,
    encode_json,
    is_there,
    json_text,
    read_journal,
    remove_parts,
    write_atomic,
)
from attn.files.locks import file_lock


@dataclass(frozen=True)
class Line:
    """A line of a journal."""

    name: str
    number: int = 0


LINES = (Line("a", 1), Line("日"), Line("c", 3))


def test_an_atomic_write_leaves_the_old_file_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed write must not cost what was there, nor leave its own half behind."""
    path = tmp_path / "deep" / "file.json"
    write_atomic(path, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TraceError, match=rf"could not write {path}: no space left on the disk\.$"):
        write_atomic(path, b"new")
    with pytest.raises(TraceError, match=r"no space left on the disk\. Mend it\.$"):
        write_atomic(path, b"new", "Mend it.")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_only_halves_of_the_same_file_are_removed(tmp_path: Path) -> None:
    """What a killed write left goes, and nothing else."""
    names = ["a.json", "a.json.7.part", "b.json.7.part", "a.json.part"]
    for name in names:
        (tmp_path / name).touch()
    remove_parts(tmp_path / "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("a.json", "a.json.part", "b.json.7.part")
    ]
    remove_parts(tmp_path / "nowhere" / "a.json")


def test_a_journal_comes_back_in_order(tmp_path: Path) -> None:
    """What was added is there, whether at once or one by one; no journal is an empty one."""
    path = tmp_path / "journal.jsonl"
    assert read_journal(path, Line) == ()
    append_lines(path, LINES[:2])
    append_lines(path, LINES[2:])
    assert read_journal(path, Line) == LINES


def test_a_torn_last_line_does_not_count(tmp_path: Path) -> None:
    """A process that was killed while it wrote a line has not written it."""
    path = tmp_path / "journal.jsonl"
    append_lines(path, LINES)
    whole = path.read_bytes()
    for torn in (whole[:-1], whole[:-9], whole[:-9] + b"\n"):
        path.write_bytes(torn)
        assert read_journal(path, Line) == LINES[:2]


def test_a_journal_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Damage before the last line, and what is no file, are errors and not an empty journal."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"{}\n" + encode_json({"name": "a"}).replace(b"\n", b"") + b"\n")
    with pytest.raises(TraceError, match=r"journal\.jsonl, line 1: .*`name`"):
        read_journal(path, Line)
    with pytest.raises(TraceError, match="could not read"):
        read_journal(tmp_path, Line)


def test_json_of_paths_and_odd_names() -> None:
    """Options may hold paths, whose names may hold bytes that are no characters."""
    assert encode_json({"file": Path("/a/b")}) == b'{\n "file": "/a/b"\n}\n'
    assert encode_json([Path("\udcff")]) == b'[\n "\\\\udcff"\n]\n'
    assert as_utf8("a\udcff") == "a\\udcff"
    assert json.loads(json_text({"a": "\udcffé"})) == {"a": "\\udcffé"}
    with pytest.raises(NotImplementedError, match="has no JSON form"):
        encode_json(object())


def test_what_cannot_be_seen_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question about a path never fails, even where permission was lost."""
    assert is_there(tmp_path)
    assert not is_there(tmp_path / "nothing")

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    assert not is_there(tmp_path)


def _hold(path: Path) -> None:
    with file_lock(path):
        pass


WRITES = {
    "append": lambda path: append_lines(path, LINES),
    "hold": _hold,
    "whole": lambda path: write_atomic(path.with_name("file"), b"new"),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_nothing_is_written_through_a_link(name: str, kind: str, tmp_path: Path) -> None:
    """What a folder of others has under a name of ours leads to no file of the user's."""
    path, mine = tmp_path / f"file.{os.getpid()}.part", tmp_path / "thesis"
    mine.write_bytes(b"mine")
    if kind == "link":
        path.symlink_to(mine)
    else:
        os.mkfifo(path)
    with pytest.raises((TraceError, OSError)):
        WRITES[name](path)
    assert mine.read_bytes() == b"mine"


def test_copies_are_bounded(tmp_path: Path) -> None:
    """A device, a pipe, or a file that is larger than it may be is not copied."""
    source, goal = tmp_path / "source", tmp_path / "deep" / "goal"
    source.write_bytes(b"four")
    copy_atomic(source, goal, 4)
    assert goal.read_bytes() == b"four"
    with pytest.raises(TraceError, match="it has 4 bytes, expected at most 3"):
        copy_atomic(source, goal, 3)
    with pytest.raises(TraceError, match="no regular file"):
        copy_atomic(Path("/dev/zero"), goal, 3)


def test_journals_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal beyond all reason is not read into memory."""
    monkeypatch.setattr(disk, "LARGEST_JOURNAL", 7)
    (tmp_path / "journal").write_bytes(b"{}\n{}\n\n\n")
    with pytest.raises(DamagedError, match="more than 7 bytes"):
        read_journal(tmp_path / "journal", Line)


def test_threads_write_one_file(tmp_path):
    """Threads of a process that write the same file at once do not take each other's part away."""
    path = tmp_path / "drawing.png"
    with disk.replaced_file(path) as first:
        first.write(b"one")
        thread = Thread(target=write_atomic, args=(path, b"one"))
        thread.start()
        thread.join()
    assert ([file.name for file in tmp_path.iterdir()], path.read_bytes()) == (
        ["drawing.png"],
        b"one",
    )
