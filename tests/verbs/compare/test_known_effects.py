"""What a report says of runs whose effect is known: of a word, of a style, of nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import attn
from attn.backends import find, load
from attn.demo import shipped
from attn.wording import digits

PACKAGED = Path(shipped.__file__).parent / "weights"
NAMED = re.compile(r"“(\w+)”(?: of (\w+))? gets ([\d.]+)(×| %)(?: (more|less))?")
PROMPT = "a red square left of a purple triangle on a white background"


@pytest.fixture(scope="module")
def trained(demo_cache):
    """Open trained demo models, whose weights other tests do not see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "WEIGHTS", PACKAGED)

        def opened(name):
            family = load(find(name))
            return family.open("demo", family.Options()).pipe

        yield opened


def told(pipe, backend, lora, out):
    """Return what a comparison without and with a LoRA says, and its tables."""
    done = attn.compare(
        backend=backend, model=pipe, lora=[str(lora)], prompt=PROMPT, seed=range(4), batch=4,
        steps=3, size=(96, 64), only=["words", "layers", "images"], pictures=False, out=out,
    )  # fmt: skip
    return done.answer.partition(" Attention is measured")[0], done.tables


def stated(said):
    """Return (word, segment, relative change) of every word that a paragraph gives a number of."""
    for word, segment, number, unit, way in NAMED.findall(
        said.partition("The mean over layers hides")[0]
    ):
        size = float(number) - 1 if unit == "×" else float(number) / 100
        yield word, segment or "clip", -size if way == "less" else size


@pytest.mark.parametrize(
    ("backend", "lora", "lead"),
    [
        ("sdxl", "sdxl-lora/square.kohya.safetensors", "square"),
        ("sd35", "sd35-lora/purple.kohya.safetensors", None),
    ],
)
def test_words(trained, tmp_path, backend, lora, lead):
    """What is said of words and images is what the tables say, and no interval of it holds 0.

    The first LoRA was trained on one word. The other changes what colour a word means, not who
    reads it.
    """
    said, tables = told(trained(backend), backend, PACKAGED / lora, tmp_path / "out")
    rows = tables["mass.csv"].set_index(["word", "segment"])
    named = list(stated(said))
    assert lead in (None, named[0][0])
    for word, segment, change in named:
        row = rows.loc[(word, segment)]
        assert change == pytest.approx(row["relative_change"], rel=0.01)
        assert row["low"] * row["high"] > 0
    level = tables["images.csv"].set_index("measure")["value"]["level"]
    assert f"The image changes by {digits(level)} of 255 levels" in said
    assert level > 1


def test_a_style(trained, tmp_path):
    """A LoRA of the last convolution alone changes the contrast, and hardly any attention."""
    pipe = trained("sdxl")
    weight = pipe.unet.conv_out.weight.detach().numpy()
    stem, gain = "lora_unet_conv_out", 0.4 * np.eye(len(weight), dtype=np.float32)
    factors = {
        f"{stem}.lora_down.weight": weight,
        f"{stem}.lora_up.weight": gain[:, :, None, None],
        f"{stem}.alpha": np.array(len(weight), np.float32),
    }
    save_file(factors, tmp_path / "contrast.safetensors")
    said, tables = told(pipe, "sdxl", tmp_path / "contrast.safetensors", tmp_path / "out")
    assert said.startswith("With contrast attention hardly changes: no word moves by more than ")
    assert said.endswith(", without moving attention.")
    bound = float(said.partition("more than ")[2].partition(" %")[0])
    ends = tables["mass.csv"][["low", "high"]].abs().max(axis=1) / tables["mass.csv"]["base"]
    assert 100 * ends.max() <= bound <= 5
