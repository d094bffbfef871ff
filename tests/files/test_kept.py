"""Copies in the cache: how much of it they may take, and which of them go."""

import os

import pytest

from attn.errors import TraceError, UsageError
from attn.files.kept import ROOM, KeptCopies
from attn.files.locks import folder_lock

COPY = 700
"""Bytes of a copy."""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return copies with room for some bytes, and a function that makes one, older each time."""

    def kept(room):
        monkeypatch.setenv(ROOM, str(room / 1e9))
        return KeptCopies(tmp_path, "trace.json")

    def copy(name, age):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "trace.json").write_bytes(b"x" * COPY)
        os.utime(folder, (1e9 - age, 1e9 - age))
        return folder

    return kept, copy


def test_the_oldest_go_first(make):
    """Only as many copies are removed as room is needed for, the longest unused ones first."""
    kept, copy = make
    young, old, oldest = copy("run/0001", 3), copy("run/0000", 5), copy("other", 7)
    copies = kept(3 * COPY)
    copies.hold(young.with_name("0002"))
    copies.require_room(COPY + 1)
    assert [folder.exists() for folder in (young, old, oldest)] == [True, False, False]


def test_what_others_hold_stays(make):
    """A copy that another process looks at is not removed; the error says what helps."""
    kept, copy = make
    folder = copy("run", 3)
    copies = kept(2 * COPY)
    with folder_lock(folder, shared=True):
        with pytest.raises(TraceError, match=f"have no room in .*, where {COPY} are free of the"):
            copies.require_room(COPY + 1)
        assert folder.exists()
    copies.require_room(COPY + 1)
    assert not folder.exists()


def test_what_was_used_before_goes_too(make):
    """A process lets go of what it used before, where the last copy would have no room else."""
    kept, copy = make
    first, last = copy("run/0000", 0), copy("run/0001", 0)
    copies = kept(3 * COPY)
    copies.hold(first)
    copies.hold(last)
    copies.require_room(COPY + 1)
    assert [first.exists(), last.exists()] == [False, True]


def test_no_number(monkeypatch, tmp_path):
    """An environment that says no number of gigabytes is refused with an example."""
    monkeypatch.setenv(ROOM, "plenty")
    with pytest.raises(UsageError, match="expected a number of gigabytes, such as 50; got 'plen"):
        KeptCopies(tmp_path, "trace.json")
