"""Runs that shards and workers look at: the tables of one process, bit for bit."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import attn
from attn.errors import TraceError, UsageError
from attn.files.cache import cache_key
from attn.verbs.analyze import traces
from attn.verbs.report import Report
from attn.verbs.workers.pieces import PieceFolder, TracePiece
from tests.helpers.toy_runs import contents
from tests.helpers.toy_traces import write_collection

CAT = np.zeros((40, 24), np.uint8)
CAT[4:20, 3:11] = 255
COUNT = 5


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """A mask of one word in all pictures but the last."""
    folder = tmp_path_factory.mktemp("masks")
    for number in range(COUNT):
        (folder / f"{number:04d}").mkdir()
        if number + 1 < COUNT:
            Image.fromarray(CAT).save(folder / f"{number:04d}" / "cat.png")
    return folder


@pytest.fixture
def run(tmp_path_factory):
    """A run of a few traces, which always has the same name."""
    folder = tmp_path_factory.mktemp("of") / "run"
    write_collection(folder, range(COUNT))
    return folder


@pytest.fixture(scope="module")
def verbs(masks, tmp_path_factory):
    """What is done with a run, by the name of the verb."""
    base = tmp_path_factory.mktemp("base") / "base"
    write_collection(base, range(COUNT), seed=3)
    return {
        "analyze": lambda run, **options: attn.analyze(
            run, pictures=False, report=Report(), **options
        ),
        "evaluate": lambda run, **options: attn.evaluate(
            run, truth=masks, sinks=True, pictures=False, report=Report(), **options
        ),
        "compare": lambda run, **options: attn.compare(
            run, base, out=run, pictures=False, report=Report(), **options
        ),
    }


@pytest.fixture(scope="module", params=["analyze", "evaluate", "compare"])
def serial(request, tmp_path_factory, verbs):
    """A verb, and what one process leaves."""
    folder = tmp_path_factory.mktemp("serial") / "run"
    write_collection(folder, range(COUNT))
    done = verbs[request.param](folder)
    return verbs[request.param], left_of(folder), done.warnings


def left_of(run):
    """Return what there is in a run, but for what names other folders."""
    left = contents(run)
    return {
        name: content
        for name, content in left.items()
        if not name.startswith("comparison/") or name.endswith(".csv")
    }


def without_paths(warnings):
    """Return warnings without the folders in which runs are."""
    return [warning.rpartition("/run/")[2] for warning in warnings]


def test_shards(run, serial, monkeypatch):
    """Shards in any order, one of them twice; what puts together looks at no trace again."""
    verb, left, warnings = serial
    for shard in ("2/3", "3/3", "2/3", "1/3"):
        verb(run, shard=shard)
    monkeypatch.setattr(traces, "plan", None)
    monkeypatch.setattr("attn.analysis.scores.scored.list_poolings", None)
    monkeypatch.setattr("attn.analysis.compare.reading.read_sums", None)
    done = verb(run)
    assert left_of(run) == left
    assert without_paths(done.warnings) == without_paths(warnings)


def test_workers(run, serial, monkeypatch):
    """Workers leave what one process leaves."""
    verb, left, _ = serial
    monkeypatch.setenv("PYTHONPATH", str(Path(attn.__file__).parents[1]))
    verb(run, workers=2)
    assert left_of(run) == left


def test_changed(run, serial, verbs):
    """What was kept of a trace that was made anew since is not used."""
    verb, left, _ = serial
    other = run.parent / "other" / "run"
    write_collection(other, range(COUNT), seed=7)
    verb(other, shard="1/1")
    shutil.copytree(run, other, dirs_exist_ok=True)
    verb(other)
    assert left_of(other) == left


@pytest.mark.parametrize("option", [{"shard": "1/2"}, {"workers": 2}])
def test_single(run, verbs, option):
    """One trace cannot be shared."""
    for verb in verbs.values():
        with pytest.raises(UsageError, match="is a single trace"):
            verb(run / "0001", **option)


@pytest.mark.parametrize("verb", ["analyze", "evaluate"])
def test_none(run, verbs, verb):
    """What is not there is not called a trace that cannot be shared."""
    with pytest.raises(TraceError, match=r"could not read .*0009/trace\.json: the file or its"):
        verbs[verb](run / "0009", workers=2)


@pytest.mark.parametrize(("shard", "told"), [("0/4", "none of 4 parts"), ("two", "expected I/N")])
def test_nonsense(run, verbs, shard, told):
    """What is no part is refused before anything is read."""
    for verb in verbs.values():
        with pytest.raises(UsageError, match=told):
            verb(run, shard=shard)


def test_piece(tmp_path, monkeypatch):
    """A piece comes back bit for bit, to who asks for the same, not if damaged or of others."""
    pieces, others = (PieceFolder(tmp_path / "kept", options) for options in ({"a": 1}, {"a": 2}))
    piece = TracePiece([0.1, float("nan"), "\udcff"], {"x\ny": np.array([np.nan, np.pi])})
    pieces.write(piece, "0001", "digest")
    read = pieces.read("0001", "digest")
    assert repr(read.facts) == repr(piece.facts)
    assert read.arrays["x\ny"].tobytes() == piece.arrays["x\ny"].tobytes()
    assert (others.read("0001", "digest"), pieces.read("0001", "other")) == (None, None)
    (path,) = (tmp_path / "kept").iterdir()
    data = path.read_bytes()
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert pieces.read("0001", "digest") is None
    path.write_bytes(data)
    for cache in ("none", "another"):
        monkeypatch.setenv("ATTN_CACHE", str(tmp_path / cache))
        assert pieces.read("0001", "digest") is None  # it came with a run of others
        cache_key(make=True)
    pieces.remove()
    assert not (tmp_path / "kept").exists()


def test_what_others_have_in_the_folder_stays(tmp_path):
    """Only what can be a piece is removed: notes, arrays and what a link leads to are not ours."""
    folder = tmp_path / "kept"
    pieces, (hexadecimal, part) = PieceFolder(folder, {}), ("0" * 40, "f" * 40 + ".npz.77.part")
    pieces.write(TracePiece({"a": 1}), "0001", "0" * 64)
    (piece,) = folder.iterdir()
    (folder / part).write_bytes(b"torn")
    others = [folder / name for name in ("mine.npz", f"{hexadecimal}.npz", "notes.txt")]
    for path in others:
        with path.open("wb") as stream:
            np.savez(stream, thesis=np.arange(7))
    (folder / f"{'e' * 40}.npz").symlink_to(piece)
    pieces.remove()
    assert sorted(folder.iterdir()) == sorted([*others, folder / f"{'e' * 40}.npz"])


def test_links_are_not_followed(tmp_path):
    """A run of somebody else may have a link where pieces would lie."""
    outside, link = tmp_path / "outside", tmp_path / "kept"
    PieceFolder(outside, {}).write(TracePiece({"a": 1}), "0001", "0" * 64)
    link.symlink_to(outside)
    pieces = PieceFolder(link, {})
    pieces.remove()
    with pytest.raises(TraceError, match="kept is a symbolic link: nothing is written where"):
        pieces.write(TracePiece({"a": 1}), "0002", "0" * 64)
    assert not pieces.is_there()
    assert len(list(outside.iterdir())) == 1
