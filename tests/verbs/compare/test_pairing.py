"""Which traces of two runs belong together."""

from pathlib import Path

import pytest

from attn.errors import AnalysisError
from attn.verbs.capture.collection import Entry, write_index
from attn.verbs.compare.pairing import (
    ComparedRun,
    Member,
    label_paths,
    open_run,
    open_runs,
    pair_up,
)
from tests.helpers.toy_traces import write_collection, write_trace


def run(name, *members):
    """Return a run of (prompt, seed) members."""
    return ComparedRun(
        Path(name), name, tuple(Member(Path(name, f"{p}-{s}-{n}"), p, s) for n, (p, s) in
                                enumerate(members))
    )  # fmt: skip


def paired(base, variant):
    """Return pairs as (prompt, seed, prompt, seed), and the notes."""
    result = pair_up(base, variant)
    pairs = [(item.prompt, item.seed, other.prompt, other.seed) for item, other in result.pairs]
    return pairs, list(result.notes)


def test_prompt_and_seed():
    """Traces of the same prompt and seed are a pair, in the order of the base."""
    base = run("a", ("cat", 0), ("cat", 1), ("dog", 0))
    variant = run("b", ("dog", 0), ("cat", 1), ("cat", 0))
    expected = [("cat", 0, "cat", 0), ("cat", 1, "cat", 1), ("dog", 0, "dog", 0)]
    assert paired(base, variant) == (expected, [])


def test_leftovers():
    """What has no partner is left out, and that is said."""
    pairs, notes = paired(run("a", ("cat", 0), ("cat", 1)), run("b", ("cat", 1), ("dog", 1)))
    assert pairs == [("cat", 1, "cat", 1)]
    assert notes == ["2 traces have no partner of the same prompt and seed: left out"]


@pytest.mark.parametrize(
    ("index", "run"), [("", ""), ("comparison", ""), ("comparison", "comparison")]
)
def test_folder_of_a_comparison(tmp_path, index, run):
    """Results are no run, but the runs may be beside them; once both were in one folder."""
    (tmp_path / index).mkdir(exist_ok=True)
    (tmp_path / index / "comparison.json").write_text("{}")
    with pytest.raises(AnalysisError, match="holds a comparison; name the runs in it") as error:
        open_run(tmp_path / run, "a")
    assert f"such as {tmp_path / 'base'}, or" in str(error.value)


def test_other_seeds():
    """Without a common seed traces are paired in order, not from the same noise."""
    pairs, notes = paired(run("a", ("cat", 1), ("cat", 0)), run("b", ("cat", 7), ("cat", 9)))
    assert pairs == [("cat", 0, "cat", 7), ("cat", 1, "cat", 9)]
    assert notes == [
        "'cat' was drawn with other seeds (0-1 and 7-9): paired in their order, not from the same "
        "noise, so that intervals hold the spread of both"
    ]


def test_other_prompts():
    """Runs of one prompt each are compared whatever their prompts."""
    pairs, notes = paired(run("a", ("a cat", 3)), run("b", ("a dog", 3)))
    assert pairs == [("a cat", 3, "a dog", 3)]
    assert notes == [
        "the prompts differ ('a cat' and 'a dog'): the words that they share are compared"
    ]


def test_repeated_traces():
    """A prompt that was drawn twice with a seed is paired first with first, second with second."""
    base, variant = (run(name, ("cat", 0), ("cat", 0)) for name in "ab")
    pairs = pair_up(base, variant).pairs
    assert [(item.folder.name, other.folder.name) for item, other in pairs] == [
        ("cat-0-0", "cat-0-0"),
        ("cat-0-1", "cat-0-1"),
    ]


def test_nothing_in_common():
    """Several prompts, of which none is common, are refused."""
    base, variant = run("a", ("cat", 0), ("dog", 0)), run("b", ("hat", 0))
    message = "a and b have no prompt in common: 'cat', 'dog'; and 'hat'"
    with pytest.raises(AnalysisError, match=message):
        pair_up(base, variant)


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["runs/base", "runs/style"], ["base", "style"]),
        (["x/run", "y/run"], ["x/run", "y/run"]),
        (["runs/base", "runs/base"], ["base", "base (2)"]),
    ],
)
def test_labels(paths, labels):
    """Runs are called by the shortest ends of their paths that tell them apart."""
    assert label_paths([Path(path) for path in paths]) == labels


def test_open(tmp_path):
    """A trace is a run of one member; of a collection, what failed is left out with a note."""
    write_trace(tmp_path / "one")
    write_collection(tmp_path / "many", [0, 1])
    entries = [Entry("0000", "complete", "p", 0), Entry("0001", "failed", "p", 1, "no memory")]
    write_index(tmp_path / "many", entries)
    item, many = open_runs([tmp_path / "one", tmp_path / "many"])
    assert [(member.seed, member.folder) for member in item.members] == [(7, tmp_path / "one")]
    assert [member.folder.name for member in many.members] == ["0000"]
    assert many.notes == (f"1 of 2 traces of {tmp_path / 'many'} were not made: left out",)


def test_empty_collection(tmp_path):
    """A collection without a usable trace is refused."""
    write_index(tmp_path, [Entry("0000", "failed", "p", 0, "no memory")])
    with pytest.raises(AnalysisError, match="has no trace that could be compared"):
        open_runs([tmp_path])
