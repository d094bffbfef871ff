"""A trace on disk: whole after every interruption, checked at every reading."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import ml_dtypes
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from attn.errors import TraceError
from attn.files import digests
from attn.schema import (
    SCHEMA,
    Column,
    Kept,
    Layer,
    Manifest,
    Request,
    Segment,
    Shard,
    Step,
    Token,
    find_words,
)
from attn.trace import store
from attn.trace.store import open_files, read_manifest
from attn.trace.writer import TraceWriter, demote, predict_bytes

STEPS = (Step(0, 951.0, 0.9), Step(1, None, None), Step(2, 1.0, 0.1))
TEXT = Segment("clip", "text", 0, 5)
IMAGE = Segment("image", "image", 0, 6, (2, 3))
MANIFEST = Manifest(
    status="partial",
    backend="toy",
    model={"source": "demo"},
    request=Request("a red fox"),
    branches=("cond",),
    samples=1,
    steps=(),
    layers=(Layer(0, "denoiser", "attn", "cross", 7, (IMAGE,), (TEXT,), ("image.text",)),),
    segments={"cond": (TEXT,)},
    tokens={"cond": (Token(1, "clip", 3, "fox", False, False, 6, 9, 2),)},
    words=find_words("a red fox"),
    truncated={},
    kept=Kept(
        *("maps", "all", "text", False, ("image.text",), (0,)),
        tuple(Column("clip", position) for position in range(5)),
    ),
    identity={},
    shards=(),
    environment={"attn": "0.1"},
    cost={},
)


def tensors(step: Step) -> dict[str, np.ndarray]:
    """Make one step's tensors: every dtype and memory layout that the engine hands over."""
    rng = np.random.default_rng(step.index)
    maps = rng.random((1, 1, 6, 5))
    return {
        "0/map.image.text": maps.astype(np.float16),
        "0/query": rng.random((1, 1, 7, 6, 3)).astype(ml_dtypes.bfloat16),
        "0/mass.image.text": rng.random((1, 1, 10, 7)).astype(np.float32)[..., ::2, :].mT,
        "0/scale": rng.random((1, 1)).astype(np.float32),
        "step/tokens": rng.integers(0, 99, (1, 1, 5), np.int32),
    }


