"""Where results go if nobody says it."""

from datetime import datetime
from pathlib import Path

import pytest

from attn.errors import AnalysisError, TraceError
from attn.files.markers import write_marker
from attn.verbs.analyze.analyze import analyze
from attn.verbs.capture import folders
from attn.verbs.capture.capture import capture
from attn.verbs.capture.collection import Entry, write_index
from attn.verbs.shards.merge import merge


def test_two_runs_in_one_second(tmp_path, monkeypatch):
    """Each run has a folder of its own, however fast the one before it was."""

    class Clock:
        @staticmethod
        def now():
            return datetime(2026, 11, 28, 21, 43, 28)

    monkeypatch.setattr(folders, "datetime", Clock)
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        result = folders.choose_folder(None, "sdxl", "A turtle, on a beach!")
        result.mkdir(parents=True)
        names.append(result.name)
    first = "20261128-214328-sdxl-a-turtle-on-a-beach"
    assert names == [first, f"{first}-2", f"{first}-3"]
    assert folders.choose_folder(Path("mine"), "sdxl", "A turtle") == Path("mine")


def test_what_killed_runs_left(tmp_path, monkeypatch):
    """Temporary folders of ours make no folder full, and are removed from those that attn chose."""
    monkeypatch.chdir(tmp_path)
    left = tmp_path / "attn-runs/20261128-214328-compare-cat/.attn-scratch-abcdefgh"
    (left / "new").mkdir(parents=True)
    with pytest.raises(TraceError, match="is not empty"):
        folders.refuse_contents(left.parent)
    write_marker(left, goal="comparison")
    folders.refuse_contents(left.parent)
    folders.choose_folder(None, "compare", "cat")
    assert list(left.parent.iterdir()) == []


PENDING = {
    "capture": lambda out: capture("sdxl", model="demo", prompt="a cat", out=out),
    "merge": lambda out: merge(out.parent, out.parent, out=out),
    "analyze": lambda out: analyze(out.parent, out=out / "results", only=["words"]),
}


@pytest.mark.parametrize("verb", PENDING)
def test_traces_that_are_not_made_yet(tmp_path, verb):
    """Nothing takes the folder of a trace that the run would then find full."""
    write_index(tmp_path / "run", [Entry("0007", "pending", "a cat", 7)])
    with pytest.raises(AnalysisError, match=r"run/0007 is the folder of a trace that is not made"):
        PENDING[verb](tmp_path / "run" / "0007")
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "index.json"]


@pytest.mark.parametrize("part", ["analysis/new", "attention", "outputs", "results/new"])
def test_captures_into_results(tmp_path, part):
    """No capture goes into a part of a trace, or into results, which the next run would replace."""
    (tmp_path / "trace.json").write_text("{}")
    (tmp_path / "results").mkdir()
    write_marker(tmp_path / "results", command="analyze")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AnalysisError, match="holds results of attn or a part of a trace"):
        capture("sdxl", model="demo", prompt="a cat", out=tmp_path / part)
    assert sorted(tmp_path.rglob("*")) == before
