"""Folders of traces, and their index."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import attn
from attn.backends.families.sd35 import SD35Session
from attn.errors import CaptureError, RequestError, TraceError
from attn.verbs.capture.collection import (
    Entry,
    Run,
    is_collection,
    note_outcomes,
    read_collection,
    read_index,
    write_index,
)
from attn.verbs.report import Report

ENTRIES = (
    Entry("0000", "complete", "a cat", 3),
    Entry("0001", "failed", "Кот “cat”", 4, "out of luck"),
)


class Told(Report):
    """Keeps the progress that it is told."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def progress(self, done, total, written):
        self.steps.append((done, total))


def pixels(path):
    """Return a picture as an array."""
    return np.asarray(Image.open(path))


def test_index(tmp_path):
    """The index is JSON that reads back as it was written."""
    assert not is_collection(tmp_path)
    write_index(tmp_path, ENTRIES)
    assert is_collection(tmp_path)
    assert read_index(tmp_path) == ENTRIES
    written = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    assert len(written.pop("sha256")) == 64
    assert written == {
        "traces": [
            {
                "folder": "0000",
                "status": "complete",
                "prompt": "a cat",
                "seed": 3,
                "error": None,
            },
            {
                "folder": "0001",
                "status": "failed",
                "prompt": "Кот “cat”",
                "seed": 4,
                "error": "out of luck",
            },
        ],
        "run": None,
        "schema": 1,
    }


def test_what_a_run_shares(tmp_path):
    """The index says what all traces have in common, so that a resumed run can compare."""
    run = Run("sd35", 3, {"source": "demo"}, {"steps": 2, "options": {"skip": [1]}}, {"level": "x"})
    write_index(tmp_path, ENTRIES, run)
    assert read_collection(tmp_path).run == run


def test_journal(tmp_path):
    """What became of a trace is one line until the next whole index, whatever their number."""
    write_index(tmp_path, (replace(ENTRIES[0], status="pending"), ENTRIES[1]))
    before = (tmp_path / "index.json").read_bytes()
    note_outcomes(tmp_path, [ENTRIES[0]])
    assert read_index(tmp_path) == ENTRIES
    assert (tmp_path / "index.json").read_bytes() == before
    assert (tmp_path / "index.jsonl").read_text().count("\n") == 1
    write_index(tmp_path, ENTRIES)
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_torn_journal(tmp_path):
    """Half a line, of a process that was killed while it wrote, is as if it were not there."""
    pending = tuple(replace(entry, status="pending", error=None) for entry in ENTRIES)
    write_index(tmp_path, pending)
    note_outcomes(tmp_path, ENTRIES)
    journal = tmp_path / "index.jsonl"
    journal.write_bytes(journal.read_bytes()[:-3])
    assert read_index(tmp_path) == (ENTRIES[0], pending[1])


INDEX = '{"schema": 1, "traces": [{"folder": "%s", "status": "pending", "prompt": "", "seed": 0}]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{",
            "PATH is not the index of a collection: Input data was truncated. "
            "Its traces can be opened one by one.",
        ),
        (
            "[]",
            "PATH is not the index of a collection: Expected `object`, got `array`. "
            "Its traces can be opened one by one.",
        ),
        (
            '{"traces": [], "schema": 2}',
            "PATH has schema 2, this attn reads up to schema 1: update attn",
        ),
        (
            INDEX % "../x",
            "PATH names '../x', which is outside of its folder: not read",
        ),
        (
            INDEX % "/x",
            "PATH names '/x', which is outside of its folder: not read",
        ),
    ],
)
def test_bad_index(tmp_path, text, message):
    """An index that cannot be trusted is an error."""
    path = tmp_path / "index.json"
    path.write_text(text)
    with pytest.raises(TraceError) as error:
        read_index(tmp_path)
    assert str(error.value).replace(str(path), "PATH") == message


def test_no_index(tmp_path):
    """A folder without an index is an error with the file's name."""
    with pytest.raises(TraceError, match=r"cannot read .*index\.json: the file or"):
        read_index(tmp_path)


def test_newer_index_with_other_fields(tmp_path):
    """An index of a newer schema is told as such, whatever its entries look like."""
    (tmp_path / "index.json").write_text('{"schema": 2, "runs": []}')
    with pytest.raises(TraceError, match="has schema 2, this attn reads up to schema 1"):
        read_index(tmp_path)


