"""A page of runs: what is on it, what is left out, and what it does not overwrite."""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from typer.testing import CliRunner

from attn.cli import build as application
from attn.errors import TraceError
from attn.verbs.compare.compare import compare
from attn.verbs.gallery import build
from attn.verbs.report import Report
from tests.helpers.nobody import as_nobody
from tests.helpers.toy_traces import write_collection, write_trace

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def runs(tmp_path):
    """A folder with a trace, a collection of two, and something else."""
    write_trace(tmp_path / "one")
    write_collection(tmp_path / "many", (3, 4))
    (tmp_path / "one/analysis/evolution").mkdir(parents=True)
    (tmp_path / "one/analysis/evolution/attention_evolution.gif").write_bytes(b"")
    (tmp_path / "other").mkdir()
    return tmp_path


def test_page(runs):
    """Every run is there with prompt, settings and links that lead to files."""
    done = build(runs)
    page = done.path.read_text()
    assert (done.path, done.runs) == (runs / "index.html", 3)
    assert page.count("<article>") == page.count("A cat, a bobcat") == 3
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert "one/analysis/evolution/attention_evolution.gif" in links
    assert all((runs / link).exists() for link in links)
    assert build(runs).runs == 3  # its own page may be replaced


def test_comparisons(runs):
    """A comparison is there with its summary, what was compared, and links to its pictures."""
    compare(runs / "one", runs / "one", out=runs / "compared")
    done = build(runs)
    assert (done.runs, done.comparisons) == (3, 1)
    articles = re.findall("<article>.*?</article>", done.path.read_text(), re.DOTALL)
    (article,) = (article for article in articles if " · comparison" in article)
    assert "<h2>one (2) against one</h2>" in article
    assert re.findall(r'<img src="([^"]+)"', article) == ["compared/comparison/summary.png"]
    links = re.findall(r'href="([^"]+)"', article)
    assert {
        f"compared/comparison/{name}.png" for name in ("image_comparison", "variant_image")
    } < set(links)
    assert all((runs / link).exists() for link in links)


def test_broken_comparison(runs):
    """A comparison without a usable index is said, and costs the others nothing."""
    (runs / "compared").mkdir()
    (runs / "compared/comparison.json").write_text('{"base": {"name": "one"}}')
    report = Report()
    done = build(runs, report=report)
    assert (done.runs, done.comparisons) == (3, 0)
    (warning,) = report.warnings
    assert (
        "compared/comparison.json is not the index of a comparison: Object missing required field "
        "`variants`" in warning
    )


@pytest.mark.parametrize(
    "file", ["/etc/x.png", "a/../../../../etc/x.png", "../one/outputs/image.png", 5, "a\0.png"]
)
@pytest.mark.parametrize("index", ["comparison.json", "trace.json"])
def test_files_outside(runs, index, file):
    """What lists files that are not in its folder is left out, and nothing links to them."""
    folder = runs / "one" if index == "trace.json" else runs / "compared" / "comparison"
    if index == "comparison.json":
        compare(runs / "one", runs / "one", out=runs / "compared", only=["words"], pictures=False)
    facts = json.loads((folder / index).read_text())
    facts |= {"files": [file]} if index == "comparison.json" else {"outputs": {file: "0" * 64}}
    (folder / index).write_text(json.dumps(facts))
    report = Report()
    done = build(runs, report=report)
    assert (done.runs, done.comparisons) == (2 if index == "trace.json" else 3, 0)
    assert len(report.warnings) == 1
    assert "x.png" not in done.path.read_text()


@pytest.mark.parametrize("text", ["[" * 10**5, '{"base": {"name": "\\ud800', "nan"])
def test_index_that_is_none(runs, text):
    """Whatever is in a comparison's index, it costs the others nothing."""
    (runs / "comparison.json").write_text(text)
    (runs / "other/comparison.json").write_bytes(b'{"base": {"name": "\xff"}}')
    report = Report()
    assert build(runs, report=report).runs == 3
    assert len(report.warnings) == 2


def test_names_that_are_not_utf8(runs):
    """Folders may have names that are no text: links lead there all the same."""
    name = os.fsdecode(b"caf\xe9")
    (runs / "one").rename(runs / name)
    page = build(runs).path.read_text(encoding="utf-8")
    links = re.findall(r'href="(caf[^"]+)"', page)
    assert links
    assert all((runs / os.fsdecode(unquote_to_bytes(link))).exists() for link in links)


