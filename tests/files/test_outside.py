"""Files of others are read whole or refused, whatever they are."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attn.errors import ModelError, TraceError
from attn.files.outside import DAMAGED, read_bytes, read_json, read_text, unread


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    """Bytes, text without its mark, and JSON of the type that is expected."""
    path = tmp_path / "a.json"
    path.write_bytes('\ufeff{"à": 3}'.encode())
    assert read_text(path) == '{"à": 3}'
    path.write_bytes('{"à": 3}'.encode())
    assert read_bytes(path) == '{"à": 3}'.encode()
    assert read_json(path, dict[str, int]) == {"à": 3}


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


KINDS = {
    "this is no regular file; expected a regular file": _pipe,
    "this is a folder; expected a regular file": Path.mkdir,
    "its symbolic links lead in a circle": _loop,
    "the file or its folder does not exist": lambda path: None,
}


@pytest.mark.parametrize("reason", KINDS)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, reason: str) -> None:
    """A pipe that nobody writes to is not waited for, and each kind is named."""
    path = tmp_path / "odd"
    KINDS[reason](path)
    with pytest.raises(TraceError) as caught:
        read_bytes(path, hint="Look.")
    assert str(caught.value) == f"cannot read {path}: {reason}. Look."


ADVICE = {
    "b.txt": " Did you mean 'bb.txt'?",
    "q": " Check the path: FOLDER holds a, bb.txt",
    "no/q": " Check the path: FOLDER/no is not there either",
}


@pytest.mark.parametrize("name", ADVICE)
def test_what_is_not_there_is_told_with_what_is(tmp_path: Path, name: str) -> None:
    """The nearest name is given, else what is in the folder, else that there is no folder."""
    for there in ("a", "bb.txt"):
        (tmp_path / there).touch()
    told = unread(tmp_path / name, FileNotFoundError(errno.ENOENT, ""))
    assert told.endswith(f"does not exist.{ADVICE[name].replace('FOLDER', str(tmp_path))}")


def test_a_device_without_end_is_refused() -> None:
    """`/dev/zero` does not fill the memory."""
    with pytest.raises(ModelError, match="this is no regular file"):
        read_bytes(Path("/dev/zero"), error=ModelError)


def test_a_name_that_cannot_be_one_is_refused() -> None:
    """A NUL in a name that a file gave is an expected failure."""
    with pytest.raises(TraceError, match="its name cannot be one"):
        read_text(Path("a\0b"))


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    """The message has both sizes; a file of just the limit is read."""
    path = tmp_path / "long"
    path.write_bytes(b"1234567")
    assert read_bytes(path, limit=7) == b"1234567"
    with pytest.raises(TraceError, match="it has 7 bytes, expected at most 5"):
        read_bytes(path, limit=5)


DAMAGES: dict[str, tuple[bytes, Any]] = {
    "JSON is malformed": (b"{]", dict[str, int]),
    "it is no UTF-8 text, as its byte 0xff shows": (b'{"a": "\xff"}', dict[str, str]),
    "it is nested too deeply": (b"[" * 3000 + b"]" * 3000, Any),
    "Expected `int`, got `str` - at `$[...]`": (b'{"a": "b"}', dict[str, int]),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_damaged_json_is_one_expected_error(tmp_path: Path, reason: str) -> None:
    """Whatever the decoder raises, the message has the file, what was expected, and why."""
    path = tmp_path / "index.json"
    data, kind = DAMAGES[reason]
    path.write_bytes(data)
    with pytest.raises(TraceError) as caught:
        read_json(path, kind, expected="an index")
    assert str(caught.value).startswith(f"{path} is not an index: {reason}")
    assert isinstance(caught.value.__cause__, DAMAGED)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """A Latin-1 file is an expected failure."""
    path = tmp_path / "a.txt"
    path.write_bytes("à".encode("latin-1"))
    with pytest.raises(TraceError, match="is no UTF-8 text, as its byte 0xe0 shows"):
        read_text(path)


RACE = """
import sys
from dataclasses import make_dataclass
from threading import Barrier, Thread
from attn.files.outside import decode

sys.setswitchinterval(1e-6)
for round in range(40):
    kind, data = int, b"7"
    for depth in range(5):
        fields = [("inner", kind), *((f"text{at}", str, "x") for at in range(7))]
        kind, data = make_dataclass(f"Kind{depth}", fields), b'{"inner":' + data + b"}"
    start, values = Barrier(5), []
    threads = [
        Thread(target=lambda: (start.wait(), values.append(decode(data, kind)))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(values) == 5 and values[0].inner.inner.inner.inner.inner == 7
"""


def test_types_that_are_met_by_several_threads() -> None:
    """Threads that meet a type at the same time all get its value; the process does not end."""
    done = subprocess.run([sys.executable, "-c", RACE], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