def assert_holds(folder: Path, steps: tuple[Step, ...]) -> None:
    """Check that a trace opens, lists exactly these steps, and holds their tensors."""
    files = open_files(folder)
    assert files.manifest.steps == steps
    for step in steps:
        for name, expected in tensors(step).items():
            got = files.read(store.shard_file(step), name)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Write a complete trace of three steps."""
    with TraceWriter(tmp_path / "run", MANIFEST) as writer:
        for step in STEPS:
            writer.put(step, tensors(step))
        writer.finish(replace(MANIFEST, outputs=("outputs/image.png",)))
    return tmp_path / "run"


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    """Write two steps of a trace, then stop."""
    with TraceWriter(tmp_path / "run", MANIFEST) as writer:
        for step in STEPS[:2]:
            writer.put(step, tensors(step))
    return tmp_path / "run"


def rewrite(folder: Path, **changes: Any) -> None:
    """Change fields of a trace.json that has no digest."""
    path = folder / "trace.json"
    fields = json.loads(path.read_text()) | changes
    fields.pop("sha256", None)
    path.write_text(json.dumps(fields))


def test_what_is_written_comes_back(trace: Path) -> None:
    """Nothing is lost on disk: bfloat16, scalars, integers, arrays that are not contiguous."""
    assert_holds(trace, STEPS)
    manifest = open_files(trace / "trace.json").manifest
    assert manifest.status == "complete"
    assert [shard.step for shard in manifest.shards] == list(STEPS)
    assert manifest.outputs == ("outputs/image.png",)


def test_means_are_a_shard_without_a_step(tmp_path: Path) -> None:
    """The level `means` writes one more file, which must not count as a step."""
    with TraceWriter(tmp_path / "run", MANIFEST) as writer:
        writer.put(STEPS[0], tensors(STEPS[0]))
        writer.put(None, {"0/map.image.text": np.ones((1, 1, 6, 5), np.float32)})
        done = writer.finish(MANIFEST)

    assert [shard.file for shard in done.shards][1] == "attention/mean.safetensors"
    assert done.steps == STEPS[:1]
    assert open_files(tmp_path / "run").manifest == done


def test_a_part_of_a_tensor_is_read_without_the_rest(trace: Path) -> None:
    """Views ask for spans of a tensor: they must be the same numbers as in the whole of it."""
    files, name = open_files(trace), "0/map.image.text"
    whole = files.read("attention/step-0001.safetensors", name)

    part = files.read("attention/step-0001.safetensors", name, (0, slice(0, 1), slice(2, 5)))

    np.testing.assert_array_equal(part, whole[0, 0:1, 2:5])
    shape, dtype = files.describe("attention/step-0001.safetensors", "0/query")
    assert (shape, dtype) == ((1, 1, 7, 6, 3), np.dtype(ml_dtypes.bfloat16))
    assert set(files.tensors("attention/step-0001.safetensors")) == set(tensors(STEPS[1]))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=3)
finite = st.floats(allow_nan=False, allow_infinity=False)
small = st.integers(-(2**63), 2**63 - 1)
segments = st.builds(
    Segment, start=small, stop=small, grid=st.none() | st.just((2, 3)) | st.tuples(small, small)
)
layers = st.builds(
    Layer,
    index=small,
    num_heads=small,
    queries=st.lists(segments, max_size=2).map(tuple),
    keys=st.lists(segments, max_size=2).map(tuple),
    head_dim=st.none() | small,
    num_key_heads=st.none() | small,
)
tokens = st.builds(Token, position=small, id=small, start=small, stop=small, word=st.none() | small)
manifests = st.builds(
    Manifest,
    model=json_objects,
    request=st.builds(
        Request,
        seed=small,
        steps=st.none() | small,
        guidance=st.none() | finite,
        width=st.none() | small,
        height=st.none() | small,
        images=small,
        options=json_objects,
    ),
    samples=small,
    steps=st.just(()),
    layers=st.lists(layers, max_size=2).map(tuple),
    segments=st.dictionaries(st.text(), st.lists(segments, max_size=2).map(tuple), max_size=2),
    tokens=st.dictionaries(st.text(), st.lists(tokens, max_size=2).map(tuple), max_size=2),
    words=st.just(()),
    kept=st.just(MANIFEST.kept),
    identity=json_objects,
    shards=st.just(()),
    cost=st.dictionaries(st.text(), finite, max_size=2),
    outputs=st.just(("outputs/image.png",)),
    schema=st.just(SCHEMA),
)


@settings(max_examples=40)
@given(manifests)
def test_every_manifest_comes_back(manifest: Manifest) -> None:
    """The manifest is all that analyses know: prompts in any script and odd options included."""
    unchecked = mock.patch(
        "attn.trace.store.problems", lambda manifest: iter(())
    )  # any data will do
    with (
        unchecked,
        tempfile.TemporaryDirectory() as folder,
        TraceWriter(Path(folder), manifest) as writer,
    ):
        assert open_files(Path(folder)).manifest == replace(manifest, status="partial")
        done = writer.finish(manifest)

        assert done == replace(manifest, status="complete")
        assert open_files(Path(folder)).manifest == done


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
shapes = st.lists(st.integers(0, 11), max_size=4).map(tuple)


@given(st.dictionaries(names, st.tuples(shapes, st.sampled_from(list(store.DTYPES))), max_size=13))
def test_bytes_are_predicted_exactly(planned: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """The plan refuses what does not fit, so its sum must be the file's size, header included."""
    arrays = {
        name: np.zeros(shape, store.DTYPES[dtype]) for name, (shape, dtype) in planned.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        save_file(arrays, path)

        assert predict_bytes(planned) == path.stat().st_size


KILLED_AT_EVERY_SYNC = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from tests.trace.test_store import MANIFEST, STEPS, TraceWriter, tensors

    real, folder = os.fsync, Path({folder!r})
    for last in range({count}):
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            continue
        seen = iter(range(last + 1))
        def fsync(handle):
            if next(seen, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            real(handle)
        os.fsync = fsync
        with TraceWriter(folder / str(last), MANIFEST) as writer:
            for step in STEPS:
                writer.put(step, tensors(step))
            writer.finish(MANIFEST)
        os._exit(0)
"""

KILLED_ANY_TIME = """
    import sys
    from pathlib import Path
    import numpy as np
    sys.path.insert(0, {root!r})
    from tests.trace.test_store import MANIFEST, TraceWriter, Step

    with TraceWriter(Path({folder!r}), MANIFEST) as writer:
        for index in range(10_000):
            large = np.full((1, 1, 700_001), index, np.int32)
            writer.put(Step(index, None, None), {{"0/x": large}})
"""


def script(text: str, **values: Any) -> list[str]:
    """Return the command that runs a script with values filled in."""
    root = str(Path(__file__).parents[2])
    return [sys.executable, "-c", textwrap.dedent(text).format(root=root, **values)]


def test_a_run_killed_at_any_sync_leaves_a_trace_that_opens(tmp_path: Path) -> None:
    """SIGKILL between any two writes loses at most the step in hand, never a listed one."""
    count = 2 + 4 * len(STEPS) + 2 + 1
    subprocess.run(script(KILLED_AT_EVERY_SYNC, folder=str(tmp_path), count=count), check=True)

    finished = []
    for last in range(2, count):
        manifest = open_files(tmp_path / str(last)).manifest
        assert_holds(tmp_path / str(last), STEPS[: len(manifest.steps)])
        finished.append((len(manifest.steps), manifest.status))
    assert finished == sorted(finished, key=lambda pair: pair[0])
    assert finished[0] == (0, "partial")
    assert finished[-1] == (3, "complete")


@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_any_time_leaves_a_trace_that_opens(tmp_path: Path, seed: int) -> None:
    """The same with the kernel in the middle of large writes, at moments nobody chose."""
    folder = tmp_path / "run"
    with subprocess.Popen(script(KILLED_ANY_TIME, folder=str(folder))) as process:
        while not (folder / "trace.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(random.Random(seed).uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)

    files = open_files(folder)
    assert files.manifest.status == "partial"
    for index, step in enumerate(files.manifest.steps):
        assert step.index == index
        assert (files.read(store.shard_file(step), "0/x") == index).all()


def test_shards_are_written_behind_the_generation_but_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generation waits only for a slow disk, and no more than two shards are ever in memory."""
    gate = threading.Event()

    def slow(tensors: dict[str, np.ndarray], path: Path) -> None:
        gate.wait()
        save_file(tensors, path)

    monkeypatch.setattr("attn.trace.writer.save_file", slow)
    with TraceWriter(tmp_path / "run", MANIFEST) as writer:
        writer.put(STEPS[0], tensors(STEPS[0]))
        second = threading.Thread(target=writer.put, args=(STEPS[1], tensors(STEPS[1])))
        second.start()
        second.join(0.05)
        has_waited = second.is_alive()
        gate.set()
        second.join()
    assert has_waited, "the second waits for the first"
    assert_holds(tmp_path / "run", STEPS[:2])


def full_disk(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Write the half of a shard, then run out of space."""
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_at_the_next_call_and_leaves_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of generation must not be lost to a full disk, nor its cause be a riddle."""
    folder = tmp_path / "run"
    with pytest.raises(TraceError) as raised, TraceWriter(folder, MANIFEST) as writer:
        writer.put(STEPS[0], tensors(STEPS[0]))
        writer._settle()
        monkeypatch.setattr("attn.trace.writer.save_file", full_disk)
        writer.put(STEPS[1], tensors(STEPS[1]))
        writer.put(STEPS[2], tensors(STEPS[2]))

    assert str(raised.value) == (
        f"could not write {folder / 'attention/step-0001.safetensors'}: no space left on the disk. "
        "The steps finished before this stay readable as a partial trace."
    )
    assert sorted(path.name for path in (folder / "attention").iterdir()) == [
        "shards.jsonl",
        "step-0000.safetensors",
    ]
    assert_holds(folder, STEPS[:1])


def test_the_last_shards_failure_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call comes after the last shard, so leaving the block and `finish` must tell."""
    monkeypatch.setattr("attn.trace.writer.save_file", full_disk)
    with pytest.raises(TraceError, match="no space"), TraceWriter(tmp_path, MANIFEST) as writer:
        writer.put(STEPS[0], tensors(STEPS[0]))
    with pytest.raises(TraceError, match="no space"), TraceWriter(tmp_path, MANIFEST) as writer:
        writer.put(STEPS[0], tensors(STEPS[0]))
        writer.finish(MANIFEST)
    assert open_files(tmp_path).manifest.status == "partial"


@pytest.fixture
def file_limit() -> Iterator[int]:
    """Let no file grow beyond some bytes: a disk that the library itself finds full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_003, hard))
    yield 100_003
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_librarys_own_disk_errors_are_told_alike(tmp_path: Path, file_limit: int) -> None:
    """The library reports them as its own exception, which must not pass for a bug."""
    with (
        pytest.raises(TraceError, match=r"step-0000\.safetensors: File too large"),
        TraceWriter(tmp_path / "run", MANIFEST) as writer,
    ):
        writer.put(STEPS[0], {"0/x": np.zeros(file_limit, np.uint8)})
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["attention", "trace.json"]


def test_a_vanished_folder_is_told(tmp_path: Path) -> None:
    """Someone may tidy up under a running capture."""
    with (
        pytest.raises(TraceError, match="the file or its folder does not exist"),
        TraceWriter(tmp_path / "run", MANIFEST) as writer,
    ):
        shutil.rmtree(tmp_path / "run")
        writer.put(STEPS[0], tensors(STEPS[0]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_at_once(tmp_path: Path) -> None:
    """Permission must be missed before the generation, not after it."""
    tmp_path.chmod(0o500)
    with pytest.raises(TraceError, match="permission denied"):
        TraceWriter(tmp_path / "run", MANIFEST)


def test_an_interruption_leaves_a_partial_trace_and_no_thread(tmp_path: Path) -> None:
    """Ctrl-C keeps what was finished, and passes through unchanged."""
    with pytest.raises(KeyboardInterrupt), TraceWriter(tmp_path / "run", MANIFEST) as writer:
        writer.put(STEPS[0], tensors(STEPS[0]))
        raise KeyboardInterrupt
    writer.close()

    assert_holds(tmp_path / "run", STEPS[:1])
    assert not [thread for thread in threading.enumerate() if "attn-writer" in thread.name]


def test_a_complete_trace_is_never_overwritten(trace: Path) -> None:
    """A finished capture is somebody's result."""
    with pytest.raises(TraceError, match="already holds a trace"):
        TraceWriter(trace, MANIFEST)
    assert_holds(trace, STEPS)


def test_a_partial_trace_is_redone_whole(partial: Path) -> None:
    """Steps of an earlier attempt must not turn up in the trace that replaces it."""
    with TraceWriter(partial, MANIFEST) as writer:
        writer.put(STEPS[2], tensors(STEPS[2]))

    assert_holds(partial, STEPS[2:])
    assert not (partial / "attention/step-0000.safetensors").exists()


def test_a_torn_last_line_of_the_journal_is_ignored(partial: Path) -> None:
    """A line is written last, so half a line means that its shard does not count."""
    journal = partial / "attention/shards.jsonl"
    whole = journal.read_bytes()
    for torn in (whole[:-1], whole[:-20], whole[:-20] + b"\n", whole[: len(whole) // 2] + b"\0\n"):
        journal.write_bytes(torn)
        assert_holds(partial, STEPS[:1])


def test_a_broken_line_inside_the_journal_is_told(partial: Path) -> None:
    """Only the last line can be torn; anything else is damage that must not go unseen."""
    journal = partial / "attention/shards.jsonl"
    journal.write_bytes(b"{}\n" + journal.read_bytes())

    with pytest.raises(TraceError, match=r"shards\.jsonl, line 1: .*`file`.*capture it again"):
        open_files(partial)


def test_a_truncated_shard_is_found_at_opening(trace: Path) -> None:
    """A copy that broke off is told before hours of analysis, with both sizes."""
    path = trace / "attention/step-0001.safetensors"
    size = path.stat().st_size
    os.truncate(path, size - 3)

    with pytest.raises(
        TraceError, match=rf"{path} has {size - 3} bytes, expected {size}\. .*again"
    ):
        open_files(trace)


def test_a_missing_shard_is_found_at_opening(trace: Path) -> None:
    """The manifest promises every shard that it lists."""
    (trace / "attention/step-0001.safetensors").unlink()

    with pytest.raises(TraceError, match=r"could not read .*step-0001.*does not exist"):
        open_files(trace)


@pytest.mark.parametrize("place", [0, 9, 77, -1])
def test_a_flipped_byte_is_found_at_the_first_read(trace: Path, place: int) -> None:
    """A number that changed on disk must never reach a result, wherever it lies."""
    path = trace / "attention/step-0001.safetensors"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    files = open_files(trace)

    with pytest.raises(
        TraceError, match=r"step-0001\.safetensors has SHA-256 .*, expected .*again"
    ):
        files.read("attention/step-0001.safetensors", "0/scale")
    files.read("attention/step-0002.safetensors", "0/scale")


def test_a_shard_is_hashed_once(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking costs one pass over the file, not one per tensor."""
    passes: list[str] = []
    real = digests.hash_stream

    def counted(stream: Any) -> str:
        passes.append(stream.name)
        return real(stream)

    monkeypatch.setattr(digests, "hash_stream", counted)
    files = open_files(trace)
    assert passes == []
    for name in tensors(STEPS[0]):
        files.read("attention/step-0000.safetensors", name)
    assert len(passes) == 1


def test_a_newer_schema_is_refused_before_the_rest_is_believed(trace: Path) -> None:
    """A trace of a later version says so, instead of failing on a field that changed."""
    rewrite(trace, schema=SCHEMA + 1, layers="told in another way")

    with pytest.raises(TraceError) as raised:
        open_files(trace)
    assert str(raised.value) == (
        f"{trace / 'trace.json'} has schema {SCHEMA + 1}, this attn reads up to schema {SCHEMA}: "
        "update attn"
    )


def test_unknown_fields_of_the_same_schema_are_ignored(trace: Path) -> None:
    """Fields may be added without a new schema."""
    rewrite(trace, mood="good")
    assert_holds(trace, STEPS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a valid trace"),
        ('{"schema": 1, "sta', "is not a valid trace"),
        ("[]", "is not a valid trace: Expected `object`, got `array`"),
        ("{}", "missing required field `schema`"),
        (b"\xff\xfe", "is not a valid trace"),
    ],
)
def test_a_manifest_that_is_none_is_told(trace: Path, text: str | bytes, message: str) -> None:
    """A damaged trace.json names itself and what is wrong with it."""
    data = text if isinstance(text, bytes) else text.encode()
    (trace / "trace.json").write_bytes(data)
    with pytest.raises(TraceError, match=rf"{trace / 'trace.json'}.*{re.escape(message)}"):
        open_files(trace)


def test_a_wrong_field_is_told_by_its_place(trace: Path) -> None:
    """A hand-made trace that is wrong says where."""
    rewrite(trace, layers=[{"index": "zero"}])
    with pytest.raises(
        TraceError, match=r"Expected `int`, got `str` - at `\$\.layers\[0\]\.index`"
    ):
        open_files(trace)


@pytest.mark.parametrize(
    "file", ["../x", "/etc/passwd", "a/../../x", "C:\\x", "..\\x", "\\\\host\\x", "a\0b", ""]
)
def test_a_manifest_cannot_point_out_of_its_folder(trace: Path, file: str) -> None:
    """A trace from a stranger must not make us read other files."""
    for change in ({"outputs": [file]}, {"shards": [msgspec.to_builtins(Shard(file, "", 0))]}):
        rewrite(trace, **change)
        with pytest.raises(TraceError, match="outside of its folder"):
            open_files(trace)


def test_what_is_no_trace_is_told(tmp_path: Path) -> None:
    """A wrong path names the file that was missed, and a collection says that it is one."""
    with pytest.raises(TraceError, match=r"trace\.json: the file or its folder does not exist"):
        open_files(tmp_path / "nowhere")
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(TraceError, match="is a collection of traces"):
        open_files(tmp_path)


def test_what_the_trace_does_not_hold_cannot_be_read(trace: Path) -> None:
    """A wrong name is told, and files beside the trace are none of its shards."""
    files = open_files(trace)
    with pytest.raises(TraceError, match=r"lists no shard trace\.json"):
        files.read("trace.json", "x")
    with pytest.raises(TraceError, match="does not contain tensor 9/map"):
        files.read("attention/step-0000.safetensors", "9/map")


def test_every_shard_can_be_verified_at_once(trace: Path) -> None:
    """Before a trace is relied on again, all of it is compared with its checksums."""
    open_files(trace).verify()
    path = trace / "attention/step-0002.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(TraceError, match=r"step-0002\.safetensors has SHA-256"):
        open_files(trace).verify()


def test_a_damaged_trace_can_be_given_up(trace: Path) -> None:
    """From then on it is partial and lists nothing, so that it opens and can be replaced."""
    (trace / "attention/step-0001.safetensors").unlink()
    demote(trace, read_manifest(trace))

    assert open_files(trace).manifest.status == "partial"
    assert_holds(trace, ())
    with TraceWriter(trace, MANIFEST) as writer:
        writer.put(STEPS[0], tensors(STEPS[0]))
    assert_holds(trace, STEPS[:1])


def test_halves_of_killed_writes_are_swept_up(partial: Path) -> None:
    """What a killed process was writing does not stay beside the trace that replaces its own."""
    (partial / "outputs").mkdir()
    for name in ("trace.json.7.part", "outputs/image.png.7.part"):
        (partial / name).touch()
    with TraceWriter(partial, MANIFEST):
        pass
    assert list(partial.rglob("*.part")) == []
