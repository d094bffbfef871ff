"""`attn compare`."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from attn.backends import find, load
from attn.cli import build
from attn.cli.compared import list_changes
from tests.helpers import sketches
from tests.helpers.models import lora_demo
from tests.helpers.toy_traces import read_csv, write_collection, write_trace

COLOURS = ["red", "blue", "green", "purple", "orange"]
pytestmark = pytest.mark.usefixtures("undrawn")

PLAN = """\
3 traces of 2 steps, 1 sample, branch cond
keep means, keys content, blocks image.text
3 layers:
     1  down_blocks.1.attentions.0.transformer_blocks.0.attn2  cross, 2 heads, grid 4x6, 77 keys
     3  down_blocks.1.attentions.1.transformer_blocks.0.attn2  cross, 2 heads, grid 4x6, 77 keys
     5  down_blocks.2.attentions.0.transformer_blocks.0.attn2  cross, 3 heads, grid 2x3, 77 keys
one trace: 15.7 kB; in all 47.2 kB
3 runs (base, a:0.5, a:1): 141.7 kB of attention; images, tables and figures come on top
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a folder with the collections `base` and `style` and the trace `one`."""
    monkeypatch.chdir(tmp_path)
    write_collection(tmp_path / "base", range(4))
    write_collection(tmp_path / "style", range(4), seed=100)
    write_trace(tmp_path / "one")


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), ["compare", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_text():
    """The command shows the words that changed most, and where everything is."""
    code, stdout, stderr = run("base", "style", "-o", "out", "--no-pictures", "--words", "cat")
    lines = stdout.splitlines()
    assert (code, stderr) == (0, "")
    answer = json.loads(Path("out/comparison/comparison.json").read_text())["answer"]
    end = lines.index("")
    assert " ".join(lines[:end]) == answer
    assert "Attention is measured as mass" in answer
    assert lines[end + 1] == "style against base, 4 pairs of images"
    assert lines[end + 2].split() == ["WORD", "SEGMENT", "BASE", "CHANGE", "95", "%", "INTERVAL"]
    assert lines[end + 3].split()[:2] == ["cat", "clip"]
    assert lines[end + 4 :] == [
        "out/comparison",
        "  tables/mass.csv",
        "  tables/share.csv",
        "  tables/mass_pairs.csv",
        "  tables/mass_layers.csv",
        "  tables/share_layers.csv",
        "  tables/mass_heads.csv",
        "  tables/mass_steps.csv",
        "  tables/share_steps.csv",
        "  tables/sinks.csv",
        "  tables/sinks_heads.csv",
        "  tables/dominant.csv",
        "  tables/changed.csv",
        "  tables/maps.csv",
        "  tables/difference.csv",
        "  tables/images.csv",
        "  tables/image_pairs.csv",
        "  report.html",
        "  comparison.json",
    ]


def test_itself():
    """A run against itself shows zeros, and nothing where there are too few pairs."""
    expected = """\
With one (2) every word gets the same attention. Attention is measured as mass: the part of its
attention that the image gives to a word, mean over layers, heads and steps; of 1 pair of images,
too few for intervals.

one (2) against one, 1 pair of images
  WORD    SEGMENT  BASE    CHANGE        95 % INTERVAL
  cat     clip     0.0876  +0      +0 %  -
  bobcat  clip     0.173   +0      +0 %  -
  2 of 4 words: content words, largest change of mass first; tables/mass.csv has all
out/comparison
  tables/mass.csv
  tables/share.csv
  tables/mass_pairs.csv
  report.html
  comparison.json
