"""What places and words read, in every joint family: from capture to figures and report."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import attn
from attn.cli import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache", "undrawn")]
BLOCKS = "image.text,image.image,text.image,text.text"
FAMILIES = {  # gated is laid out as sd35, chroma as flux
    "sd35": ("clip", "t5"),
    "flux": ("t5",),
    "qwen-image": ("qwen",),
    "z-image": ("qwen3",),
    "krea2": ("qwen3vl",),
}


def capture(family, out):
    """Capture two steps of a prompt that repeats a word."""
    made = attn.capture(
        *(family, "a red cat, a dog"), size=(64, 96), steps=2, keep="means", blocks=BLOCKS, out=out
    )
    return str(made.path)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_joint_family(family, tmp_path):
    """Each way of laying text and picture out has all figures and sentences; a word gives 1."""
    folder = capture(family, tmp_path / "out")
    names = ["words", "text_to_image", "text_to_text"]
    done = attn.analyze(folder, only=names, settings={"words.from": "1,2,3,4"})
    answer = done.traces[0].answer
    for told in (
        "The place at rows 1 to 2, columns 2 to 3 gives",
        "attention to the image, the most",
        "gives",
    ):
        assert told in answer
    analysis = tmp_path / "out" / "analysis"
    segments = FAMILIES[family]
    figures = [f"{folder}/{name}.png" for folder in ("text_to_image", "text_to_text")
               for name in segments]  # fmt: skip
    for name in (*figures, "words/from/looks.png"):
        assert (analysis / name).is_file()
    page = (analysis / "report.html").read_text()
    assert "Where in the image the marked place looks." in page
    assert "What the words read of each other." in page
    pairs = pd.read_csv(analysis / "text_to_text/pairs.csv")
    keys = ["segment", "word", "occurrence"]
    np.testing.assert_allclose(pairs.groupby(keys)["attention"].sum(), 1, atol=1e-5)
    readers = pd.read_csv(analysis / "text_to_image/readers.csv").set_index(keys)["to_image"]
    assert len(readers) == 5 * len(segments)
    other = pairs[pairs["reads"] == "not text"].set_index(keys)["attention"]
    if family not in ("z-image", "krea2"):  # whose text reads padding, or itself first
        np.testing.assert_allclose(readers, other.loc[readers.index], atol=2e-3)


def test_what_was_not_kept(tmp_path):
    """Without the block the message names the option of the capture that would keep it."""
    folder = str(attn.capture("sd15", "a cat", size=(64, 96), steps=1, out=tmp_path / "out").path)
    for arguments, message in (
        (("--set", "words.from=1,2"), "--blocks image.image"),
        (("--only", "text_to_image"), "no captured layer's text reads anything"),
        (("--set", "words.from=1"), "expected ROW,COLUMN"),
    ):
        result = CliRunner().invoke(build(), ["analyze", folder, *arguments])
        assert result.exit_code in (1, 2)
        assert message in result.stderr
