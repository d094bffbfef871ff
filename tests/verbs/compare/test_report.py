"""The page of a comparison: which figures stand open, and what they are called."""

import pytest

from attn.verbs.compare.report import VariantFigures, rank_figures

FOLDERS = {"variants/a-0.5/": "a:0.5", "variants/a-1.0/": "a:1.0"}
FILES = ["summary.png", *(f"{folder}{name}" for folder in FOLDERS for name in
         ("layers.png", "difference.png", "other.png"))]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "folders"),
    [(["a:1.0"], ["variants/a-1.0/"]), (["a:0.5", "a:1.0"], list(FOLDERS))],
)
def test_figures_that_matter(told, folders):
    """Figures that stand open are of variants that the answer tells of, and are called by them."""
    by_variant = VariantFigures(FOLDERS, told)
    expected = [f"{folder}{name}" for name in ("difference.png", "layers.png")
                for folder in folders]  # fmt: skip
    assert rank_figures(FILES, by_variant) == ["summary.png", *expected]
    assert by_variant.caption("variants/a-1.0/layers.png").startswith("a:1.0: Change of each word")
    assert by_variant.caption("variants/a-1.0/other.png") == "a:1.0"
    assert VariantFigures({"": "a"}, ["a"]).caption("layers.png").startswith("Change of each word")
