"""Tensors read by parts from their place in a file."""

import numpy as np
import pytest

from attn.checkpoints.headers import read_header
from attn.errors import ModelError
from attn.lora.changes import tensors
from attn.lora.changes.tensors import Stored
from tests.helpers.models.lora_files import normal, write


@pytest.fixture
def stored(tmp_path):
    """A tensor of 17 rows in a file with another one before it, and its values."""
    rng = np.random.default_rng(73)
    arrays = {"a": normal(rng, 5), "b": normal(rng, 17, 3, 2).astype(np.float16)}
    path = write(tmp_path / "a.safetensors", arrays)
    return Stored(path, read_header(path).tensors["b"]), arrays["b"]


@pytest.mark.parametrize("chunk", [1, 7, 30, 10_000])
def test_rows_come_in_small_blocks(chunk, stored, monkeypatch):
    """However large a tensor is, no more than a block is in memory, or a row if that is more."""
    monkeypatch.setattr(tensors, "CHUNK", chunk)
    item, values = stored
    blocks = list(item.rows())
    assert max(block.size for block in blocks) <= max(chunk, item.columns)
    assert np.array_equal(np.concatenate(blocks), values.reshape(17, 6))


def test_read(stored):
    """A whole tensor has its shape and its values as float64."""
    item, values = stored
    assert item.read().dtype == np.float64
    assert np.array_equal(item.read(), values)


def test_slice(stored):
    """Some rows are a tensor of their own: where query, key and value share a matrix."""
    item, values = stored
    assert np.array_equal(item.slice(5, 11).read(), values[5:11])


def test_a_file_that_becomes_shorter(stored):
    """A file that is cut after its header was read is an error, not an array of what is left."""
    item, _ = stored
    item.path.write_bytes(item.path.read_bytes()[:-3])
    with pytest.raises(ModelError, match="became shorter while it was read"):
        item.read()
