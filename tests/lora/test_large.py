"""What a LoRA file claims of its sizes does not fill the memory."""

import json
import math
import re

import pytest

from attn import lora
from attn.checkpoints.headers import read_header
from attn.lora.changes.tensors import SizeError, Stored

NAME = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


def sparse_file(path, shapes):
    """Write a file of a few KB on the disk, of zeros in float16, whatever the shapes claim."""
    entries, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        entries[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def factors(shapes, name=NAME):
    """Return shapes by the names that tensors of these roles have in a file."""
    return {f"{name}.{role}": shape for role, shape in shapes.items()}


@pytest.fixture
def sparse(tmp_path):
    """A file one of whose factors would take half a gigabyte."""
    shapes = {"lora_down.weight": [8191, 8192], "lora_up.weight": [7, 8191]}
    return sparse_file(tmp_path / "sparse.safetensors", factors(shapes))


def test_norm_of_a_large_factor_is_unknown(sparse):
    """The module is told, with why its norm is not."""
    file = lora.read(sparse)
    (module,) = file.modules
    assert (module.norm, module.problem, file.obstacles) == (None, None, {})
    why = "needs all of a tensor of shape [8191, 8192]; at most 16777216 numbers are read at once"
    assert module.unmeasured == why
    assert [(odd.kind, odd.message) for odd in file.oddities] == [
        ("unmeasured", f"norm not computed, which {why}")
    ]


def test_large_tensors_are_not_read_at_once(sparse):
    """Whoever reads one gets an expected error."""
    info = read_header(sparse).tensors[f"{NAME}.lora_down.weight"]
    with pytest.raises(SizeError):
        Stored(sparse, info).read()


LABOURS = {
    "product": (
        {"lora_down.weight": [4093, 4091], "lora_up.weight": [4079, 4093]},
        4093 * 4079 * 4091,
    ),
    "the other rank of a core": (
        {"lora_down.weight": [3, 5], "lora_mid.weight": [99991, 3, 7, 1],
         "lora_up.weight": [2, 99991]},
        99991**2 * 5,
    ),
    "the second rank of two": (
        {"hada_w1_a": [2039, 2], "hada_w1_b": [2, 2029], "hada_w2_a": [2039, 8191],
         "hada_w2_b": [8191, 2029]},
        2 * 8191 * 2039 * 2029,
    ),
    "a factor of Kronecker's": (
        {"lokr_w1": [2, 3], "lokr_w2_a": [2897, 4093], "lokr_w2_b": [4093, 2903]},
        4093 * 2897 * 2903,
    ),
}  # fmt: skip
"""Shapes whose norms take long, and the multiplications that each at least takes."""


@pytest.mark.parametrize("case", LABOURS)
def test_norm_that_takes_long_is_unknown(tmp_path, case):
    """However a file claims much work, the norm is left out and told; the file stays of use."""
    shapes, least = LABOURS[case]
    file = lora.read(sparse_file(tmp_path / "a.safetensors", factors(shapes)))
    (module,) = file.modules
    assert (module.norm, module.problem, file.obstacles) == (None, None, {})
    assert [(odd.kind, odd.names) for odd in file.oddities] == [("unmeasured", (NAME,))]
    result = re.fullmatch(
        r"takes (.*) multiplications; at most 1.7e\+10 are made", module.unmeasured
    )
    assert float(result[1]) > 0.95 * least > 2**34


def test_work_of_a_file_is_bounded(tmp_path, monkeypatch):
    """Many modules of little work each are measured until that of the file is done."""
    shapes = {"lora_down.weight": [2, 7], "lora_up.weight": [5, 2]}  # 2 * 2 * (5 + 7) each
    names = [NAME.replace("blocks_0", f"blocks_{number}", 1) for number in range(3)]
    entries = {key: shape for name in names for key, shape in factors(shapes, name).items()}
    monkeypatch.setattr("attn.lora.reader.MOST_WORK_OF_FILE", 2 * 48 + 47)
    modules = lora.read(sparse_file(tmp_path / "a.safetensors", entries)).modules
    assert [(module.norm, module.unmeasured) for module in modules] == [
        (0.0, None),
        (0.0, None),
        (
            None,
            "takes, with those before it, more than 1.4e+02 multiplications, the "
            "most that are made for a file",
        ),
    ]
