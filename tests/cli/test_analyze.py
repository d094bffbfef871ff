"""`attn analyze`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attn.cli import build
from attn.verbs.capture.collection import Entry, write_index
from tests.helpers.toy_traces import PROMPT, manifest, write_trace

pytestmark = pytest.mark.usefixtures("undrawn")

TABLES = """\
  clip/tables/words_summary.csv
  clip/tables/words.csv
  clip/tables/dominant.csv
  clip/base_analysis/grid_analysis_4x4.csv
  clip/base_analysis/grid_analysis_8x8.csv
  words/aligned.csv
  clip/tables/words_auc.csv
  clip/tables/words_stepavg.csv
  sinks/first_token_metrics.csv
  sinks/sinks.csv
  sinks/roles.csv
  sinks/tokens.json
  report.html
  analysis.json
"""
WORDS = """\
“cat” has 9 % of its attention in one sixteenth of the image, in the upper left corner (an even map
has 6.25 %). “bobcat” has 7.12 % of its attention in one sixteenth of the image, in the lower right
corner. At its peak “cat” gets 2.08 times its mean, the most of the content words (“a”, “of”, “left”
… are none); “bobcat” gets 1.46 times its mean, the least. “cat” leads in 21.7 % of the image, the
most; no word leads in 70 %.\
"""
ANSWER = f"""\
{WORDS} Padding gets 36.7 %; the words get 44.5 % of the image's attention.
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a folder with one trace, `run`."""
    monkeypatch.chdir(tmp_path)
    write_trace(tmp_path / "run")


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), ["analyze", *arguments])
    return result.exit_code, result.stdout, result.stderr


OFFERED = "".join(
    f"'{name}' is skipped unless asked for: attn analyze {{0}} --only {name}\n"
    for name in ("concentration", "evolution")
)


def test_files():
    """The command says where the results are; of many pictures it gives the folder."""
    expected = f"""\
{ANSWER}run/analysis
  clip/tables/words_summary.csv
  clip/tables/words.csv
  clip/tables/dominant.csv
  clip/base_analysis/grid_analysis_4x4.csv
  clip/base_analysis/grid_analysis_8x8.csv
  words/aligned.csv
  clip/heatmaps/words.png
  clip/heatmaps/words-own-scale.png
  clip/heatmaps/words/  4 pictures
  clip/base_analysis/  4 pictures
  clip/tables/words_auc.csv
  clip/tables/words_stepavg.csv
  clip/curves/words.png
  sinks/first_token_metrics.csv
  sinks/sinks.csv
  sinks/roles.csv
  sinks/tokens.json
  sinks/  3 pictures
  report.html
  analysis.json
"""
    assert run("run") == (0, expected, OFFERED.format("run"))


def test_options():
    """Options of the command and of an analysis choose what is written, and where."""
    expected = f"""\
{WORDS}
results
  clip/tables/words_summary.csv
  clip/tables/words.csv
  clip/tables/dominant.csv
  clip/base_analysis/grid_analysis_4x4.csv
  clip/base_analysis/grid_analysis_8x8.csv
  words/aligned.csv
  clip/heatmaps/words.png
  clip/heatmaps/words-own-scale.png
  clip/heatmaps/words/001-cat.png
  clip/heatmaps/words/003-bobcat.png
  clip/base_analysis/  4 pictures
  report.html
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


def test_phrases():
    """`--phrases` adds the files of phrases, parted by `|`."""
    code, stdout, _ = run("run", "--phrases", "a bobcat | a cat", "--no-pictures")
    assert code == 0
    added = [line.strip() for line in stdout.splitlines() if "phrases" in line]
    names = ("phrases_summary", "phrases", "phrases_auc", "phrases_stepavg")
    assert added == [f"clip/tables/{name}.csv" for name in names]


def test_json():
    """With --json stdout is one object."""
    code, stdout, stderr = run("run", "--no-pictures", "--json")
    assert (code, stderr) == (0, OFFERED.format("run"))
    files = [line.strip() for line in TABLES.splitlines()]
    assert json.loads(stdout) == {
        "command": "analyze",
        "status": "complete",
        "path": "run",
        "warnings": [],
        "files": [f"run/analysis/{file}" for file in files],
        "summary": None,
        "traces": [
            {
                "trace": "run",
                "path": "run/analysis",
                "skipped": {},
                "error": None,
                "answer": " ".join(ANSWER.split()),
            }
        ],
    }


def test_list():
    """`--list` shows every analysis with its needs and options, and needs no trace."""
    code, stdout, stderr = run("--list")
    assert (code, stderr) == (0, "")
    names = [line.split()[1] for line in stdout.splitlines() if line.startswith("analysis ")]
    pictures = [
        "words",
        "frames",
        "text_to_image",
        "text_to_text",
        "curves",
        "sinks",
        "gates",
        "sketch",
        "concepts",
        "concentration",
        "evolution",
        "stepavg",
    ]
    texts = ["unmasking", "flow", "blocks", "patterns", "matrices", "influence", "similarity"]
    assert names == [*pictures, *texts, "report"]
    expected = """\
analysis  sinks
summary   which keys receive much more than others, and what one token receives
needs     image segments, text segments, mass.image.text, share.image.text
wants     masses of image keys; without: no sinks at image keys

OPTION     TYPE                              DEFAULT  MEANING
token      int                               0        text key that is followed, counted over all text segments
value      mass|text_share|ratio_to_uniform  mass     of that token in the pictures
epsilon    float                             3.0      excess over the mean of the other keys, 1 being uniform
threshold  float                             0.3      mass above which a key is a sink by the share rule
heads      yes|no                            no       list also what is a sink in single heads only
layers     str,…                                      7, 0-11, or a glob of the path; empty is the first tower
steps      str,…                                      7 or 0-9; empty is every step

Set one with --set sinks.OPTION=VALUE.
"""  # noqa: E501 - as it is printed
    assert expected in stdout
    assert "It runs only with --only stepavg.\n" in stdout