def test_folders_that_cannot_be_read(runs):
    """A folder without permission is said, and costs the others nothing."""
    (runs / "other").chmod(0)
    runs.chmod(0o777)
    report = Report()
    try:
        with as_nobody(runs):
            done = build(runs, report=report)
    finally:
        (runs / "other").chmod(0o755)
    assert done.runs == 3
    assert report.warnings == [f"could not read {runs / 'other'}: permission denied."]


def test_what_killed_runs_left(runs):
    """What a killed gallery, or another command there, left is gone after the next one."""
    for left in ("index.html.12345.part", ".attn-scratch-abcdefgh"):
        (runs / left).touch() if "part" in left else (runs / left).mkdir()
    (runs / "index.html.mine.part").write_text("mine")
    build(runs)
    assert {path.name for path in runs.iterdir()} == {
        *("one", "many", "other", "index.html", "index.html.mine.part"),
    }


def test_comparisons_of_earlier_versions(runs):
    """A comparison whose results are beside its traces, as they once were, is on the page."""
    done = compare(runs / "one", runs / "one", out=runs / "compared", only=["words"])
    for path in done.path.iterdir():
        path.rename(runs / "compared" / path.name)
    done.path.rmdir()
    page = build(runs)
    assert (page.runs, page.comparisons) == (3, 1)
    assert 'src="compared/summary.png"' in page.path.read_text()


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("a <script>alert(1)</script> cat", "a &lt;script&gt;alert(1)&lt;/script&gt; cat"),
        ("a {{ 7 * 7 }} {% raw %} cat", "a {{ 7 * 7 }} {% raw %} cat"),
    ],
)
def test_text_is_escaped(tmp_path, prompt, shown):
    """A prompt is text on the page, whatever is in it: neither HTML nor a template."""
    write_collection(tmp_path / "runs", (3,), prompt=prompt)
    assert f"<h2>{shown}</h2>" in build(tmp_path).path.read_text()


def test_broken_trace(runs):
    """A run that cannot be read is said, and costs the others nothing."""
    (runs / "one/trace.json").write_text("{")
    report = Report()
    assert build(runs, report=report).runs == 2
    assert len(report.warnings) == 1


@pytest.mark.parametrize("name", ["trace.json", "comparison.json", "index.json"])
def test_pipes(runs, name):
    """What would never end to be read is said, and not passed over in silence."""
    (runs / "late").mkdir()
    os.mkfifo(runs / "late" / name)
    report = Report()
    assert build(runs, report=report).runs == 3
    (warning,) = report.warnings
    assert warning.startswith(f"cannot read {runs / 'late' / name}: this is no regular file")


def test_nothing_there(tmp_path):
    """An empty folder is an error that says how to fill it."""
    with pytest.raises(TraceError, match="holds no trace; make one with attn capture --out"):
        build(tmp_path)


@pytest.mark.parametrize("kind", ["file", "folder", "fifo"])
def test_page_of_others(runs, kind):
    """A page that somebody else wrote stays, and so does what is no file."""
    make = {"file": Path.touch, "folder": Path.mkdir, "fifo": os.mkfifo}
    make[kind](runs / "index.html")
    before = (runs / "index.html").stat()
    with pytest.raises(TraceError, match="was not made by attn gallery"):
        build(runs)
    assert (runs / "index.html").stat() == before


def test_command(runs, monkeypatch):
    """The command says how many runs are where."""
    monkeypatch.chdir(runs.parent)
    result = CliRunner().invoke(application(), ["gallery", runs.name])
    assert (result.exit_code, result.stdout) == (0, f"3 runs in {runs.name}/index.html\n")


def test_a_damaged_index(tmp_path):
    """An index that is not as it was written is told of; the traces beside it are shown."""
    write_collection(tmp_path / "runs", (3, 5))
    index = tmp_path / "runs" / "index.json"
    index.write_bytes(index.read_bytes().replace(b"cat", b"dog", 1))
    report = Report()
    assert build(tmp_path, report=report).runs == 2
    (warning,) = report.warnings
    assert warning.startswith(f"{index} was changed since it was written")


def test_a_large_page_of_others(tmp_path):
    """Of what is called like the page only the beginning is read."""
    write_collection(tmp_path / "runs", (3,))
    with (tmp_path / "index.html").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(TraceError, match="was not made by attn gallery"):
        build(tmp_path)