def test_prompts_and_seeds(run, tmp_path):
    """Several prompts and seeds are a collection, prompt-major, each a complete trace."""
    done = run(["a red cat", "a dog"], seed=(3, 5), steps=1)
    expected = [("0000", "a red cat", 3), ("0001", "a red cat", 5), ("0002", "a dog", 3),
                ("0003", "a dog", 5)]  # fmt: skip
    assert [(entry.folder, entry.prompt, entry.seed) for entry in done.entries] == expected
    assert {(entry.status, entry.error) for entry in done.entries} == {("complete", None)}
    assert read_index(tmp_path / "run") == done.entries
    assert sorted(path.name for path in done.path.iterdir()) == [
        *(folder for folder, _, _ in expected),
        "index.json",
    ]
    for folder, prompt, seed in expected:
        request = attn.open(done.path / folder).manifest.request
        assert (request.prompt, request.seed) == (prompt, seed)


def test_a_collection_is_no_trace(run):
    """A collection cannot be opened as one trace; the message says what can."""
    done = run("a cat", seed=(0, 1), steps=1)
    with pytest.raises(TraceError, match="is a collection of traces: open one of the folders"):
        _ = done.trace


def test_each_trace_is_as_if_alone(run, tmp_path):
    """A trace in a collection has the picture and maps that it would have alone."""
    together = run(["a dog", "a red cat"], seed=(1, 4), out=tmp_path / "all")
    alone = run("a red cat", seed=4).trace
    item = attn.open(together.path / "0003")
    assert np.array_equal(pixels(item.image()), pixels(alone.image()))
    for layer in alone.layers:
        np.testing.assert_array_equal(item.maps(layer.index), alone.maps(layer.index))


def test_batch(run, tmp_path):
    """In a batch each trace has its own tokens and columns, and nearly the values it has alone."""
    prompts = ["a red cat", "a big rusty-bicycle, dog", "hello"]
    batched = run(prompts, batch=2, out=tmp_path / "batched")
    single = run(prompts, out=tmp_path / "single")
    for folder in ("0000", "0001", "0002"):
        own, alone = attn.open(batched.path / folder), attn.open(single.path / folder)
        assert own.tokens() == alone.tokens()
        assert own.words == alone.words
        assert own.manifest.kept.columns == alone.manifest.kept.columns
        maps = own.maps(2)
        assert list(maps.token.values) == list(alone.maps(2).token.values)
        np.testing.assert_allclose(maps, alone.maps(2), atol=2e-3)
        np.testing.assert_allclose(own.mass(2), alone.mass(2), atol=1e-4)
    columns = [len(attn.open(batched.path / name).maps(2).key) for name in ("0000", "0001", "0002")]
    assert columns == [3 + 1 + 3 + 1, 7 + 1 + 7 + 1, 1 + 1 + 1 + 1]


def test_batch_of_many_images(run, tmp_path):
    """Traces of several samples each do not mix in a batch."""
    batched = run(["a red cat", "a dog"], batch=2, images=2, out=tmp_path / "batched")
    for folder, prompt in (("0000", "a red cat"), ("0001", "a dog")):
        alone = run(prompt, images=2, out=tmp_path / folder).trace
        own = attn.open(batched.path / folder)
        assert own.manifest.samples == 2
        np.testing.assert_allclose(own.maps(0), alone.maps(0), atol=2e-3)
        for sample in (0, 1):
            difference = pixels(own.image(sample)) - pixels(alone.image(sample)).astype(int)
            assert np.abs(difference).max() <= 1


@pytest.fixture
def failing(monkeypatch):
    """Make the generation of one prompt fail after its first step began."""
    generate = SD35Session.generate

    def fail(session, requests, on_call):
        if any(request.prompt == "a bad dog" for request in requests):
            raise CaptureError("the dog ate it")
        return generate(session, requests, on_call)

    monkeypatch.setattr(SD35Session, "generate", fail)


def test_a_failing_trace(run, failing, tmp_path):
    """One trace that fails leaves the others complete, and is in the index with its reason."""
    with pytest.warns(UserWarning) as told:
        done = run(["a red cat", "a bad dog", "a tree"], steps=1, report=None)
    (warning,) = told
    assert str(warning.message) == "1 of 3 traces failed, see .failures: 0001 (the dog ate it)"
    assert [entry.status for entry in done.entries] == ["complete", "failed", "complete"]
    assert done.failures == (Entry("0001", "failed", "a bad dog", 0, "the dog ate it"),)
    assert read_index(tmp_path / "run") == done.entries
    assert [attn.open(done.path / index).manifest.status for index in ("0000", "0002")] == [
        "complete",
        "complete",
    ]
    assert not (done.path / "0001").exists()  # it failed before its first step