def test_list_json():
    """`--list --json` has the same as data."""
    code, stdout, _ = run("--list", "--json")
    answer = json.loads(stdout)
    words, *_ = answer.pop("analyses")
    assert (code, answer) == (
        0,
        {"command": "analyze", "status": "done", "path": None, "warnings": []},
    )
    wants = {key: value for key, value in words["wants"].items() if value}
    assert wants == {"measures": ["map.image.text"]}
    (topk,) = (option for option in words["options"] if option["name"] == "topk")
    assert topk == {
        "name": "topk",
        "type": "int or none",
        "default": "none",
        "help": "draw only this many words, those of most mass",
    }


def test_warnings(tmp_path):
    """Warnings go to stderr."""
    write_trace(tmp_path / "small", manifest(level="mass", samples=1))
    answer = "Padding gets 36.7 %; the words get 44.5 % of the image's attention.\n"
    of_maps = ("dominant", "base_analysis")
    files = [line for line in TABLES.splitlines() if not any(part in line for part in of_maps)]
    expected = "\n".join([f"{answer}small/analysis", *files, ""])
    warning = (
        "Warning: small: 'words' has no heatmaps and peaks: they need maps of image.text, "
        "which were not kept; capture with --keep maps\n"
    )
    assert run("small", "--no-pictures") == (0, expected, warning)


def test_collection(tmp_path):
    """Of a collection, every trace has a line: how many files, or that it failed."""
    entries = Entry("run", "complete", PROMPT, 7), Entry("b", "failed", PROMPT, 1, "no memory")
    write_index(tmp_path, entries)
    expected = f"""\
run/analysis  {TABLES.count("  ")} files
b  failed
analysis
  words_summary.csv
  words_auc.csv
  words_stepavg.csv
  sinks.csv
  roles.csv
  traces.csv
  summary.png
  analysis.json
"""
    warning = "Warning: b: its capture failed: no memory\n" + OFFERED.format(".")
    error = "Error: 1 of 2 traces could not be analysed: b; the others are\n"
    assert run(".", "--no-pictures") == (1, expected, warning + error)
    code, stdout, _ = run(".", "--no-pictures", "--json")
    assert (code, json.loads(stdout)["status"]) == (1, "partial")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name the folder of a trace or collection: attn analyze TRACE"),
        (
            ["run", "--only", "word"],
            2,
            "unknown analysis 'word'. Did you mean 'words'? "
            "There is: words, frames, text_to_image, text_to_text, curves, sinks, gates, sketch, "
            "concepts, concentration, evolution, stepavg, unmasking, flow, blocks, patterns, "
            "matrices, influence, similarity, report.",
        ),
        (
            ["run", "--set", "words.scale=both"],
            2,
            "option 'scale' of analysis words: got 'both', expected auto|shared|own.",
        ),
        (["run", "--words", ""], 2, "words: nothing is named; leave the option out for all words"),
        (
            ["run", "--only", " ,"],
            2,
            "only: nothing is named; leave the option out for all analyses",
        ),
        (
            ["run", "--only", "sinks,stepavg", "--words", "cat"],
            2,
            "--words has no effect on sinks, stepavg: leave it out, or name in --only an analysis "
            "that has it",
        ),
        (
            ["run", "--only", "words", "--set", "sinks.epsilon=2"],
            2,
            "--set sinks.epsilon has no effect on words: leave it out, or name in --only an "
            "analysis that has it",
        ),
        (
            ["run", "--set", "evolution.word=cat"],
            2,
            "--set evolution.word has no effect on the analyses that run without --only: leave it "
            "out, or name in --only an analysis that has it",
        ),
        (
            ["run", "--words", "dog"],
            1,
            "'words': the prompt has no word 'dog'. Its words: a, cat, bobcat.",
        ),
        (
            ["run", "--phrases", "a dog|a cat"],
            1,
            "'words': the prompt has no phrase 'a dog': of its words the prompt has a, but not "
            "dog. The prompt's words: a cat a bobcat",
        ),
        (
            ["run", "--phrases", " | "],
            2,
            "phrases: nothing is named; leave the option out",
        ),
        (
            ["run", "--set", "sinks.token=11"],
            1,
            "'sinks': token 11 is out of range: there are 11 text keys, clip 0-10",
        ),
        (
            ["run", "--only", "stepavg"],
            1,
            "cannot analyse run: 'stepavg' needs maps of every key, of which only the prompt's "
            "were kept; capture with --keys all",
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
