"""Folders of shards become the folder of the run."""

import pytest

import attn
import attn.verbs.shards.merge as verb
from attn.errors import DamagedError, TraceError, UsageError
from attn.verbs.capture.collection import read_index
from attn.verbs.report import Report
from tests.helpers.editing import edit
from tests.helpers.toy_runs import capture_fake, contents, use_fake
from tests.verbs.shards.conftest import PROMPTS


def finished(left):
    """Return what is left without the trace that fails, of which a merge takes no part."""
    return {name: content for name, content in left.items() if not name.startswith("0002/")}


@pytest.fixture
def parts(tmp_path, make):
    """Two shards in folders of their own."""
    for number in (1, 2):
        make(tmp_path / str(number), f"{number}/2")
    return [tmp_path / "1", tmp_path / "2"]


def test_whole(parts, tmp_path, serial):
    """It is what one process would have left, and checked."""
    done = attn.merge(*parts, out=tmp_path / "all")
    assert (done.counts, done.copied) == ({"complete": 4, "failed": 1}, 4)
    assert contents(tmp_path / "all") == finished(serial)


def test_into_one(parts, serial):
    """One of the folders can take the others in, and again without a change."""
    attn.merge(*parts, out=parts[0])
    assert finished(contents(parts[0])) == finished(serial)
    assert attn.merge(*parts, out=parts[0]).copied == 0


def test_missing(parts, tmp_path):
    """Traces of a shard that is not there are told of, and can be merged later."""
    report = Report()
    done = attn.merge(parts[0], parts[0], out=tmp_path / "all", report=report)
    assert "are in none of the folders" in report.warnings[0]
    assert attn.merge(*parts, out=tmp_path / "all").copied == done.counts["pending"]


def test_damaged(parts, tmp_path):
    """A trace that is not as it was written is named, and is not in the result."""
    trace = next(entry for entry in read_index(parts[1]) if entry.status == "complete")
    shard = parts[1] / trace.folder / "attention/step-0000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError, match=r"is not as it was written: .*step-0000"):
        attn.merge(*parts, out=tmp_path / "all")
    assert not (tmp_path / "all" / trace.folder / "trace.json").exists()


def test_other_run(parts, tmp_path):
    """Shards of several runs are not mixed."""
    capture_fake(tmp_path / "other", PROMPTS, batch=2, steps=3, report=Report())
    with pytest.raises(UsageError, match="steps: 2 → 3"):
        attn.merge(parts[0], tmp_path / "other", out=tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_twice(parts, tmp_path, make):
    """The same trace twice is no matter, but with other bytes only the user can decide."""
    make(tmp_path / "whole", "1/1")
    assert attn.merge(*parts, tmp_path / "whole", out=tmp_path / "all").copied == 4
    trace = tmp_path / "whole/0000/trace.json"
    edit(trace, lambda fields: fields["shards"][0].update(sha256="0" * 64))
    with pytest.raises(UsageError, match="are the same trace with other bytes"):
        attn.merge(*parts, tmp_path / "whole", out=tmp_path / "again")


@pytest.mark.parametrize("number", [0, 1])
def test_too_few(parts, tmp_path, number):
    """One folder is nothing to put together."""
    with pytest.raises(UsageError, match="attn merge A B -o DIR"):
        attn.merge(*parts[:number], out=tmp_path / "all")


def test_no_collection(parts, tmp_path):
    """A folder without an index is named."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraceError, match=r"empty holds no collection of traces"):
        attn.merge(parts[0], tmp_path / "empty", out=tmp_path / "all")


def test_killed(parts, tmp_path, serial, monkeypatch):
    """A merge that was stopped goes on where it was."""
    copy, copied = verb._copy, []

    def stop(*arguments):
        if len(copied) == 2:
            raise KeyboardInterrupt
        copied.append(copy(*arguments))

    monkeypatch.setattr(verb, "_copy", stop)
    with pytest.raises(KeyboardInterrupt):
        attn.merge(*parts, out=tmp_path / "all")
    monkeypatch.undo()
    use_fake(monkeypatch.setattr)
    assert attn.merge(*parts, out=tmp_path / "all").copied == 2
    assert contents(tmp_path / "all") == finished(serial)


@pytest.mark.parametrize("part", ["", "attention"])
def test_links_lead_nowhere(parts, tmp_path, part):
    """A folder that takes others in has no link through which is written elsewhere."""
    trace = next(entry for entry in read_index(parts[1]) if entry.status == "complete")
    (tmp_path / "mine").mkdir()
    link = parts[0] / trace.folder / part
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "mine")
    with pytest.raises(TraceError, match="nothing is written there"):
        attn.merge(*parts, out=parts[0])
    assert not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize("name", ["attention/step-0000.safetensors", "attention/shards.jsonl"])
def test_what_links_lead_to_is_not_copied(parts, tmp_path, name):
    """A shard of somebody else may have a link to a file of the user's: that stays where it is."""
    trace = next(entry for entry in read_index(parts[1]) if entry.status == "complete")
    link, secret = parts[1] / trace.folder / name, tmp_path / "secret"
    secret.write_bytes(b"s" * link.stat().st_size)
    link.unlink()
    link.symlink_to(secret)
    with pytest.raises(DamagedError, match=name.rpartition("/")[2]):
        attn.merge(*parts, out=tmp_path / "all")
    copies = [path for path in (tmp_path / "all").rglob("*") if path.is_file()]
    assert not [path for path in copies if path.read_bytes() == secret.read_bytes()]


def test_what_a_killed_merge_left_is_swept(parts, tmp_path, serial):
    """Files that were being written when a merge was killed go with the next one."""
    attn.merge(*parts, out=tmp_path / "all")
    trace = next(entry for entry in read_index(tmp_path / "all") if entry.status == "complete")
    (tmp_path / "all" / trace.folder / "trace.json").unlink()
    for name in ("index.json", *(f"{trace.folder}/{at}" for at in ("trace.json", "attention/a"))):
        (tmp_path / "all" / f"{name}.77.part").write_text("torn")
    assert attn.merge(*parts, out=tmp_path / "all").copied == 1
    assert contents(tmp_path / "all") == finished(serial)