"""
    answer = run("one", "one", "-o", "out", "--no-pictures", "--only", "words")
    assert answer == (0, expected, "")


def test_json():
    """With --json stdout is one object."""
    options = ["--only", "sinks", "--no-pictures", "--json", "--phrases", "a bobcat"]
    code, stdout, stderr = run("base", "style", "-o", "out", *options)
    assert (code, stderr) == (0, "")
    assert json.loads(stdout) == {
        "command": "compare",
        "status": "complete",
        "path": "out/comparison",
        "warnings": [],
        "base": "base",
        "variants": [{"name": "style", "pairs": 4, "differences": []}],
        "answer": "",
        "controls": {},
        "files": ["tables/sinks.csv", "tables/sinks_heads.csv", "report.html", "comparison.json"],
    }


def test_warnings():
    """What is only partly comparable is said on stderr."""
    code, _, stderr = run("base", "one", "-o", "out", "--no-pictures")
    assert code == 0
    assert stderr == (
        "Warning: one: 'A cat, a bobcat' was drawn with other seeds (0-3 and 7): paired in their "
        "order, not from the same noise, so that intervals hold the spread of both\n"
        "Warning: one: 3 traces have no partner of the same prompt and seed: left out\n"
        "Warning: one: 1 of 1 pairs may not have begun with the same noise: seed 0 and 7\n"
    )


def test_dry_run(opened):
    """With LoRAs the plan is shown, and the bytes of baseline and variants together."""
    pairs = lora_demo.changes(opened("sdxl").pipe, "unet")
    lora_demo.kohya(Path("a.safetensors"), pairs)
    limits = ("--seed", "0-2", "--steps", "2", "--size", "96x64", "--layers", "1-5")
    requested = ("-p", "a red cat sitting on a wooden chair in a garden")
    given = ("--lora", "a.safetensors:0,0.5,1", *requested, *limits, "--dry-run", "-o", "out")
    code, stdout, stderr = run(*given)
    assert (code, stdout) == (0, PLAN)
    assert stderr == (
        f"model: the built-in demo ({load(find('sdxl')).note_on_demo('demo')})\n"
        "3 pairs cannot tell an effect from chance: intervals take 4 or more, as --seed 0-3 gives\n"
        "base: out/base\na:0.5: out/a-0.5\na:1: out/a-1\n"
    )
    answer = json.loads(run(*given, "--json")[1])
    assert (answer["status"], answer["files"]) == ("planned", [])
    assert [(of["name"], of["pairs"]) for of in answer["variants"]] == [("a:0.5", 3), ("a:1", 3)]
    assert not Path("out").exists()


def test_leave_one_out(opened):
    """A stack is generated and taken apart: the answer and a table say what is left of it."""
    for name, seed in (("a", 3), ("b", 4)):
        pairs = lora_demo.changes(opened("sdxl").pipe, "unet", seed=seed)
        lora_demo.kohya(Path(f"{name}.safetensors"), pairs)
    stack = ("--lora", "a.safetensors:0.8+b.safetensors:0.5", "--leave-one-out", "-p", "a red cat")
    limits = ("--seed", "0-3", "--batch", "4", "--steps", "1", "--size", "96x64", "--no-pictures")
    code, stdout, stderr = run(*stack, *limits, "-o", "out")
    assert (code, "Error" in stderr) == (0, False)
    whole, without_a, without_b = "a:0.8+b:0.5", "b:0.5", "a:0.8"
    index = json.loads(Path("out/comparison/comparison.json").read_text())
    assert [of["name"] for of in index["variants"]] == [whole, without_a, without_b]
    words, rows = index["answer"], read_csv(Path("out/comparison/tables/parts.csv"))
    assert {row["part"]: row["variant_name"] for row in rows} == {"a": without_a, "b": without_b}
    told = [f"{100 * float(row['ratio']):.3g} %" for row in rows if row["part"] == "a"]
    lines = stdout.splitlines()
    start = lines.index(f"parts of {whole}: of its effect there is")
    assert lines[start + 2].split() == f"a {' '.join(told)}".split()
    for name in ("a", "b"):
        assert f"Without {name} " in words
    assert words.count(f"of the effect of {whole} on “") == len(index["variants"]) - 1
    assert words.count("of that on the image is left") == len(index["variants"]) - 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name what to compare: attn compare A B, or attn compare --lora FILE"),
        (["base", "style", "--seed", "0-15"], 2, "seed is about generating, which only --lora "
         "and --sketch do"),
        (["base", "style", "--layers", "3"], 2, "layers is about generating, which only --lora "
         "and --sketch do (--set compare.layers=… chooses of what is there)"),
        (["base"], 2, "name what is compared with the baseline: attn compare BASE VARIANT"),
        (["base", "style", "--only", ","], 2, "only: nothing is named; leave the option out for "
         "all parts"),
        (["base", "style", "--set", "topk=3"], 2, "--set takes compare.KEY=VALUE, got 'topk=3'"),
        (["base", "style", "--words", "dog"], 1, "the prompts do not share a word 'dog'. Their "
         "words: a, cat, bobcat."),
        (["base", "none"], 1, "could not read none/trace.json: the file or its folder does not "
         "exist. A trace is a folder with a trace.json in it."),
    ],
)  # fmt: skip
def test_errors(arguments, code, message):
    """What is wrong is one message on stderr; usage is exit 2, the rest 1."""
    assert run(*arguments) == (code, "", f"Error: {message}\n")


def test_negative_without_words(tmp_path):
    """The branch of an empty negative prompt is refused before anything is made."""
    arguments = (
        "--sketch",
        str(sketches.save(tmp_path)),
        "--sketch",
        "none",
        "-p",
        "a cat",
        "--branch",
        "uncond",
    )
    assert run(*arguments, "-o", "out") == (
        1,
        "",
        "Error: the negative prompt has no words; give one with --negative\n",
    )
    assert not (tmp_path / "out").exists()


def test_leading_word_shown():
    """The word that the answer names stands in the table, however many words change more."""
    numbers = {"occurrence": 1, "segment": "clip", "base": 0.5, "low": 0.01, "high": 0.02}
    rows = [numbers | {"word": word, "change": 0.1, "relative_change": 0.2} for word in COLOURS]
    rows.append(numbers | {"word": "cat", "change": 0.05, "relative_change": 0.7})
    words = [line.split()[0] for line in list_changes(pd.DataFrame(rows), "a")]
    assert words == ["WORD", *COLOURS[:4], "cat", "5"]
