"""What a LoRA file claims of its sizes does not fill the memory."""

import json

import pytest

from attn import lora
from attn.checkpoints.headers import read_header
from attn.lora.tensors import SizeError, Stored

NAME = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture
def sparse(tmp_path):
    """A file of a few KB on the disk, one of whose factors would take half a gigabyte."""
    entries, end = {}, 0
    for role, shape in {"lora_down": [8191, 8192], "lora_up": [7, 8191]}.items():
        size = 2 * shape[0] * shape[1]
        places = [end, end + size]
        entries[f"{NAME}.{role}.weight"] = {"dtype": "F16", "shape": shape, "data_offsets": places}
        end += size
    text = json.dumps(entries).encode()
    path = tmp_path / "sparse.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def test_norm_of_a_large_factor_is_unknown(sparse):
    """The module is told, with why its norm is not."""
    (module,) = lora.read(sparse).modules
    assert module.norm is None
    assert module.problem == "a tensor of shape [8191, 8192] is too large to be read at once"


def test_large_tensors_are_not_read_at_once(sparse):
    """Whoever reads one gets an expected error."""
    info = read_header(sparse).tensors[f"{NAME}.lora_down.weight"]
    with pytest.raises(SizeError):
        Stored(sparse, info).read()
