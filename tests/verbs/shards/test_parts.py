"""Parts of a run that processes make beside each other, and that are put together."""

import os

import pytest

import attn
from attn.cli.plan import describe
from attn.errors import TraceError, UsageError
from attn.files.locks import file_lock, folder_lock
from attn.verbs.capture.collection import Entry, read_index
from attn.verbs.report import Report
from attn.verbs.shards.parts import JobShard, parse_shard
from tests.helpers.toy_runs import capture_fake, contents
from tests.verbs.shards.conftest import PROMPTS

BATCHES = [[Entry(str(at), "pending", "a cat", at)] for at in range(23)]


class Dying(Report):
    """Ends the process in the third step."""

    def progress(self, done, total, written):
        if done == 3:
            os._exit(9)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 29])
def test_parts(count):
    """Every trace is in one shard, and shards differ by one batch at most."""
    parts = [JobShard(number + 1, count).part(BATCHES) for number in range(count)]
    assert sorted(name for part in parts for name in part) == sorted(b[0].folder for b in BATCHES)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_order():
    """Which trace is whose does not depend on the order of the list."""
    assert JobShard(2, 3).part(BATCHES) == JobShard(2, 3).part(BATCHES[::-1])


@pytest.mark.parametrize(
    ("first", "last", "step", "task"), [(0, 7, 1, 3), (1, 8, 1, 4), (10, 31, 3, 19)]
)
def test_slurm(first, last, step, task):
    """The tasks of a job array are its shards, wherever their numbers begin."""
    names = {"ID": task, "MIN": first, "MAX": last, "COUNT": (last - first) // step + 1}
    environment = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}
    assert str(parse_shard("slurm", environment)) == "4/8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5/4", "5/4 is none of 4 parts; they are 1/4 to 4/4"),
        ("0/4", "0/4 is none of 4 parts"),
        ("0/0", "0/0 has no parts"),
        ("2", "expected I/N, such as 2/8, or slurm; got '2'"),
        ("1/2/3", "expected I/N"),
        ("slurm", "this is no task of a job array"),
    ],
)
def test_nonsense(text, message):
    """What is no part of a run is refused with what to type."""
    with pytest.raises(UsageError, match=message):
        parse_shard(text, {})


def test_no_folder(make):
    """Shards must have a folder in common."""
    with pytest.raises(UsageError, match="with --out DIR"):
        make(None, "1/2")


@pytest.mark.parametrize("order", [("1/3", "2/3", "3/3"), ("3/3", "1/3", "2/3")])
def test_shared_folder(tmp_path, serial, order, make):
    """Shards of one folder, in any order, leave what one process would have left."""
    made = make(tmp_path / "run", *order)
    assert sorted(len(done.entries) for done in made) == [1, 2, 2]
    assert sum(len(done.failures) for done in made) == 1
    statuses = [entry.status for entry in read_index(tmp_path / "run")]
    assert statuses == ["complete", "complete", "failed", "complete", "complete"]
    assert attn.verify(tmp_path / "run").status == "complete"
    left = contents(tmp_path / "run")
    own = {name for name in left if name.startswith("index.")}
    assert {name: left[name] for name in left.keys() - own} == {
        name: serial[name] for name in serial.keys() - {"index.json"}
    }


def test_whole_again(tmp_path, serial, make):
    """The same command without --shard folds what shards left into the index."""
    make(tmp_path / "run", "2/2", "1/2")
    capture_fake(tmp_path / "run", PROMPTS, batch=2, resume=True, report=Report())
    assert contents(tmp_path / "run") == serial


def test_again(tmp_path, make):
    """A shard that is started again makes only what it has not made."""
    (first,) = make(tmp_path / "run", "1/2")
    kept = tmp_path / "run" / first.entries[0].folder / "trace.json"
    before = kept.stat().st_mtime_ns
    make(tmp_path / "run", "1/2")
    assert kept.stat().st_mtime_ns == before


def test_torn_journal(tmp_path, serial, make):
    """A journal whose last line a crash tore is written anew, and nothing of it is lost."""
    (first, _) = make(tmp_path / "run", "1/2", "2/2")
    journal = tmp_path / "run" / "index.1-of-2.jsonl"
    journal.write_bytes(journal.read_bytes()[:-3])
    assert len(first.entries) > 1
    make(tmp_path / "run", "1/2")
    assert [entry.status for entry in read_index(tmp_path / "run")].count("complete") == 4
    assert journal.read_bytes().endswith(b"\n")


def test_other_run(tmp_path, make):
    """A shard of another run is refused, and nothing is changed."""
    make(tmp_path / "run", "1/2")
    before = contents(tmp_path / "run")
    with pytest.raises(UsageError, match="holds another run than this one"):
        make(tmp_path / "run", "2/2", seed=3)
    assert contents(tmp_path / "run") == before


def test_same_shard_twice(tmp_path, make):
    """Two processes never make the same shard."""
    (tmp_path / "run").mkdir()
    with file_lock(tmp_path / "run" / "index.1-of-2.jsonl"):
        with pytest.raises(TraceError, match="another process makes shard 1/2"):
            make(tmp_path / "run", "1/2")
        with pytest.raises(TraceError, match="another number of shards than 1/3"):
            make(tmp_path / "run", "1/3")
        make(tmp_path / "run", "2/2")


def test_beside_a_whole_run(tmp_path, make):
    """While shards are made no run of all of it begins, and the other way round."""
    (tmp_path / "run").mkdir()
    with folder_lock(tmp_path / "run", shared=True):
        with pytest.raises(TraceError, match="another capture is writing"):
            capture_fake(tmp_path / "run", PROMPTS, resume=True)
        make(tmp_path / "run", "1/2")
    with folder_lock(tmp_path / "run"), pytest.raises(TraceError, match="another capture"):
        make(tmp_path / "run", "2/2")


def test_killed(tmp_path, serial, make):
    """A shard that dies between two traces is finished by the same command."""
    if not (child := os.fork()):
        capture_fake(tmp_path / "run", PROMPTS, shard="1/1", batch=2, report=Dying())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    make(tmp_path / "run", "1/1")
    capture_fake(tmp_path / "run", PROMPTS, batch=2, resume=True, report=Report())
    assert contents(tmp_path / "run") == serial


def test_more_shards_than_batches(tmp_path, make):
    """A shard that has no traces says so, as a plan too, and is no error."""
    told = Told()
    (planned,) = make(tmp_path / "run", "5/7", dry_run=True)
    assert describe(planned) == "0 traces; nothing to make"
    make(tmp_path / "run", "1/7", "5/7", "5/7", report=told)
    assert told.notes[-1] == (
        "nothing to do: there are more shards than batches, and this one has none"
    )


class Told(Report):
    """Keeps the notes."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def note(self, text):
        self.notes.append(text)
