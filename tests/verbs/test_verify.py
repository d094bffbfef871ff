"""One changed bit is noticed by whoever uses the file, and by `attn verify`."""

import json
import random
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import attn
from attn.cli import build
from attn.errors import AttnError, DamagedError, TraceError
from attn.files.disk import AGAIN
from attn.schema import SKETCH
from attn.trace.store import load_manifest, require_journal, shard_file
from attn.verbs.analyze.analyze import analyze
from attn.verbs.capture.collection import Entry, read_index, write_index
from attn.verbs.compare.compare import compare
from attn.verbs.report import Report
from attn.verbs.verify import verify
from tests.helpers.editing import edit, special
from tests.helpers.toy_runs import capture_fake, contents, use_fake
from tests.helpers.toy_traces import (
    HISTORY,
    IMAGE,
    PROMPT,
    TEXT,
    make_trace,
    manifest,
    tensors,
    write_whole,
)

SHARD, MANIFEST, JOURNAL = "attention/step-0001.safetensors", "trace.json", "attention/shards.jsonl"
pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A collection of two traces, analysed and compared."""
    folder = tmp_path_factory.mktemp("whole")
    for name, seed in (("0000", 3), ("0001", 4)):
        write_whole(folder / "run" / name, seed)
    write_index(
        folder / "run", [Entry(f"{index:04d}", "complete", PROMPT, 3 + index) for index in (0, 1)]
    )
    analyze(folder / "run", only="words", pictures=False)
    compare(folder / "run", folder / "run", out=folder / "out", pictures=False, only="words")
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of it to be damaged."""
    return shutil.copytree(whole, tmp_path / "copy")


def flip(path, chance):
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def opened(run):
    """Open a trace and look at all of it."""
    trace = attn.open(run / "0000")
    trace.maps(1).load()
    for name in trace.manifest.outputs:
        trace.output(name)


def compared(run):
    """Compare the traces with themselves, sketches and all."""
    compare(run / "0000", run / "0000", out=run.parent / "new", only="sketch")


READERS = {
    "open": opened,
    "picture": lambda run: attn.open(run / "0000").image(),
    "drawing": lambda run: attn.open(run / "0000").sketch(),
    "analyze": lambda run: analyze(run / "0000", only="sketch"),
    "analyze a collection": lambda run: analyze(run, only="words", pictures=False, report=Report()),
    "compare": compared,
    "compare collections": lambda run: compare(run, run, out=run.parent / "new", pictures=False),
    "verify": verify,
}
USES = {
    f"0000/{SHARD}": ("open", "analyze", "analyze a collection", "compare", "verify"),
    f"0000/{MANIFEST}": ("open", "analyze", "analyze a collection", "compare", "verify"),
    f"0000/{IMAGE}": ("open", "picture", "analyze", "compare", "verify"),
    f"0000/{SKETCH}": ("open", "drawing", "analyze", "compare", "verify"),
    f"0000/{HISTORY}": ("open", "analyze", "verify"),
    f"0000/{TEXT}": ("open", "verify"),
    f"0000/{JOURNAL}": ("verify",),
    "index.json": ("analyze a collection", "compare collections", "verify"),
    "analysis/.attn.json": ("verify",),
    "analysis/analysis.json": ("verify",),
    "0001/analysis/clip/tables/words.csv": ("verify",),
}
FLIPS = {"open": 12, "picture": 12, "drawing": 12, "verify": 6}
CELLS = [(file, reader) for file, readers in USES.items() for reader in readers]


@pytest.mark.parametrize(("file", "reader"), CELLS)
def test_one_changed_bit(copy, file, reader):
    """Every reader notices it in every file that it uses, and says which file it is."""
    path, chance = copy / "run" / file, random.Random(file)
    data = path.read_bytes()
    for _ in range(FLIPS.get(reader, 1)):
        flip(path, chance)
        assert_noticed(reader, copy / "run", path.parent.name if "analyze a" in reader else path)
        path.write_bytes(data)


def told(call):
    """Return what a call warns of, and its error."""
    report = Report()
    try:
        call(report)
    except AttnError as error:
        report.warn(str(error))
    return report.warnings


