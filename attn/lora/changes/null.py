"""A control for a LoRA: random changes of the same size, module by module."""

from __future__ import annotations

from zlib import crc32

import numpy as np

from attn.lora.changes.norms import product_norm
from attn.lora.changes.tensors import Values


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers of one module: the same whatever other modules there are.

    Args:
        seed: of the control.
        name: of the module.
    """
    return np.random.default_rng([seed, crc32(name.encode())])


def random_factors(
    rng: np.random.Generator, up_shape: tuple[int, ...], down_shape: tuple[int, ...], norm: float
) -> tuple[Values, Values]:
    """Return Gaussian factors whose product has a given Frobenius norm.

    Args:
        rng: is drawn from.
        up_shape: (rows, rank).
        down_shape: (rank, columns).
        norm: of up · down, as small as 0.

    Returns:
        up and down.
    """
    up, down = rng.standard_normal(up_shape), rng.standard_normal(down_shape)
    return up * (norm / product_norm(up, down)), down


def random_matrix(rng: np.random.Generator, like: Values, rank: int | None) -> Values:
    """Return a random matrix or vector of the Frobenius norm of another.

    Args:
        rng: is drawn from.
        like: (rows, columns), or (rows,).
        rank: of the result, if it is a matrix; None is a full one.
    """
    norm = float(np.linalg.norm(like))
    if rank is None or like.ndim == 1 or rank >= min(like.shape):
        values = rng.standard_normal(like.shape)
        scaled: Values = values * (norm / float(np.linalg.norm(values)))
        return scaled
    up, down = random_factors(rng, (len(like), rank), (rank, like.shape[1]), norm)
    return up @ down
