"""Where a LoRA's modules are in a model: one weight, three, or none, with the reason."""

from pathlib import Path

import numpy as np
import pytest

from attn import lora
from attn.errors import ModelError
from attn.lora.base.fit import applied, fit, require_fit
from attn.lora.base.weights import describe_base
from attn.schema import Lora
from tests.helpers.models.lora_files import normal, write

WIDTH, RANK = 7, 3
STREAM = "transformer_blocks.0.attn"
JOINT = "lora_unet_joint_blocks_0_x_block_"
PROJECTIONS = ("to_q", "to_k", "to_v", "add_k_proj", "add_q_proj", "add_v_proj", "to_out.0")
BASE = describe_base(
    Path(), {"denoiser": {f"{STREAM}.{name}": (WIDTH, WIDTH) for name in PROJECTIONS}}
)


@pytest.fixture
def read(tmp_path):
    """Read a LoRA of modules given as stem: rows, with further tensors."""
    rng = np.random.default_rng(13)

    def make(modules, **others):
        tensors = {name: np.ones(2) for name in others}
        for stem, rows in modules.items():
            tensors[f"{stem}.lora_down.weight"] = normal(rng, RANK, WIDTH)
            tensors[f"{stem}.lora_up.weight"] = normal(rng, rows, RANK)
        return lora.read(write(tmp_path / "a.safetensors", tensors))

    return make


def test_one_module_of_three_weights(read):
    """Query, key and value in one module are three weights of the model, in this order."""
    result = fit(read({f"{JOINT}attn_qkv": 3 * WIDTH, f"{JOINT}attn_proj": WIDTH}), BASE)
    assert {index.paths for _, index in result.placed} == {
        tuple(f"{STREAM}.{name}" for name in ("to_q", "to_k", "to_v")),
        (f"{STREAM}.to_out.0",),
    }
    assert (result.misfits, result.unfit, result.total) == ((), 0, 4)
    assert require_fit(read({f"{JOINT}attn_qkv": 3 * WIDTH}), BASE, ["sd35"]) is None


def test_one_weight_under_two_names(read):
    """A weight is changed once: what would change it again is a misfit, not a sum."""
    modules = {f"{JOINT}attn_qkv": 3 * WIDTH, f"unet.{STREAM}.to_k": WIDTH}
    result = fit(read(modules), BASE)
    assert len(result.placed) == 1
    (misfit,) = result.misfits
    assert misfit.endswith(" (another name for what is changed already)")


def test_towers_that_are_not_there(read):
    """A text encoder that the model lacks is a misfit with its reason."""
    file = read({f"{JOINT}attn_proj": WIDTH, "lora_te1_layers_0_q_proj": WIDTH})
    result = fit(file, BASE)
    assert result.misfits == ("lora_te1_layers_0_q_proj (the model has no text_encoder)",)


def test_half_may_be_unknown(read):
    """Up to half of the tensors are warned of, more are refused, with the first names."""
    good = {f"{JOINT}attn_proj": WIDTH}
    file = read(good, x=1, y=1)
    warning = require_fit(file, BASE, ["sd35"])
    assert warning == f"{file.path}: 2 of its 4 tensors fit nothing: x, y; they are left out"
    file = read(good, x=1, y=1, z=1, zz=1)
    with pytest.raises(ModelError, match="4 of its 6 tensors fit nothing: x, y, z and 1 more"):
        require_fit(file, BASE, ["sd35"])


def test_applied(read):
    """What acts on a model is what fits it, each weight once, at the scale that was asked for."""
    stems = {f"{JOINT}attn_proj": WIDTH, f"unet.{STREAM}.to_out.0": WIDTH, "lora_unet_no": WIDTH}
    file = read(stems | {f"unet.{STREAM}.to_k": WIDTH + 1})
    (module,) = applied(file, BASE, Lora("", -0.5)).modules
    (before,) = (item for item in file.modules if item.name == module.name)
    assert (module.base_path, module.norm) == (f"{STREAM}.to_out.0", 0.5 * before.norm)
    assert before.norm > 0


def test_applied_by_part(read):
    """A scale of a part takes the place of the scale for all."""
    lora_by_part = Lora("", 5.0, parts=(("denoiser", -0.5),))
    file = read({f"{JOINT}attn_proj": WIDTH})
    (module,), (before,) = applied(file, BASE, lora_by_part).modules, file.modules
    assert (module.norm, module.scale) == (0.5 * before.norm, -0.5)


def unet(width):
    """Describe a UNet whose cross-attention reads so many channels."""
    stem = "down_blocks.1.attentions.0.transformer_blocks.0.attn{}.to_k"
    return describe_base(Path(), {"denoiser": {stem.format(1): (7, 7), stem.format(2): (7, width)}})


STEM = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn{}_to_k"


def unet_lora(tmp_path, width, **others):
    """Write and read a LoRA of both attentions of such a UNet."""
    tensors = {name: np.ones(2) for name in others}
    for number, columns in ((1, 7), (2, width)):
        stem = STEM.format(number)
        tensors[f"{stem}.lora_down.weight"] = np.ones((3, columns), np.float32)
        tensors[f"{stem}.lora_up.weight"] = np.ones((7, 3), np.float32)
    return lora.read(write(tmp_path / "a.safetensors", tensors))


def test_the_family_is_read_from_the_model(tmp_path):
    """Of two families that one backend opens, the model says which; half a fit does not count."""
    file = unet_lora(tmp_path, 1024)
    assert require_fit(file, unet(1024), ["sd15", "sd2"]) is None
    with pytest.raises(ModelError, match=r"for Stable Diffusion 2.x.*of the family 'sd15'"):
        require_fit(file, unet(768), ["sd15", "sd2"])


def test_what_fits_whole_is_of_the_family(tmp_path):
    """Where every tensor fits, no guess at the family keeps a LoRA from the model."""
    file = unet_lora(tmp_path, 768)
    assert require_fit(file, unet(768), ["sdxl"]) is None
    file = unet_lora(tmp_path, 768, x=1)
    assert "1 of its 5 tensors fit nothing: x" in require_fit(file, unet(768), ["sdxl"])
