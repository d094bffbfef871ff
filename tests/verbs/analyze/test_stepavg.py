"""The dump for sd3.5-attention-analysis' own scripts, read as these read it."""

import csv
import json
import re

import numpy as np
import pytest

import attn

PROMPT = "A rusty bicycle in front of a barn unbelievably"
WORDS = PROMPT.split()
FIELDS = [
    *("prompt", "negative_prompt", "seed", "steps", "guidance_scale", "model_id", "scheduler"),
    *("image_size", "canonical_size", "batch_size", "num_steps", "num_blocks", "blocks"),
    *("block_latent_sizes", "tokens", "T_from_model", "special_mask", "timestamp"),
]
"""What the original writes into `metadata.json`."""
SPANS = {"clip": slice(0, 77), "t5": slice(77, 333)}
"""Where the original looks for the tokens of both encoders, whatever the file says."""


@pytest.fixture(scope="module")
def dumped(opened, tmp_path_factory):
    """Capture with the second attention too; return metadata, arrays, results and tokenizers."""
    pipe = opened("sd35", "demo:medium").pipe
    out = tmp_path_factory.mktemp("stepavg") / "run"
    requested = {"steps": 3, "size": (64, 96), "keys": "all", "layers": "4-6", "out": out}
    run = attn.capture("sd35", PROMPT, model=pipe, **requested)
    settings = {"stepavg.half": "no", "curves.csv": "wide"}
    attn.analyze(run.path, only=["stepavg", "curves"], settings=settings, pictures=False)
    results = run.path / "analysis"
    metadata = json.loads((results / "stepavg/metadata.json").read_text(encoding="utf-8"))
    with np.load(results / "stepavg/stepavg_token_maps_v1.npz", allow_pickle=False) as held:
        return metadata, dict(held), results, pipe.tokenizer_3


def pieces(dumped, segment):
    """Return tokens and mask as the original's second script gets them."""
    metadata, *_, tokenizer = dumped
    if segment == "clip":
        return metadata["tokens"][0], metadata["special_mask"][0]
    names = tokenizer.convert_ids_to_tokens(tokenizer(metadata["prompt"][0])["input_ids"])
    return names, [name in ("<pad>", "<s>", "</s>") for name in names]


def join(tokens, mask):
    """Return words and their positions: `</w>` ends one, `▁` begins one, specials close one."""
    words, is_open = [], False
    for index, (token, is_special) in enumerate(zip(tokens, mask, strict=True)):
        is_open = is_open and not is_special and token[0] not in "▁Ġ"
        if is_special:
            continue
        if not is_open:
            words.append(("", []))
        text, indices = words[-1]
        words[-1] = (text + token.removesuffix("</w>").lstrip("▁Ġ"), [*indices, index])
        is_open = not token.endswith("</w>")
    return words


def test_metadata(dumped):
    """Every field of the original is there, in its form; there are more, which its readers skip."""
    metadata, arrays, *_ = dumped
    assert [name for name in metadata if name in FIELDS] == FIELDS
    assert metadata["tokens"][0][:3] == ["<|startoftext|>", "a</w>", "rusty</w>"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["timestamp"])
    assert metadata["blocks"] == [f"transformer_blocks.{block}.attn" for block in (2, 3, 4)]
    assert arrays["sum_token_map"].shape == (1, *metadata["canonical_size"], 333)
    assert metadata["T_from_model"] == 333


@pytest.mark.parametrize("segment", ["clip", "t5"])
def test_words(dumped, segment):
    """The original's way of joining tokens gives every word of the prompt, with its own numbers."""
    _, arrays, results, _ = dumped
    words = join(*pieces(dumped, segment))
    assert [text.casefold() for text, _ in words] == [word.casefold() for word in WORDS]
    means = arrays["per_block_step_token_mean"][0][..., SPANS[segment]]
    curves = np.stack([means[..., indices].sum(-1) for _, indices in words], -1)
    with (results / segment / "tables/words_stepavg.csv").open(encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["block", *WORDS]
    assert [row[0] for row in rows] == ["2", "3", "4"]
    table = np.array([[float(cell) for cell in row[1:]] for row in rows])
    np.testing.assert_allclose(curves.mean(1), table, atol=1e-6)