def test_a_surprise_in_one_trace(run, monkeypatch):
    """An error that nobody expected costs one trace, and the index says what and where it was."""
    generate = SD35Session.generate

    def fail(session, requests, on_call):
        if any(request.prompt == "a bad dog" for request in requests):
            np.empty(10**18)
        return generate(session, requests, on_call)

    monkeypatch.setattr(SD35Session, "generate", fail)
    done = run(["a red cat", "a bad dog", "a tree"], steps=1)
    assert [entry.status for entry in done.entries] == ["complete", "failed", "complete"]
    assert re.fullmatch(
        r"MemoryError in test_collection\.py:\d+: Unable to allocate .*",
        done.failures[0].error,
    )
    with pytest.raises(CaptureError, match=r"^the memory is not enough \(MemoryError in "):
        run("a bad dog", out=done.path / "alone")


def test_a_failing_batch(run, failing):
    """What shares a batch with a failing trace is made alone, and says so."""
    done = run(["a red cat", "a bad dog", "a tree"], steps=1, batch=2)
    assert [entry.status for entry in done.entries] == ["complete", "failed", "complete"]
    alone = ("made alone, because its batch of 2 failed: the dog ate it",)
    assert attn.open(done.path / "0000").manifest.warnings == alone
    assert attn.open(done.path / "0002").manifest.warnings == ()
    together = "the batch 0000 to 0001 failed (the dog ate it); its traces are made one by one"
    assert done.warnings == (together, *alone)


def test_progress_of_a_failing_batch(run, failing):
    """Steps that are made again count again, those of a failed trace do not: the end is the end."""
    report = Told()
    run(["a red cat", "a bad dog", "a tree"], steps=2, batch=2, report=report)
    assert report.steps == [(1, 6), (2, 6), (3, 4), (4, 4)]


def test_a_prompt_that_is_refused(run, monkeypatch):
    """A prompt that the model refuses before anything runs fails alone, too."""
    complete = SD35Session.complete

    def refuse(session, request):
        if request.prompt == "a bad dog":
            raise RequestError("no dogs here")
        return complete(session, request)

    monkeypatch.setattr(SD35Session, "complete", refuse)
    done = run(["a bad dog", "a red cat", "a tree"], steps=1, batch=2)
    assert [entry.status for entry in done.entries] == ["failed", "complete", "complete"]
    assert done.failures == (Entry("0000", "failed", "a bad dog", 0, "no dogs here"),)
    assert len(done.plans) == 2
    with pytest.raises(RequestError, match=r"^no dogs here$"):
        run(["a bad dog", "a bad dog"], out=done.path / "other")


def test_a_single_trace_that_fails(run, failing):
    """Without a collection the failure is the command's."""
    with pytest.raises(CaptureError, match=r"^the dog ate it$"):
        run("a bad dog")


def test_a_full_disk_stops_the_collection(run, monkeypatch, tmp_path):
    """Where nothing can be written the others are not tried."""

    def fail(*arguments):
        raise TraceError("no space left.")

    monkeypatch.setattr("attn.verbs.capture.manifest.save_outputs", fail)
    with pytest.raises(TraceError) as error:
        run(["a red cat", "a dog"], steps=1)
    assert str(error.value) == (
        f"no space left. 0 of 2 traces in {tmp_path / 'run'} are complete and stay usable; mend "
        "that, then run the same command with --resume to make the others."
    )
    assert [item.status for item in read_index(tmp_path / "run")] == ["pending", "pending"]


def test_warnings_stay_with_their_trace(run):
    """What was cut from one prompt is no matter of the next one's trace."""
    done = run(["cat " * 80, "a dog"], steps=1)
    first, second = (attn.open(done.path / folder).manifest for folder in ("0000", "0001"))
    expected = (
        "the prompt is longer than the model's 'clip' text; not read: \"cat cat cat cat cat\""
    )
    assert (first.warnings, second.warnings) == ((expected,), ())
    assert done.warnings == (f"0000: {expected}",)
    assert (first.truncated, second.truncated) == (
        {"cond": {"clip": "cat cat cat cat cat"}},
        {},
    )
