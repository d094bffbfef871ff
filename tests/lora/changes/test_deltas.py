"""Changes of weights written out: as the libraries that train them compute them."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from attn import lora
from attn.lora.changes.deltas import DELTAS, Strength, bias_delta, weight_delta
from attn.lora.changes.kinds import KINDS
from attn.lora.reader import tensors_of
from tests.helpers.models.lora_files import write

LYCORIS = load_file(Path(__file__).parents[1] / "data" / "lycoris.safetensors")
CASES = sorted({name.partition("|")[0] for name in LYCORIS})
STEM = "lora_unet_mid_block_attentions_0_proj_in"


def saved(case):
    """Return the tensors of a module as LyCORIS saves them."""
    start = f"{case}|part|"
    parts = {name: values for name, values in LYCORIS.items() if name.startswith(start)}
    return {f"{STEM}.{name.removeprefix(start)}": values for name, values in parts.items()}


def read_back(path):
    """Return the module of a file, and its tensors by role."""
    file = lora.read(path)
    (module,) = file.modules
    return module, tensors_of(file, None)[module.name]


@pytest.mark.parametrize("strength", [1, 0.5])
@pytest.mark.parametrize("case", CASES)
def test_the_weight_is_that_of_lycoris(case, strength, tmp_path):
    """What LyCORIS saves changes a weight as LyCORIS' own module does, up to rounding."""
    expected = LYCORIS.get(f"{case}|weight|{strength}")
    if expected is None:
        assert strength != 1
        return
    module, parts = read_back(write(tmp_path / "a.safetensors", saved(case)))
    base = LYCORIS[f"{case}|base"].astype(float)
    base = base.reshape(len(base), -1)
    change = weight_delta(module.kind, parts, Strength(module.scale, strength), base)
    np.testing.assert_allclose(base + change, expected.reshape(base.shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_norm_is_that_of_the_change(case, tmp_path):
    """With the base's weight, the norm is that of the change; of DoRA, of what it is made from."""
    path = write(tmp_path / "a.safetensors", saved(case))
    base, after = LYCORIS[f"{case}|base"], LYCORIS[f"{case}|weight|1"]
    name = "mid_block.attentions.0.proj_in.weight"
    model = write(tmp_path / "model.safetensors", {name: base, "conv_in.weight": np.ones((2, 2))})
    (module,) = lora.read(path, model).modules
    if not module.is_dora:
        assert module.norm == pytest.approx(np.linalg.norm(after - base), rel=1e-9)


def test_every_kind_is_applied_or_told():
    """A kind without a formula is one of those that are refused by name."""
    assert KINDS.keys() - DELTAS.keys() == {"peft_oft", "peft_boft"}
    assert DELTAS.keys() <= KINDS.keys()


@pytest.mark.parametrize("case", ["ia3", "glora", "oft", "boft-rescaled"])
def test_nothing_and_nan_show_without_a_weight(case, tmp_path):
    """A change that depends on the weight is known to be none, or broken, by its tensors alone."""
    tensors = {name: values for name, values in saved(case).items() if not name.endswith("alpha")}
    nothing = {
        name: np.full_like(values, float(name.endswith("rescale")))
        if not name.endswith("on_input")
        else values
        for name, values in tensors.items()
    }
    first = next(name for name in sorted(tensors, reverse=True) if not name.endswith("on_input"))
    broken = tensors | {first: np.full_like(tensors[first], np.nan)}
    files = [write(tmp_path / f"{n}.safetensors", t) for n, t in enumerate((nothing, broken))]
    assert [lora.read(file).reasons for file in files] == [
        (),
        ("1 module is broken by NaN or infinity",),
    ]
    assert lora.read(write(tmp_path / "a.safetensors", tensors)).loadable is not False


@pytest.mark.parametrize("case", ["ia3", "ia3-input", "oft", "boft"])
def test_the_sides_of_a_weight(case, tmp_path):
    """A weight of other rows or input channels than the tensors are for is none of theirs."""
    path = write(tmp_path / "a.safetensors", saved(case))
    base = np.ones((25, 11), np.float32)
    model = write(tmp_path / "m.safetensors", {"mid_block.attentions.0.proj_in.weight": base})
    read = lora.read(path, model)
    (reason,) = read.base.missing.values()
    assert reason.startswith("the weight has another shape (weight [25, 11], change [")


def test_a_bias_that_peft_multiplies(tmp_path):
    """Peft's (IA)³ of rows multiplies the layer's answer, and so the bias with the weight."""
    vector, bias = np.array([[2.0], [0.5], [1.0]], "f4"), np.array([3.0, 4.0, 5.0])
    tensors = {"base_model.model.proj_in.ia3_l": vector}
    module, parts = read_back(write(tmp_path / "a.safetensors", tensors))
    assert module.spelling == "peft"
    change = bias_delta(parts, Strength(1.0, 0.5), bias)
    np.testing.assert_array_equal(change, 0.5 * (vector.ravel() - 1) * bias)
