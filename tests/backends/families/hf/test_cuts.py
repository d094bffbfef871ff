"""`attn ablate` on language models that write token by token."""

import pytest

import attn
from attn.errors import AnalysisError

PROMPTS = ["a red cat", "the red dog", "one red star", "some red grass"]


def test_word(make_folder, tmp_path):
    """Another token and another confidence are told; there is no order of unmasking."""
    options = {"model": make_folder(), "seed": 0, "pictures": False}
    settings = {"generate": "3"}
    done = attn.ablate("hf", PROMPTS, cut="red", out=tmp_path / "out", settings=settings, **options)
    table = done.tables["cuts.csv"].set_index("measure")
    assert set(table.index) == {"token", "text", "confidence"}
    assert table["n"].tolist() == [4] * 3
    assert 0 <= table["change"]["token"] <= 1
    assert table["change"]["confidence"] != 0


def test_first_token(make_folder, tmp_path):
    """The first token of a causal model reads only itself: that is said, and what to do."""
    options = {"model": make_folder(), "seed": 0, "random": 0, "pictures": False}
    settings = {"chat_template": "none", "generate": "3"}
    with pytest.raises(AnalysisError, match=r"hides every key of a row .* \(@queries=generated"):
        attn.ablate(
            *("hf", PROMPTS),
            cut="keys prompt:0",
            settings=settings,
            out=tmp_path / "failed",
            **options,
        )
    done = attn.ablate(
        *("hf", PROMPTS),
        cut="keys prompt:0@queries=generated",
        settings=settings,
        **options | {"out": tmp_path / "out"},
    )
    assert done.tables["cuts.csv"].set_index("measure")["change"]["confidence"] != 0
