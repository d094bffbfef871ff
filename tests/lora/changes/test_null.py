"""Random changes that a LoRA is held against: of its size, and of nothing else of it."""

import numpy as np
import pytest

from attn.lora.changes.null import generator, random_factors, random_matrix


@pytest.mark.parametrize("norm", [0.0, 3.5])
def test_random_factors(norm):
    """Their product has the norm, the rank and the shape that are asked for."""
    up, down = random_factors(generator(3, "to_q"), (13, 2), (2, 11), norm)
    assert np.linalg.norm(up @ down) == pytest.approx(norm, rel=1e-12)
    assert np.linalg.matrix_rank(up @ down) == (2 if norm else 0)


@pytest.mark.parametrize(
    ("shape", "rank"), [((13, 11), 3), ((13, 11), None), ((7,), 3), ((2, 3), 5)]
)
def test_random_matrix(shape, rank):
    """Of what is written out, shape, norm and rank are kept, and nothing else."""
    like = np.random.default_rng(1).standard_normal(shape)
    result = random_matrix(generator(3, "to_q"), like, rank)
    assert np.linalg.norm(result) == pytest.approx(np.linalg.norm(like), rel=1e-12)
    if like.ndim > 1:
        assert np.linalg.matrix_rank(result) == min(rank or 99, *shape)
    assert abs(np.vdot(result, like)) < 0.9 * np.vdot(like, like)


def test_each_module_has_random_numbers_of_its_own():
    """They depend on seed and name alone, so that another selection of modules keeps them."""
    draws = [generator(*key).standard_normal() for key in ((1, "a"), (1, "a"), (1, "b"), (2, "a"))]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3
