"""Going on with a large run: the unchanged is not read again, and all that is seen is mended."""

import json
import shutil
from pathlib import Path

import pytest

import attn
from attn.errors import DamagedError, UsageError
from attn.trace.store import open_files
from attn.verbs.capture import resume, unchanged
from attn.verbs.capture.collection import read_index
from attn.verbs.capture.unchanged import find_unchanged
from attn.verbs.report import Report
from tests.helpers.editing import edit
from tests.helpers.toy_runs import capture_fake, contents, use_fake

PROMPTS = ["a red cat", "a dog", "trees", "rain", "a pair of birds"]
SHARD = "attention/step-0001.safetensors"


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Capture with the fake family; three traces are many."""
    use_fake(monkeypatch.setattr)
    monkeypatch.setattr(unchanged, "MANY", 2)


@pytest.fixture
def read(monkeypatch):
    """The names of the traces that are read as a whole, as they are."""
    names, real = [], resume._damage
    monkeypatch.setattr(
        resume, "_damage", lambda job, item: names.append(item.folder.name) or real(job, item)
    )
    return names


def run(out, prompts=PROMPTS, **arguments):
    """Make or go on with a run of batches of two; return what was told."""
    report = Report()
    capture_fake(out, prompts, **{"batch": 2, "resume": True, "report": report} | arguments)
    return report


@pytest.fixture
def out(tmp_path):
    """A run that is whole."""
    run(tmp_path / "run")
    return tmp_path / "run"


def traces(folder):
    """Return what is in a run but for its index, which has the stamps of its files."""
    return {name: left for name, left in contents(folder).items() if "/" in name}


def test_not_read_again(out, read):
    """Of a run that is whole only the first trace is read, which says what it was made with."""
    run(out)
    assert read == ["0000"]


def test_few(out, read, monkeypatch):
    """Of a run with few traces all are read, and its index has no stamps."""
    monkeypatch.setattr(unchanged, "MANY", 5)
    run(out)
    assert read == ["0000", "0001", "0002", "0003", "0004"]
    assert find_unchanged(out, read_index(out)) == set()
    assert "stamp" not in (out / "index.json").read_text()


def test_shards(tmp_path, read):
    """Shards keep stamps in their journals, of which the whole run goes on."""
    for number in (1, 2):
        run(tmp_path / "run", shard=f"{number}/2")
    assert not read
    run(tmp_path / "run")
    run(tmp_path / "run")
    assert read == ["0000", "0000"]


def test_merged(tmp_path, read):
    """Traces that were copied and checked have the stamps of the copies."""
    for number in (1, 2):
        run(tmp_path / str(number), shard=f"{number}/2")
    attn.merge(tmp_path / "1", tmp_path / "2", out=tmp_path / "run")
    run(tmp_path / "run")
    assert read == ["0000"]


def test_copied(out, tmp_path, read):
    """A copy is read once, whatever its times say."""
    shutil.copytree(out, tmp_path / "copy")
    run(tmp_path / "copy")
    assert read == ["0000", "0001", "0002", "0003", "0004"]
    run(tmp_path / "copy")
    assert read[5:] == ["0000"]


def replace(path):
    """Put another file in the place of one."""
    (path.parent / "other").write_bytes(b"other")
    (path.parent / "other").replace(path)


SEEN = {
    "no folder": (".", shutil.rmtree),
    "no shard": (SHARD, Path.unlink),
    "another shard": (SHARD, replace),
    "no picture": ("outputs/image.png", Path.unlink),
    "no manifest": ("trace.json", Path.unlink),
    "cut manifest": ("trace.json", lambda path: path.write_text("{")),
    "edited manifest": (
        "trace.json",
        lambda path: edit(path, lambda fields: fields.update(outputs=[])),
    ),
}


@pytest.mark.parametrize("damage", SEEN)
def test_seen(out, damage):
    """What is gone or was put there is seen without reading, and made again."""
    whole = traces(out)
    name, spoil = SEEN[damage]
    spoil(out / "0003" / name)
    run(out)
    (out / "0003" / resume.DAMAGED).unlink(missing_ok=True)
    assert traces(out) == whole
    assert {entry.status for entry in read_index(out)} == {"complete"}


def test_changed_inside(out):
    """A byte that changed in a file is noticed by who reads it; without the folder it is made."""
    whole = traces(out)
    with (out / "0003" / SHARD).open("r+b") as shard:
        shard.seek(-1, 2)
        shard.write(b"x")
    run(out)
    assert attn.verify(out).status == "failed"
    with pytest.raises(DamagedError):
        open_files(out / "0003").verify()
    shutil.rmtree(out / "0003")
    run(out)
    assert traces(out) == whole


def test_other_run(out):
    """Another run is refused by the first trace that is there, as ever."""
    with pytest.raises(UsageError, match=r"steps: 2 → 3"):
        run(out, steps=3)
    edit(out / "index.json", lambda fields: fields.update(run=None))
    with pytest.raises(UsageError, match=r"steps: 2 → 3"):
        run(out, steps=3)


def test_killed(out, read):
    """What a journal tells of a run that was killed is believed as its index is."""
    index = json.loads((out / "index.json").read_text())
    lines = [
        {key: entry[key] for key in ("folder", "status", "stamp")} for entry in index["traces"]
    ]
    (out / "index.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    def forget(fields):
        for entry in fields["traces"]:
            entry["status"] = "pending"
            del entry["stamp"]

    edit(out / "index.json", forget)
    run(out)
    assert read == ["0000"]
