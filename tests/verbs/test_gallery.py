"""A page of runs: what is on it, what is left out, and what it does not overwrite."""

import re

import pytest
from typer.testing import CliRunner

from attn.cli import build as application
from attn.errors import TraceError
from attn.verbs.compare import compare
from attn.verbs.gallery import build
from attn.verbs.report import Report
from tests.toy_traces import write_collection, write_trace


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
    (article,) = re.findall(
        r"<article>(?:(?!</article>).)*comparison.*?</article>", done.path.read_text()
    )
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


def test_text_is_escaped(tmp_path):
    """A prompt is text on the page, whatever is in it."""
    write_collection(tmp_path / "runs", (3,), prompt="a <script>alert(1)</script> cat")
    page = build(tmp_path).path.read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_broken_trace(runs):
    """A run that cannot be read is said, and costs the others nothing."""
    (runs / "one/trace.json").write_text("{")
    report = Report()
    assert build(runs, report=report).runs == 2
    assert len(report.warnings) == 1


def test_nothing_there(tmp_path):
    """An empty folder is an error that says how to fill it."""
    with pytest.raises(TraceError, match="holds no trace; make one with attn capture --out"):
        build(tmp_path)


def test_page_of_others(runs):
    """A page that somebody else wrote stays."""
    (runs / "index.html").write_text("mine")
    with pytest.raises(TraceError, match="was not made by attn gallery"):
        build(runs)
    assert (runs / "index.html").read_text() == "mine"


def test_command(runs, monkeypatch):
    """The command says how many runs are where."""
    monkeypatch.chdir(runs.parent)
    result = CliRunner().invoke(application(), ["gallery", runs.name])
    assert (result.exit_code, result.stdout) == (0, f"3 runs in {runs.name}/index.html\n")
