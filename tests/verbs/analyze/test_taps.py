"""`attn analyze` on traces of `attn.tap`: texts that grow, batches of texts, pictures with text."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import SD3Transformer2DModel

import attn
from attn.errors import AnalysisError
from tests.helpers.models import language_models as tiny
from tests.helpers.models.word_tokenizers import tokenizer

TEXTS = ["the red cat sat on", "a big dog ran"]
SD3 = {"sample_size": 16, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 2}
SD3 |= {"attention_head_dim": 8, "num_attention_heads": 3, "joint_attention_dim": 22}
SD3 |= {"caption_projection_dim": 24, "pooled_projection_dim": 26}
LENGTH = tiny.PROMPT + tiny.NEW - 1
TABLES = ("flow/flow_summary.csv", "influence/tokens.csv", "patterns/profile.csv")


def tapped(keep, texts=TEXTS, name="llama", **options):
    """Return the trace of a generation, and its model."""
    model, reader = tiny.make(name), tokenizer()
    read = reader(texts, return_tensors="pt", padding=True, padding_side="left")
    with attn.tap(model, keep=keep, tokens=reader, **options) as tap:
        ids, mask = read["input_ids"], read["attention_mask"]
        model.generate(ids, attention_mask=mask, max_new_tokens=tiny.NEW, do_sample=False)
    return tap.trace


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """A saved generation of two texts of different lengths, what was analysed, and its oracle."""
    folder = tmp_path_factory.mktemp("taps") / "run"
    trace = tapped("heads").save(folder)
    done = attn.analyze(folder, pictures=False)
    ids = torch.tensor([[token.id for token in trace.tokens(sample=at)] for at in range(2)])
    valid = torch.tensor(
        [[not token.padding for token in trace.tokens(sample=at)] for at in (0, 1)]
    )
    return folder, done, tiny.matrices("llama", ids, valid), valid.numpy()


def table(analysed, name):
    """Return a table that was written."""
    return pd.read_csv(analysed[0] / "analysis" / name)


def test_names(analysed):
    """A tokenizer names the positions of every row, padding too, and finds the prompt's words."""
    trace = attn.open(analysed[0])
    assert [token.text for token in trace.tokens(sample=1)][: tiny.PROMPT] == [
        "<pad>",
        "a",
        "big",
        "dog",
        "ran",
    ]
    assert [text.prompt for text in trace.manifest.texts] == TEXTS
    assert [word.text for word in trace.manifest.texts[1].words] == ["a", "big", "dog", "ran"]
    tokens = table(analysed, "influence/tokens.csv")
    assert tokens[tokens["sample"] == 1]["token"][: tiny.PROMPT].tolist()[1] == "a"


def test_influence_is_the_mean_of_the_matrix(analysed):
    """What a token receives is the mean over the rows of the whole text, padding left out."""
    _, _, layers, valid = analysed
    got = table(analysed, "influence/tokens.csv")["mass"].to_numpy().reshape(2, 2, LENGTH)
    expected = np.stack([tiny.mass(probs.mean(1)[:, None], valid)[:, 0] for probs in layers])
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_flow_is_of_the_text_rows(analysed):
    """What the text reads of the prompt is the mean over the rows that were written."""
    _, _, layers, _ = analysed
    got = table(analysed, "flow/flow_summary.csv")["prompt_to_generated"].to_numpy()
    at = tiny.PROMPT
    expected = [probs.mean(1)[:, at:, :at].sum(-1).mean(1) for probs in layers]
    np.testing.assert_allclose(got, np.ravel(expected), atol=1e-5)


def test_profile_and_pairs(analysed):
    """Distances are those of the whole matrix, and the strongest pair is its largest cell."""
    _, _, layers, valid = analysed
    got = table(analysed, "patterns/profile.csv")["mass"].to_numpy().reshape(2, 2, LENGTH)
    matrix = layers[0].mean(1)[1]
    diagonals = [np.trace(matrix, -apart) for apart in range(LENGTH)]
    np.testing.assert_allclose(got[0, 1], np.array(diagonals) / valid[1].sum(), atol=1e-3)
    pairs = table(analysed, "matrices/pairs.csv")
    first = pairs[(pairs["layer"] == 0) & (pairs["sample"] == 1)].iloc[0]
    assert (first["query_token"], first["key_token"]) == ("a", "a")
    assert first["mass"] == pytest.approx(1)


def test_words_of_a_tapped_picture(tmp_path):
    """A joint model whose segments, grid and tokens are named gives the heatmaps of its words."""
    torch.manual_seed(5)
    model = SD3Transformer2DModel(**SD3).eval()
    call = {"hidden_states": torch.randn(2, 4, 6, 10), "timestep": torch.tensor([500, 400])}
    call |= {
        "encoder_hidden_states": torch.randn(2, 3, 22),
        "pooled_projections": torch.ones(2, 26),
    }
    parts, names = {"image": 15, "text": 3}, ["a", "red", "cat"]
    with torch.no_grad(), attn.tap(model, segments=parts, grid=(3, 5), tokens=names) as tap:
        model(**call)
    trace = tap.trace.save(tmp_path / "run")
    whole = trace.maps(1, "all.all").squeeze(["step", "branch"]).values
    maps = trace.maps(1, "image.text").squeeze(["step", "branch"])
    np.testing.assert_allclose(maps, whole[:, :15, 15:].reshape(2, 3, 5, 3), rtol=1e-6)
    done = attn.analyze(tmp_path / "run", only=["words"])
    assert done.warnings == ()
    drawn = {file.name for file in done.files}
    assert {"002-cat-sample-0.png", "002-cat-sample-1.png"} <= drawn


def test_what_runs(analysed):
    """Every analysis of texts runs but those of decisions, which a text that grows has none of."""
    folder, done, _, _ = analysed
    names = [
        it["name"] for it in json.loads((folder / "analysis/analysis.json").read_text())["analyses"]
    ]
    assert names == ["flow", "patterns", "matrices", "influence", "similarity", "report"]
    assert done.warnings == (f"{folder}: no token is a sink by the rule of epsilon 3",)
    report = (folder / "analysis/report/sample-1/attention_summary.json").read_text()
    assert "NaN" not in report
    with pytest.raises(AnalysisError, match=r"needs what each step decided, which this trace does"):
        attn.analyze(folder, only=["unmasking"])
