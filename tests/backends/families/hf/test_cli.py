"""`attn capture -b hf`, and `attn analyze` on its trace and on a saved tap: all that is printed."""

import re

import numpy as np
import pytest
from PIL import Image
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import attn
from attn.cli import build

ANALYSED = """\
Of their attention generated tokens give 87 % to the prompt and 13 % to generated text (themselves
included). Of the prompt the token “<|startoftext|>” at position 0 gets 21.1 % of all attention, the
most of 16 tokens (an even share is 6.25 %); no token is a sink.
run/analysis
  flow/flow.csv
  flow/flow_summary.csv
  patterns/patterns.csv
  patterns/profile.csv
  matrices/pairs.csv
  influence/tokens.csv
  influence/sink_moves.csv
  similarity/similarity.csv
  report/attention_analysis_report.json
  report/token_analysis.json
  report/attention_summary.json
  report/causal_attention_analysis.json
  report.html
  analysis.json
"""
NO_HEADS = "they need headmaps of all.all, which were not kept; capture with --keep heads"
WARNED = f"""\
Warning: run: 'matrices' has no pictures of single heads: {NO_HEADS}
Warning: run: 'report' has no causal split of single heads: {NO_HEADS}
Warning: run: no token is a sink by the rule of epsilon 3
"""
OF_MASSES = """\
Of their attention generated tokens give 67.4 % to the prompt and 32.6 % to generated text
(themselves included). Of the prompt the token “a” at position 0 gets 45.7 % of all attention, the
most of 5 tokens (an even share is 20 %); no token is a sink.
tap/analysis
  flow/flow.csv
  flow/flow_summary.csv
  influence/tokens.csv
  influence/sink_moves.csv
  report.html
  analysis.json
"""
SKIPPED = "".join(
    f"Warning: tap: '{name}' is skipped: it needs maps of all.all, which were not kept; capture "
    "with attn.tap(keep='maps')\n"
    for name in ("patterns", "matrices", "similarity", "report")
)
DRAWN = ["flow", "influence", "layer_00", "layer_01", "layers", "patterns", "similarity", "sinks"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    """Return exit code, stdout and stderr of a command, without what a step took."""
    result = CliRunner().invoke(build(), [*map(str, arguments)])
    return result.exit_code, result.stdout, re.sub(r"\d+\.\d\d s/step", "N s/step", result.stderr)


def test_capture_and_analyze(make_folder):
    """A text is captured and analysed; every line of both commands is there."""
    wanted = ["-b", "hf", "-m", make_folder(), "-p", "a red cat", "--generate", 3, "-o", "run"]
    code, stdout, stderr = run("capture", *wanted)
    assert (code, stdout) == (0, "1 trace in run\n")
    assert stderr == "step 1/4 · … · 3.0 kB\nstep 4/4 · N s/step · 12.0 kB\n"
    assert run("analyze", "run", "--no-pictures") == (0, ANALYSED, WARNED)


def test_analyze_saved_tap(make_folder):
    """A tap that was saved is analysed as any trace, and says what it lacks."""
    folder = make_folder()
    model, reader = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    with attn.tap(model, keep="mass", tokens=reader) as tapped:
        ids = reader("a red cat", return_tensors="pt")["input_ids"]
        model.generate(ids, max_new_tokens=3, do_sample=False)
    tapped.trace.save("tap")
    no_sink = "Warning: tap: no token is a sink by the rule of epsilon 3\n"
    assert run("analyze", "tap", "--no-pictures") == (0, OF_MASSES, SKIPPED + no_sink)


def test_pictures(make_folder):
    """Every picture of a text that grows is drawn, each with something in it."""
    attn.capture("hf", "a red cat", model=make_folder(), generate=3, out="run")
    done = attn.analyze("run", figsize=(5, 4), dpi=40)
    pictures = [file for file in done.files if file.suffix == ".png"]
    assert sorted(file.stem for file in pictures) == DRAWN
    for picture in pictures:
        assert len(np.unique(np.asarray(Image.open(picture).convert("L")))) > 20, picture.name
