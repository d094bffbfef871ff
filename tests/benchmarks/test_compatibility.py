"""The page of architectures says what happens."""

import pytest

from benchmarks import compatibility
from benchmarks.compatibility import DIFFUSERS, PAGE, TRANSFORMERS, try_diffusers, try_transformers

LISTED = PAGE.read_text(encoding="utf-8").splitlines()
SAMPLE = [
    ("decoder", "llama"),
    ("decoder", "mamba"),
    ("encoder", "bert"),
    ("encoder-decoder", "bart"),
    ("vision", "vit"),
    ("vision", "swin"),
]


@pytest.mark.parametrize(("group", "kind"), SAMPLE)
def test_transformers(group, kind):
    """An architecture of transformers is captured, or refused, as the page says."""
    assert str(try_transformers(group, kind)) in LISTED


@pytest.mark.parametrize("name", ["SD3Transformer2DModel", "PixArtTransformer2DModel"])
def test_diffusers(name):
    """A transformer of diffusers is captured as the page says."""
    assert str(try_diffusers(name)) in LISTED


def test_page_lists_all():
    """Every architecture that is tried has a row."""
    tried = [kind for kinds in TRANSFORMERS.values() for kind in kinds] + list(DIFFUSERS)
    assert [line.split("`")[1] for line in LISTED if line.startswith("| ") and "`" in line] == tried


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_page_is_made_anew():
    """The whole page is what the installed libraries give."""
    assert compatibility.page(compatibility.all_rows()).splitlines() == LISTED
