"""What a report says of runs whose effect is known: of a word, of a style, of nothing else."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import attn
from attn.backends import find, load
from attn.demo import shipped
from attn.verbs.report_page import digits

PACKAGED = Path(shipped.__file__).parent / "weights"
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
        backend=backend, model=pipe, lora=[str(lora)], prompt=PROMPT, seed=range(3), steps=4,
        size=(96, 64), only=["words", "layers", "images"], pictures=False, out=out,
    )  # fmt: skip
    return done.answer.partition(" Attention is measured")[0], done.tables


def row_of(tables, word):
    """Return the row of a word in the table of masses."""
    table = tables["mass.csv"]
    return table[table["word"] == word].iloc[0]


@pytest.mark.parametrize(
    ("backend", "lora", "word"),
    [
        ("sdxl", "sdxl-lora/square.kohya.safetensors", "square"),
        ("sd35", "sd35-lora/purple.kohya.safetensors", "purple"),
    ],
)
def test_a_word(trained, tmp_path, backend, lora, word):
    """Of LoRAs that were trained on one word, that word is told, with the numbers of the tables."""
    said, tables = told(trained(backend), backend, PACKAGED / lora, tmp_path / "out")
    row = row_of(tables, word)
    pairs = tables["mass_pairs.csv"]
    changes = pairs[(pairs["word"] == word) & (pairs["segment"] == row["segment"])]["change"]
    more = "more" if row["change"] > 0 else "less"
    count = int((np.sign(changes) == np.sign(row["change"])).sum())
    assert f"the word “{word}" in said.partition("gets")[0]
    assert f"{more} in {count} of 3 images" in said
    assert min(abs(row["low"]), abs(row["high"])) > 0
    level = tables["images.csv"].set_index("measure")["value"]["level"]
    assert f"The picture changes by {digits(level)} of 255 levels" in said


def test_a_style(trained, tmp_path):
    """A LoRA of the last convolution alone changes the contrast, and hardly any attention."""
    pipe = trained("sdxl")
    weight = pipe.unet.conv_out.weight.detach().numpy()
    stem, gain = "lora_unet_conv_out", 0.2 * np.eye(len(weight), dtype=np.float32)
    factors = {
        f"{stem}.lora_down.weight": weight,
        f"{stem}.lora_up.weight": gain[:, :, None, None],
        f"{stem}.alpha": np.array(len(weight), np.float32),
    }
    save_file(factors, tmp_path / "contrast.safetensors")
    said, tables = told(pipe, "sdxl", tmp_path / "contrast.safetensors", tmp_path / "out")
    assert said.startswith("With contrast attention hardly changes: no word moves by more than ")
    assert said.endswith(": a change of style rather than of attention to words.")
    bound = float(said.partition("more than ")[2].partition(" %")[0])
    ends = tables["mass.csv"][["low", "high"]].abs().max(axis=1) / tables["mass.csv"]["base"]
    assert 100 * ends.max() <= bound <= 5
