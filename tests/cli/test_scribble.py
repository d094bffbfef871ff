"""`attn capture -b scribble` as it is typed: whole outputs."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import attn
from attn.cli import build
from tests.helpers import sketches

SMALL = ("--steps", "2", "--size", "96x64", "-m", "demo:sd15")


@pytest.fixture
def run(demo_cache, tmp_path, monkeypatch):
    """Run a command in an empty folder that holds a drawing; return code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("attn.cli.report.LINE_SECONDS", 600.0)
    sketches.save(tmp_path)

    def command(*arguments):
        result = CliRunner().invoke(build(), list(arguments))
        return result.exit_code, result.stdout, re.sub(r"\d+\.\d\d s/", "N s/", result.stderr)

    return command


def test_capture(run):
    """A drawing is said, kept with the trace as the model got it, and named by its hash."""
    code, stdout, stderr = run(
        "capture", "-b", "scribble", *SMALL, "--sketch", "ring.png", "-o", "out"
    )
    assert (code, stdout) == (0, "1 trace in out\n")
    assert "Warning: sketch: dark strokes on light ground, 5.17 % of the picture" in stderr
    assert "Warning: the sketch is 97x71, the picture 96x64: it is padded to its shape" in stderr
    trace = attn.open("out")
    assert trace.manifest.outputs == (
        *("outputs/image.png", "outputs/history.json", "outputs/forming.jpg", "outputs/sketch.png"),
    )
    assert trace.image().name == "image.png"
    strokes = np.asarray(Image.open(trace.sketch()))
    assert strokes.shape == (64, 96, 3)
    assert {layer.tower for layer in trace.layers} == {"denoiser", "controlnet"}
    history = json.loads((trace.folder / "outputs/history.json").read_text())
    assert np.shape(history["residuals"]["strength"]["cond"]) == (2, 10)
    assert len(trace.manifest.request.options["sketch_sha256"]) == 64


def test_dry_run(run):
    """Layers of both towers have the same paths, so the plan says which tower they are of."""
    layer = "mid_block.attentions.0.transformer_blocks.0.attn2  cross, 4 heads, grid 2x3, 77 keys"
    expected = f"""\
1 trace of 2 steps, 1 sample, branch cond
keep maps, keys content, blocks image.text
2 layers:
     9  denoiser:{layer}
    31  controlnet:{layer}
one trace: 12.5 kB; in all 12.5 kB
"""
    arguments = (*SMALL, "--sketch", "ring.png", "--layers", "*mid_block*", "--dry-run")
    code, stdout, _ = run("capture", "-b", "scribble", *arguments)
    assert (code, stdout) == (0, expected)


def test_resume_sees_another_drawing(run):
    """A run is not continued with another drawing under the same name."""
    arguments = ("capture", "-b", "scribble", *SMALL, "--sketch", "ring.png", "-o", "out")
    assert run(*arguments)[0] == 0
    sketches.ring(width=9).save("ring.png")
    code, _, stderr = run(*arguments, "--resume")
    assert code == 2
    assert "holds another run than this one" in stderr.replace("\n", " ")
    assert "sketch_sha256" in stderr


def test_bad_sketch(run):
    """What is no drawing ends with exit code 2 before a trace is begun."""
    code, stdout, stderr = run(
        "capture", "-b", "scribble", *SMALL, "--sketch", "no.png", "-o", "out"
    )
    assert (code, stdout) == (2, "")
    assert "cannot read no.png: the file or its folder does not exist" in stderr
    assert not list(sketches_folder().glob("out"))


def test_no_name(run):
    """An empty name of a drawing, as of a variable that is not set, is not taken for a folder."""
    code, _, stderr = run("capture", "-b", "scribble", *SMALL, "--sketch", "", "-o", "out")
    told = "sketch: no file is named; give one, or none for the model without a drawing"
    assert (code, told in stderr) == (2, True)


ELSEWHERE = (
    "Error: backend {} reads no drawing, so --sketch would have no effect; --backend scribble "
    "does: Stable Diffusion XL or 1.x with a drawing, through a ControlNet\n"
)


@pytest.mark.parametrize("backend", ["sdxl", "sd15", "mmada"])
def test_sketch_for_another_backend(run, backend):
    """A backend that reads no drawing says which one does."""
    assert run("capture", "-b", backend, "--sketch", "ring.png", "-o", "out") == (
        *(2, "", ELSEWHERE.format(backend)),
    )


def test_two_sketches(run):
    """Of two drawings none is left out in silence, however they are given."""
    code, stdout, stderr = run(
        "capture", "-b", "scribble", "--sketch", "ring.png", "--set", "sketch=none"
    )
    expected = "Error: option 'sketch' is given twice, as 'none' and 'ring.png'; give it once.\n"
    assert (code, stdout, stderr) == (2, "", expected)


def sketches_folder():
    """Return the folder that the command ran in."""
    from pathlib import Path

    return Path()