def assert_noticed(reader, run, named):
    """Check that a reader fails, warns or lists damage, with the name of the file."""
    report = Report()
    try:
        answer = READERS[reader](run)
    except AttnError as error:
        assert str(named) in str(error) or reader.startswith("compare")
        return
    said = [*getattr(answer, "warnings", ()), *report.warnings]
    said += [f"{item.path} {item.reason}" for item in getattr(answer, "damaged", ())]
    assert any(str(named) in text for text in said)


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A collection of two traces of the fake family."""
    with pytest.MonkeyPatch.context() as patch:
        use_fake(patch.setattr)
        out = tmp_path_factory.mktemp("captured") / "run"
        capture_fake(out, ["a red cat", "a dog"])
        yield out


def test_every_bit_of_the_list_of_shards(whole, tmp_path):
    """Also those of a name that stands for what a file need not have."""
    folder = shutil.copytree(whole / "run" / "0000", tmp_path / "0000")
    manifest, data = load_manifest(folder), (folder / JOURNAL).read_bytes()
    require_journal(folder, manifest)
    for bit in range(8 * data.index(b"\n") + 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / JOURNAL).write_bytes(flipped)
        with pytest.raises(DamagedError):
            require_journal(folder, manifest)


@pytest.mark.parametrize("file", [SHARD, MANIFEST, IMAGE, JOURNAL])
def test_resuming_repairs(captured, tmp_path, file):
    """A finished trace with a changed bit is made again, and is then what it was."""
    out = shutil.copytree(captured, tmp_path / "run")
    flip(out / "0001" / file, random.Random(file))
    assert verify(out).damaged
    capture_fake(out, ["a red cat", "a dog"], resume=True)
    kept = out / "0001" / f"{MANIFEST}.damaged"  # a manifest may say more than can be made again
    assert kept.exists() == (file == MANIFEST)
    kept.unlink(missing_ok=True)
    assert contents(out) == contents(captured)
    assert verify(out).damaged == []


def test_a_whole_collection(whole):
    """Every file of traces, collections and results is counted, and nothing is written."""
    before = contents(whole)
    done = verify(whole / "run", whole / "out")
    assert (done.status, done.traces, done.results, done.unsealed) == ("complete", 2, 4, [])
    assert done.files > 2 * len((SHARD, MANIFEST, IMAGE, SKETCH, HISTORY, TEXT, JOURNAL))
    assert contents(whole) == before


def test_pictures_that_were_exchanged(copy):
    """One prompt's maps over the other's picture would look like a result."""
    item, other = (copy / "run" / name / IMAGE for name in ("0000", "0001"))
    shutil.copy(item, other)
    with pytest.raises(DamagedError, match=f"{other} has SHA-256"):
        attn.open(copy / "run/0001").image()
    assert [damage.path for damage in verify(copy).damaged] == [other]


def change_prompt(index):
    """Give the first trace of an index another prompt."""
    index["traces"][0]["prompt"] = "A dog"


def swap_seeds(index):
    """Exchange the seeds of an index's traces."""
    for entry, seed in zip(index["traces"], (4, 3), strict=True):
        entry["seed"] = seed


@pytest.mark.parametrize("change", [change_prompt, swap_seeds])
def test_an_index_of_other_traces(copy, change):
    """What the index says and the trace denies heads no table and pairs nothing."""
    edit(copy / "run/index.json", change)
    run, arguments = copy / "run", {"only": "words", "pictures": False}
    for call in (
        lambda report: compare(run, run, out=copy / "new", report=report, **arguments),
        lambda report: analyze(run, report=report, **arguments),
    ):
        assert any("but the collection's index.json lists it" in text for text in told(call))
    assert verify(copy / "run").damaged[0].path == copy / "run/index.json"


def test_traces_without_digests(copy):
    """A trace of an earlier version opens; verifying holds its pictures against its request."""
    edit(copy / "run/0000/trace.json", lambda data: data["identity"].clear())
    assert attn.open(copy / "run/0000").image()
    done = verify(copy / "run/0000")
    reasons = [item.reason for item in done.damaged]
    assert reasons == [
        f"{copy}/run/0000/{name} is the picture of another request. {AGAIN}"
        for name in (IMAGE, SKETCH)
    ]
    assert done.unsealed == [copy / "run/0000" / name for name in (MANIFEST, HISTORY, TEXT)]


def test_files_without_digests_are_named(copy, monkeypatch):
    """Nobody takes what could not be checked for whole; a program gets all names."""
    monkeypatch.chdir(copy)
    edit(copy / "run/0000/trace.json", lambda data: data["identity"]["outputs"].pop(TEXT))
    assert call("run/0000") == (
        0,
        "no digest: run/0000/trace.json cannot be checked\n"
        f"no digest: run/0000/{TEXT} cannot be checked\n"
        "18 files of 1 trace and 1 folder of results as written\n",
    )
    unsealed = json.loads(call("run/0000", "--json")[1])["unsealed"]
    assert unsealed == ["run/0000/trace.json", f"run/0000/{TEXT}"]


