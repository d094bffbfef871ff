"""Commands that are given a URL in the place of a folder."""

import json
import urllib.request

import pytest
from typer.testing import CliRunner

import attn
from attn.cli import build
from attn.errors import UsageError
from attn.verbs.report import Report
from tests.helpers.toy_runs import contents
from tests.helpers.toy_traces import write_collection, write_trace


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def runs(storage, tmp_path):
    """A collection here, and its URL."""
    folder = write_collection(tmp_path / "run", [3, 5, 7])
    return folder, storage.share(folder, "bucket/run")


def test_analyze_a_collection(runs, tmp_path, undrawn):
    """Tables of a collection elsewhere are those of the same collection here, byte for byte."""
    folder, url = runs
    code, _, stderr = run("analyze", url, "-o", tmp_path / "far", "--no-pictures")
    assert (code, stderr.splitlines()[0].partition(";")[0]) == (0, f"reading {url}")
    run("analyze", folder, "-o", tmp_path / "near", "--no-pictures")
    far, near = contents(tmp_path / "far"), contents(tmp_path / "near")
    tables = [name for name in near if name.endswith(".csv")]
    assert len(tables) > 10
    assert {name: far[name] for name in tables} == {name: near[name] for name in tables}


def test_a_shard_asks_for_its_part(runs, storage, tmp_path):
    """A shard of an analysis copies its own traces only."""
    out = tmp_path / "out"
    code, stdout, _ = run("analyze", runs[1], "-o", out, "--no-pictures", "--shard", "1/2")
    assert code == 0
    assert [line.split("  ")[1] for line in stdout.splitlines()] == ["14 files"] * 2
    assert len({path.split("/")[2] for path in storage.asked if "safetensors" in path}) == 2


def test_results_have_a_folder(runs):
    """Nothing is written where a URL leads, so that a folder is asked for."""
    code, _, stderr = run("analyze", runs[1])
    assert code == 2
    assert stderr == (
        f"Error: {runs[1]}: name a folder for the results with --out, since nothing is written "
        "where a URL leads\n"
    )


def test_view(runs, storage):
    """The list has all traces before any comes; one that is looked at is copied."""
    shown = attn.view(runs[1])
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def get(path):
        with browser.open(shown.url.partition("?")[0] + path) as answer:
            return answer.read()

    browser.open(shown.url).close()
    rows = json.loads(get("index.json"))["items"]
    assert [row["seed"] for row in rows] == [3, 5, 7]
    assert not [path for path in storage.asked if "safetensors" in path]
    get("t/2/thumb")
    assert not [path for path in storage.asked if "safetensors" in path]
    facts = json.loads(get("t/2/trace.json"))
    assert facts["label"] == "0002"
    shard = "attention/step-0001.safetensors"
    assert get(f"t/2/{shard}") == (runs[0] / "0002" / shard).read_bytes()
    assert {path.split("/")[2] for path in storage.asked if "safetensors" in path} == {"0002"}
    shown.close()


def test_page(storage, tmp_path):
    """A trace elsewhere becomes a page in one file."""
    url = storage.share(write_trace(tmp_path / "t"), "t")
    code, stdout, stderr = run("view", url, "-o", tmp_path / "page.html")
    assert (code, stdout) == (0, f"{tmp_path / 'page.html'}\n")
    assert stderr.startswith(f"reading {url}; copies are kept in ")


def test_a_trace_that_is_gone(runs, storage, tmp_path):
    """A trace that cannot be read costs only itself, and is told with its URL."""
    storage.files.rm("/bucket/run/0001", recursive=True)
    report = Report()
    done = attn.analyze(runs[1], out=tmp_path / "out", pictures=False, report=report)
    assert [entry.error for entry in done.traces] == [
        None,
        f"{runs[1]}/0001/trace.json does not exist",
        None,
    ]
    gone = f"{runs[1]}/0001: {runs[1]}/0001/trace.json does not exist"
    assert gone in report.warnings


def test_other_options_take_paths(runs):
    """Where only a path can be meant, a URL is refused, with what reads URLs."""
    with pytest.raises(
        UsageError, match=r"^path: expected a path; got the URL memory://bucket/run"
    ):
        attn.evaluate(runs[1], truth="shapes")
