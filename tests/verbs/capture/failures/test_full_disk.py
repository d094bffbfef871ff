"""Disks that fill up and folders that go away while a capture runs: told, and nothing lost."""

import errno
import os
import re
import resource
import shutil
import subprocess
from contextlib import contextmanager

import pytest

import attn
from attn.errors import TraceError
from attn.verbs.capture.collection import read_index
from attn.verbs.report import Report
from tests.helpers.toy_runs import capture_fake, check_left, contents, use_fake

PROMPTS = ["a red cat", "a dog", "a tree"]
REST = "traces in OUT are complete and stay usable; mend that, then run the same command with "
NOBODY = 65534


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Capture with the fake family."""
    use_fake(monkeypatch.setattr)


@pytest.fixture
def out(tmp_path):
    """Where a run goes."""
    return tmp_path / "run"


@pytest.fixture
def whole(tmp_path):
    """What an unbroken run leaves."""
    run(tmp_path / "whole")
    return contents(tmp_path / "whole")


class Then(Report):
    """Does something after a step."""

    def __init__(self, step, action):
        super().__init__()
        self.step, self.action = step, action

    def progress(self, done, total, written):
        if done == self.step:
            self.action()


def run(out, prompts=PROMPTS, **arguments):
    """Capture a collection, or go on with it."""
    return capture_fake(out, prompts, resume=True, **arguments)


def broken(out, whole, **arguments):
    """Run into a failure; check what it left, and return what it said and the statuses."""
    with pytest.raises(TraceError) as error:
        run(out, **arguments)
    statuses = check_left(out, whole)
    return str(error.value).replace(str(out), "OUT"), statuses


def test_full_disk_in_mid_run(out, whole, small_disk):
    """A disk that others fill while we write is told, what is whole stays, the rest is resumed."""
    out = small_disk / "run"
    filler = small_disk / "filler"

    def fill():
        handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="No space left"):
            while True:
                os.write(handle, bytes(4096))
        os.close(handle)

    said, statuses = broken(out, whole, report=Then(3, fill))
    assert re.match(r"could not write OUT/0001/\S+: no space left on the disk\. ", said)
    assert said.endswith(f" 1 of 3 {REST}--resume to make the others.")
    assert statuses == ["complete", "partial", "pending"]
    assert len(attn.open(out / "0000").steps) == 2
    filler.unlink()
    run(out)
    assert contents(out) == whole


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 KB, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount") or "mount"
    command = [mount, "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def full_after(changes, monkeypatch):
    """Let the disk be full from some write on; yields whether it was."""
    real, left, reached = os.fsync, iter(range(changes)), []

    def full(handle):
        if next(left, None) is None:
            reached.append(True)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        yield reached


@pytest.mark.slow
def test_full_at_every_write(tmp_path, monkeypatch):
    """Wherever the space ends, one message says so, the index is true, and --resume mends it."""
    run(tmp_path / "whole", batch=2)
    whole = contents(tmp_path / "whole")
    changes, has_failed = 0, True
    while has_failed:
        out = tmp_path / str(changes)
        with full_after(changes, monkeypatch) as reached:
            try:
                run(out, batch=2)
            except TraceError as error:
                said = str(error).replace(str(out), "OUT")
                assert re.match(r"could not write OUT/\S+: no space left on the disk\. ", said)
                assert re.search(r" [0-3] of 3 traces in OUT are complete and stay usable; ", said)
                statuses = check_left(out, whole)
                assert f" {statuses.count('complete')} of 3 " in said
            else:
                assert not reached
        has_failed = bool(reached)
        run(out, batch=2)
        assert contents(out) == whole
        changes += 1
    assert changes > 40


@contextmanager
def file_limit(limit):
    """Let no file grow beyond some bytes, which the operating system refuses in its own way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("limit", "file"),
    [(900, "index.json"), (3000, "0000/trace.json"), (6000, "0000/trace.json")],
)
def test_limits_of_the_system(out, whole, limit, file):
    """Quotas that are told in other words are told as well, and where."""
    with file_limit(limit):
        said, _ = broken(out, whole)
    assert said.startswith(f"could not write OUT/{file}: File too large.")
    run(out)
    assert contents(out) == whole


def test_a_folder_that_is_removed(out, whole):
    """Someone who tidies up in mid-run ends it, and neither message nor index praise the ruins."""
    said, statuses = broken(
        out, whole, report=Then(3, lambda: out.rename(out.parent / "elsewhere"))
    )
    assert re.match(
        r"could not write OUT/0001/\S+: the file or its folder does not exist, or", said
    )
    assert f" 0 of 3 {REST}" in said
    assert statuses == ["pending"] * 3
    run(out)
    assert contents(out) == whole


def test_a_folder_that_becomes_a_file(out, whole):
    """Also where something else takes the folder's place."""

    def replace():
        (out / "0001").rename(out.parent / "elsewhere")
        (out / "0001").write_text("mine")

    said, statuses = broken_in_ruins(out, Then(3, replace))
    assert re.match(r"could not (read|write) OUT/0001/\S+: (Not a dir|the file or its fold)", said)
    assert statuses == ["complete", "pending", "pending"]
    with pytest.raises(TraceError, match=r"could not (read|write) .*0001"):
        run(out)
    (out / "0001").unlink()
    run(out)
    assert contents(out) == whole


def broken_in_ruins(out, report):
    """Run into a failure; return what it said and what the index says."""
    with pytest.raises(TraceError) as error:
        run(out, report=report)
    return str(error.value).replace(str(out), "OUT"), [item.status for item in read_index(out)]


def test_permission_that_is_lost(out, whole):
    """A folder that may no longer be written is told; what was finished is there, and whole."""
    mode = out.parent.stat().st_mode

    def lose():
        out.parent.chmod(0o500)
        if os.geteuid() == 0:  # whom no mode stops
            os.seteuid(NOBODY)

    try:
        with pytest.raises(TraceError) as error:
            run(out, report=Then(3, lose))
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        out.parent.chmod(mode)
    said = str(error.value).replace(str(out), "OUT")
    assert re.match(r"could not (read|write) OUT/0001/\S+: permission denied\. ", said)
    assert said.endswith("--resume to make the others.")
    assert check_left(out, whole) == ["complete", "partial", "pending"]
    run(out)
    assert contents(out) == whole


def test_a_single_trace(out, tmp_path, monkeypatch):
    """For one trace the message says how to make it again."""
    with pytest.raises(TraceError) as error, full_after(9, monkeypatch):
        run(out, "a cat", steps=4)
    assert str(error.value).endswith(
        "The steps finished before this stay readable as a partial trace. Mend that, then run the "
        "same command with --resume."
    )
    run(out, "a cat", steps=4)
    run(tmp_path / "whole", "a cat", steps=4)
    assert contents(out) == contents(tmp_path / "whole")
