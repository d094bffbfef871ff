"""Shapes of arrays are checked at every call while the tests run."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation

import attn
from attn.analysis.texts.patterns import profile_of
from attn.analysis.words.maps.dominance import dominance
from attn.trace.means import MeanMaps
from attn.trace.words.sums import sum_tokens

PACKAGE = Path(attn.__file__).parent
ALIASES = ("shapes.py", "engine/shapes.py")


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (profile_of, [(2, 3, 5, 7)]),
        (lambda maps: dominance(maps, [0]), [(2, 3, 5)]),
        (sum_tokens, [(2, 5), (7, 3)]),
        (lambda maps: MeanMaps(maps, (), ()), [(2, 3, 5)]),
    ],
)
def test_wrong_shape(call, shapes):
    """An array with an axis too many or too few, or with another size of an axis, is refused."""
    with pytest.raises(BeartypeCallHintViolation):
        call(*map(np.zeros, shapes))


def test_wrong_dtype():
    """Numbers of less precision than an alias says are refused."""
    with pytest.raises(BeartypeCallHintViolation):
        profile_of(np.zeros((2, 3, 3), np.float16))


def test_wrong_tensor():
    """Tensors of the engine are checked likewise."""
    import torch

    from attn.engine.reduction.gates import summarise

    assert summarise(torch.zeros(5, 6), 2).shape == (2, 4)
    with pytest.raises(BeartypeCallHintViolation):
        summarise(torch.zeros(5, 2, 3), 2)


@pytest.mark.parametrize("file", ALIASES)
def test_aliases_are_used(file):
    """Every alias stands in a signature; what nobody uses would tell nothing."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    names = [node.targets[0].id for node in tree.body if isinstance(node, ast.Assign)]
    defining = [PACKAGE / name for name in ALIASES]
    others = [path for path in PACKAGE.rglob("*.py") if path not in defining]
    used = set(re.findall(r"\w+", "".join(path.read_text(encoding="utf-8") for path in others)))
    assert [name for name in names if name not in used and name != "Array"] == []
