"""`attn analyze`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attn.cli import build
from attn.verbs.collection import Entry, write_index
from tests.toy_traces import PROMPT, manifest, write_trace


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a folder with one trace, `run`."""
    monkeypatch.chdir(tmp_path)
    write_trace(tmp_path / "run")


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), ["analyze", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_files():
    """The command says where the results are; of many pictures it gives the folder."""
    expected = """\
run/analysis
  clip/tables/words_summary.csv
  clip/tables/words.csv
  clip/heatmaps/words.png
  clip/heatmaps/words/  4 pictures
  analysis.json
"""
    assert run("run") == (0, expected, "")


def test_options():
    """Options of the command and of an analysis choose what is written, and where."""
    expected = """\
results
  clip/tables/words_summary.csv
  clip/tables/words.csv
  clip/heatmaps/words.png
  clip/heatmaps/words/001-cat.png
  clip/heatmaps/words/003-bobcat.png
  analysis.json
"""
    options = ["--words", "cat, bobcat", "--set", "words.heads=yes", "--only", "words"]
    assert run("run", *options, "-o", "results") == (0, expected, "")
    rows = Path("results/clip/tables/words.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 2 * 3 * (3 + 4)  # words, steps, heads and their mean


def test_topk():
    """`--topk` draws the words of most mass."""
    _, stdout, _ = run("run", "--topk", "2")
    assert stdout.count("heatmaps/words/0") == 2


def test_json():
    """With --json stdout is one object."""
    code, stdout, stderr = run("run", "--no-pictures", "--json")
    assert (code, stderr) == (0, "")
    files = ["clip/tables/words_summary.csv", "clip/tables/words.csv", "analysis.json"]
    assert json.loads(stdout) == {
        "command": "analyze",
        "status": "complete",
        "path": "run",
        "warnings": [],
        "files": [f"run/analysis/{file}" for file in files],
        "traces": [{"trace": "run", "path": "run/analysis", "skipped": {}, "error": None}],
    }


def test_list():
    """`--list` shows every analysis with its needs and options, and needs no trace."""
    expected = """\
analysis  words
summary   where each word of the prompt is attended to, and how much
needs     image segments, text segments, mass.image.text, share.image.text
wants     map.image.text; without: no heatmaps and peaks

OPTION     TYPE           DEFAULT  MEANING
words      str,… or none  none     only these words; case does not count
topk       int or none    none     draw only this many words, those of most mass
layers     str,…                   7, 0-11, or a glob of the path; empty is the first tower
steps      str,…                   7 or 0-9; empty is every step
branch     str or none    none     guidance row; none is the first that was kept
normalise  yes|no         no       divide each place by its sum over the prompt's words
heads      yes|no         no       add a row per head to words.csv
pooling    mean|daam      mean     how one map is made of many: mean, or DAAM's way
scale      shared|own     shared   own gives each word's picture its own colour scale

Set one with --set words.OPTION=VALUE.
"""
    assert run("--list") == (0, expected, "")


def test_list_json():
    """`--list --json` has the same as data."""
    code, stdout, _ = run("--list", "--json")
    answer = json.loads(stdout)
    (words,) = answer.pop("analyses")
    assert (code, answer) == (
        0,
        {"command": "analyze", "status": "done", "path": None, "warnings": []},
    )
    assert words["wants"] == {"segments": [], "measures": ["map.image.text"], "kinds": []}
    assert words["options"][1] == {
        "name": "topk",
        "type": "int or none",
        "default": "none",
        "help": "draw only this many words, those of most mass",
    }


def test_warnings(tmp_path):
    """Warnings go to stderr."""
    write_trace(tmp_path / "small", manifest(level="mass", samples=1))
    expected = """\
small/analysis
  clip/tables/words_summary.csv
  clip/tables/words.csv
  analysis.json
"""
    warning = (
        "Warning: small: 'words' has no heatmaps and peaks: they need maps of image.text, "
        "which were not kept; capture with --keep maps\n"
    )
    assert run("small") == (0, expected, warning)


def test_collection(tmp_path):
    """Of a collection, every trace that could be analysed is listed, and the others named."""
    entries = Entry("run", "complete", PROMPT, 0), Entry("b", "failed", PROMPT, 1, "no memory")
    write_index(tmp_path, entries)
    expected = """\
run/analysis
  clip/tables/words_summary.csv
  clip/tables/words.csv
  analysis.json
b  failed
"""
    warning = "Warning: b: its capture failed: no memory\n"
    assert run(".", "--no-pictures") == (0, expected, warning)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name the folder of a trace or collection: attn analyze TRACE"),
        (
            ["run", "--only", "word"],
            2,
            "unknown analysis 'word'. Did you mean 'words'? There is: words.",
        ),
        (
            ["run", "--set", "words.scale=both"],
            2,
            "option 'scale' of analysis words: got 'both', expected shared|own.",
        ),
        (["run", "--words", ""], 2, "words: nothing is named; leave the option out for all words"),
        (
            ["run", "--only", " ,"],
            2,
            "only: nothing is named; leave the option out for all analyses",
        ),
        (
            ["run", "--words", "dog"],
            1,
            "the prompt has no word 'dog'. Its words: a, cat, bobcat.",
        ),
        (
            ["none"],
            1,
            "could not read none/trace.json: the file or its folder does not exist. "
            "A trace is a folder with a trace.json in it.",
        ),
    ],
)
def test_errors(arguments, code, message):
    """What is wrong is one message on stderr; usage is exit 2, the rest 1."""
    assert run(*arguments) == (code, "", f"Error: {message}\n")
