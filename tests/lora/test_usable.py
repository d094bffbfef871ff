"""Which LoRA files are taken, which are refused by what they hold, and how often they are read."""

import os
import re

import numpy as np
import pytest

from attn.errors import ModelError
from attn.lora import read
from attn.lora import usable as module
from attn.lora.oddities import TOLD
from attn.lora.usable import completed, usable
from attn.schema import Lora
from tests.helpers.models import lora_files
from tests.helpers.models.lora_files import ATTENTION, KOHYA, write

SDXL = KOHYA.format(2, "to_k")
"""A module that reads as many channels as SDXL's text encoders give."""


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def sdxl(rng):
    """Return a good module of SDXL."""
    down, up = lora_files.normal(rng, 5, 2048), lora_files.normal(rng, 13, 5)
    return {f"{SDXL}.lora_down.weight": down, f"{SDXL}.lora_up.weight": up}


def test_completed(rng, tmp_path):
    """LoRAs come back with the hashes of their files, in one order whatever the argument's."""
    paths = [write(tmp_path / f"{name}.safetensors", sdxl(rng)) for name in "abc"]
    loras = [Lora(str(path), scale) for path in paths for scale in (2.0, 0.5)]
    result = completed(loras, ["sdxl"])
    assert result == completed(loras[::-1], ["sdxl"])
    assert {(item.path, item.scale) for item in result} == {
        (item.path, item.scale) for item in loras
    }
    assert [item.sha256 for item in result] == sorted(
        usable(item, ["sdxl"]).sha256 for item in loras
    )


def test_read_once(rng, tmp_path, monkeypatch):
    """A file is read once for many requests, and again when it has changed."""
    path, count = tmp_path / "a.safetensors", []
    read = module.read
    monkeypatch.setattr(module, "read", lambda path, **own: count.append(path) or read(path, **own))
    write(path, sdxl(rng))
    for _ in range(3):
        usable(Lora(str(path)), ["sdxl"])
    assert len(count) == 1
    was = completed([Lora(str(path))], ["sdxl"])
    write(path, sdxl(rng))
    os.utime(path, ns=(0, 0))
    with pytest.raises(ModelError, match="was replaced: its SHA-256 was"):
        completed(was, ["sdxl"])
    assert len(count) == 2


def spoilt(tensors, role, values):
    """Return tensors of which one is another."""
    return tensors | {f"{SDXL}.lora_{role}.weight": values}


BAD = {
    "ia3": (
        lambda rng: {f"unet.{ATTENTION.format(1, 'to_q')}.ia3_l": lora_files.normal(rng, 1, 2, 1)},
        "this LoRA cannot be applied: 1 module is damaged: unet.down_",
    ),
    "oft": (
        lambda rng: (
            sdxl(rng) | {f"unet.{ATTENTION.format(1, 'to_q')}.boft_s": lora_files.normal(rng, 3, 1)}
        ),
        "this LoRA cannot be applied: 1 module is peft's BOFT, which is not applied: how far it ",
    ),
    "unread": (
        lambda rng: sdxl(rng) | {f"{SDXL}.rescale": np.ones((13, 1), np.float32)},
        r"1 module is LoRA with tensors that its formula does not read \(rescale\): lora_unet_",
    ),
    "half": (
        lambda rng: (
            sdxl(rng) | {f"{KOHYA.format(2, 'to_v')}.lora_up.weight": np.ones((13, 5), "f4")}
        ),
        "1 module is damaged: lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_v",
    ),
    "bias": (
        lambda rng: sdxl(rng) | {f"{SDXL}.diff_b": lora_files.normal(rng, 12)},
        "cannot be applied: 1 module is damaged: lora_unet_down_blocks_1_attentions_0_transformer",
    ),
    "dora": (
        lambda rng: {
            f"unet.{ATTENTION.format(2, 'to_k')}.lora_A.weight": lora_files.normal(rng, 5, 2048),
            f"unet.{ATTENTION.format(2, 'to_k')}.lora_B.weight": lora_files.normal(rng, 13, 5),
            f"unet.{ATTENTION.format(2, 'to_k')}.lora_B.bias": lora_files.normal(rng, 13),
            f"unet.{ATTENTION.format(2, 'to_k')}.lora_magnitude_vector": lora_files.normal(rng, 13),
        },
        "1 module is DoRA with a bias of its second factor, which peft does not have: unet.down_",
    ),
    "nan": (
        lambda rng: spoilt(sdxl(rng), "up", np.full((13, 5), np.nan, np.float32)),
        "cannot be applied: 1 module is broken by NaN or infinity: lora_unet_down_blocks_1_",
    ),
    "sd15": (
        lambda rng: {
            f"{SDXL}.lora_down.weight": lora_files.normal(rng, 5, 768),
            f"{SDXL}.lora_up.weight": lora_files.normal(rng, 13, 5),
        },
        r"this LoRA is for Stable Diffusion 1.x \('sd15'\), since cross-attention reads 768 ",
    ),
    "flux": (
        lambda rng: lora_files.pair(rng).named("transformer.single_transformer_blocks.3.proj_out"),
        r"this LoRA is for FLUX.1 \('flux'\), since blocks of two streams.*is of the family "
        r"'sdxl': choose a model of its family \(--backend flux\)",
    ),
    "a model": (lambda rng: {"unet.conv_in.weight": np.ones((3, 2), "f4")}, "holds no LoRA"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name, rng, tmp_path):
    """What cannot be applied, is broken, of another family or no LoRA is refused by name."""
    make, message = BAD[name]
    path = write(tmp_path / "a.safetensors", make(rng))
    with pytest.raises(ModelError, match=message) as caught:
        usable(Lora(str(path)), ["sdxl"])
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", [name for name in BAD if name not in ("sd15", "flux", "a model")])
def test_loadable_is_usable(name, rng, tmp_path):
    """What `--lora` refuses whatever the model, `attn lora` calls not loadable, for one reason."""
    path = write(tmp_path / "a.safetensors", BAD[name][0](rng))
    file = read(path)
    assert not file.loadable
    with pytest.raises(ModelError, match=re.escape(f"cannot be applied: {file.reasons[0]}")):
        usable(Lora(str(path)), ["sdxl"])


def test_cut_short(rng, tmp_path):
    """Half a download, and a file that is not there, are said to be that."""
    path = write(tmp_path / "a.safetensors", sdxl(rng))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"a.safetensors: .*download or copy it again"):
        usable(Lora(str(path)), ["sdxl"])
    with pytest.raises(ModelError, match=r"cannot read .*b.safetensors: the file or its folder"):
        usable(Lora(str(tmp_path / "b.safetensors")), ["sdxl"])


def test_a_family_that_cannot_be_told(rng, tmp_path):
    """A LoRA of unknown family is refused for none: whether it fits is left to the model."""
    path = write(tmp_path / "a.safetensors", lora_files.pair(rng).named(KOHYA.format(1, "to_q")))
    for model in ("sd15", "sdxl", "sd35"):
        file = usable(Lora(str(path)), [model])
        assert (file.family.name, file.family.is_certain) == (None, False)
        assert len(file.modules) == 1


def test_zeros_change_nothing(tmp_path):
    """A LoRA of zeros is one, that changes nothing, which whoever draws with it is told."""
    tensors = spoilt(sdxl(np.random.default_rng(2)), "up", np.zeros((13, 5), np.float32))
    file = usable(Lora(str(write(tmp_path / "a.safetensors", tensors))), ("sdxl",))
    told = [odd.message for odd in file.oddities if odd.kind in TOLD]
    assert told == ["nothing is changed: all modules are zero, as before training"]
