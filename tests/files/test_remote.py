"""URLs: what is one, what reads it, what is refused."""

import sys
from hashlib import sha256
from pathlib import Path

import pytest

from attn.errors import DamagedError, TraceError, UsageError
from attn.files.names import is_url, path_or_url, shown_url
from attn.files.remote import AbsentError, RemoteFolder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/run", "s3://bucket/run"),
        ("zip://run::https://host/all.zip", "zip://run::https://host/all.zip"),
        ("file:///data/run", Path("/data/run")),
        ("run", Path("run")),
        ("c:/run", Path("c:/run")),
        ("odd::name", Path("odd::name")),
        (Path("s3://bucket"), Path("s3:/bucket")),
    ],
)
def test_what_is_a_url(text, expected):
    """A URL stays a text, since a path would lose one of its slashes; all else is a path."""
    assert path_or_url(text) == expected
    assert is_url(text) == isinstance(expected, str)


def test_passwords_are_not_shown():
    """Messages and results do not tell the password of a URL."""
    assert shown_url("https://anna:secret@host/run") == "https://anna:…@host/run"
    assert shown_url("https://host:81/run@2") == "https://host:81/run@2"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonesuch://run", "nonesuch://run: this is no URL that fsspec reads: .*nonesuch"),
        ("https://host/run?sign=1", "expected the URL of a folder, which has no [?] and no #"),
        ("reference://a", "nothing is read through reference://"),
        ("zip://a::filecache::memory://b", "nothing is read through filecache://"),
    ],
)
def test_refused(url, message):
    """A URL that cannot be read, or only by running what others wrote, is refused with a reason."""
    with pytest.raises(UsageError, match=message):
        RemoteFolder(url)


def test_a_missing_package_is_named(monkeypatch):
    """A kind of URL whose package is missing is refused with the command that installs it."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError, match=r"reads s3://: pip install 'fsspec\[s3\]'$"):
        RemoteFolder("s3://bucket/run")


def test_files_are_read_within_bounds(storage):
    """What is larger than it may be is refused before all of it was read, and nothing is left."""
    storage.put("run/a", b"1234567")
    folder = RemoteFolder("memory://run/")
    assert folder.read("a", 7) == b"1234567"
    with pytest.raises(TraceError, match="cannot read memory://run/a: it has more than the 5 byt"):
        folder.read("a", 5)
    with pytest.raises(AbsentError, match="memory://run/b does not exist"):
        folder.read("b", 5)


def test_files_are_saved_whole_or_not_at_all(storage, tmp_path):
    """A file that is not what its digest says never gets its name on the disk."""
    storage.put("run/a", b"1234567")
    folder, goal = RemoteFolder("memory://run"), tmp_path / "to" / "a"
    with pytest.raises(DamagedError, match=r"memory://run/a has SHA-256 8bb0cf6e.*, expected 0000"):
        folder.save("a", goal, 7, "0" * 64)
    assert list(goal.parent.iterdir()) == []
    folder.save("a", goal, 7, sha256(b"1234567").hexdigest())
    assert goal.read_bytes() == b"1234567"


def test_a_storage_that_fails_is_an_error_of_ours(storage, monkeypatch):
    """Whatever a package of others raises is told as what could not be read."""

    def fail(*arguments, **keywords):
        raise RuntimeError("token expired")

    folder = RemoteFolder("memory://run")
    monkeypatch.setattr(type(storage.files), "open", fail)
    with pytest.raises(TraceError, match=r"cannot read memory://run/a: token expired. Check the"):
        folder.read("a", 7)


def test_a_host_that_does_not_answer(storage, monkeypatch):
    """A host that is not there is told as that, though fsspec says that the file is missing."""

    def fail(*arguments, **keywords):
        raise FileNotFoundError("memory://run/a") from ConnectionRefusedError("connect failed")

    folder = RemoteFolder("memory://run")
    monkeypatch.setattr(type(storage.files), "open", fail)
    with pytest.raises(TraceError, match=r"cannot read memory://run/a: connect failed\. Check the"):
        folder.read("a", 7)