GAPS = {
    "a layer": ("3/mass.image.text", np.s_[:], False),
    "a row of maps": ("3/map.image.text", np.s_[..., 7, :], False),
    "a key": ("1/mass.image.text", np.s_[..., 2], True),
    "a place of a map": ("1/map.image.text", np.s_[..., 7, 2], True),
}


@pytest.mark.parametrize("gap", GAPS)
def test_what_is_no_number(tmp_path, gap):
    """NaN says that a layer or row is missing; anywhere else it is told of, in a whole file."""
    name, index, is_stray = GAPS[gap]
    about = manifest(samples=1)
    files = tensors(about)
    files[SHARD][name][index] = np.nan
    make_trace(about, files).save(tmp_path / "run")
    done = verify(tmp_path / "run")
    expected = [(tmp_path / "run" / SHARD, f"{name} of its tensors: NaN where no row is missing")]
    assert done.status == "complete"
    assert [(entry.path, entry.reason) for entry in done.not_numbers] == expected * is_stray


def test_a_trace_that_is_gone(copy):
    """A trace that the index lists as complete is missed."""
    shutil.rmtree(copy / "run/0001")
    (damage,) = verify(copy / "run").damaged
    assert damage.reason == f"{copy}/run/0001 is gone, which index.json lists as complete"
    assert len(read_index(copy / "run")) == 2


def test_a_trace_that_is_linked(copy):
    """A trace elsewhere that the collection has by a link is checked as well."""
    (copy / "run/0001").rename(copy / "elsewhere")
    (copy / "run/0001").symlink_to("../elsewhere")
    assert verify(copy / "run").traces == 2
    flip(copy / "elsewhere" / SHARD, random.Random(5))
    (damage,) = verify(copy / "run").damaged
    assert damage.path == copy / "run/0001" / SHARD


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "circle"])
@pytest.mark.parametrize("file", [MANIFEST, SHARD, IMAGE, HISTORY, "../index.json"])
def test_what_is_no_file(copy, file, kind):
    """Nothing is waited for, and nothing without an end is read."""
    special(copy / "run/0000" / file, kind)
    with pytest.raises(AttnError, match=r"expected a regular file|in a circle|expected \d+\. The"):
        read_index(copy / "run")
        opened(copy / "run")
    assert verify(copy / "run").damaged


def test_nothing_to_verify(tmp_path):
    """A folder of something else is an error, not a success."""
    with pytest.raises(TraceError, match="holds no trace and no results of attn"):
        verify(tmp_path)


def call(*arguments):
    """Return exit code and stdout of the command."""
    result = CliRunner().invoke(build(), ["verify", *map(str, arguments)])
    return result.exit_code, result.stdout


def test_command(copy, monkeypatch):
    """The command says how many files are as written; with damage, which are not, and exits 1."""
    monkeypatch.chdir(copy)
    assert call("run/0000") == (0, "18 files of 1 trace and 1 folder of results as written\n")
    (copy / "run/0000" / TEXT).write_text("a dog")
    code, stdout = call("run/0000")
    first, last = stdout.splitlines()
    assert (code, last) == (1, "1 of 18 files damaged, in 1 trace and 1 folder of results")
    assert first.startswith(f"damaged: run/0000/{TEXT}: run/0000/{TEXT} has SHA-256 ")


def test_names_that_steer(copy, monkeypatch):
    """Names in a damaged file are spelled out on a terminal."""
    monkeypatch.chdir(copy)
    edit(copy / "run/0000" / MANIFEST, lambda trace: trace["outputs"].append("\x1b]0;x\x07"))
    code, stdout = call("run/0000")
    assert (code, "\x1b" in stdout) == (1, False)
    assert "damaged: run/0000/\\u001b]0;x\\u0007: " in stdout


def test_json(copy, monkeypatch):
    """A program gets one object, also of damage."""
    monkeypatch.chdir(copy)
    (copy / "run/0000" / shard_file(None)).write_text("not listed, so nobody's")
    (copy / "run/0000" / IMAGE).unlink()
    code, stdout = call("run/0000", "--json")
    answer = json.loads(stdout)
    (damage,) = answer.pop("damaged")
    assert (code, damage["path"]) == (1, f"run/0000/{IMAGE}")
    assert answer == {
        "command": "verify",
        "status": "failed",
        "path": "run/0000",
        "paths": ["run/0000"],
        "traces": 1,
        "results": 1,
        "files": 18,
        "not_numbers": [],
        "unsealed": [],
        "warnings": [],
    }
