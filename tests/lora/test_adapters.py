"""Peft's configuration: alphas by regular expression, inside a file or beside it."""

import json
from hashlib import sha256

import numpy as np
import pytest

from attn import lora
from attn.errors import ModelError
from attn.lora.adapters import CONFIG, Adapter
from attn.lora.usable import completed
from attn.schema import Lora
from tests.helpers.models.lora_files import normal, pair, write

PATHS = ("down_blocks.0.attn2.to_k", "down_blocks.0.attn1.to_k", "mid_block.attn2.to_q", "xto_q")


@pytest.mark.parametrize(
    "pattern",
    [
        {"to_k": 3},
        {r".*attn2.*to_k": 3},
        {r"down_blocks\..*\.(to_q|to_k)": 3, "to_k": 5},
        {"to_k": 5, r"down_blocks\..*\.(to_q|to_k)": 3},
        {"attn.": 7, "attn..to_q": 2},
        {"^mid_block.*": 4},
    ],
)
def test_the_alpha_of_a_path_is_that_of_peft(pattern):
    """Of several keys the first that matches counts, by the rule of peft itself."""
    from peft.utils.other import get_pattern_key

    adapter = Adapter(1.0, pattern)
    expected = [pattern.get(get_pattern_key(pattern, path), 1.0) for path in PATHS]
    assert [adapter.alpha_of(path) for path in PATHS] == expected


@pytest.fixture
def save(tmp_path):
    """Write two peft modules and a configuration into a folder; return the folder."""
    rng = np.random.default_rng(61)

    def make(config, name="adapter_model.safetensors", **metadata):
        tensors = {}
        for path, rank in (("mid_block.attn1.to_q", 3), ("mid_block.attn2.to_k", 2)):
            stem = f"base_model.model.{path}"
            tensors[f"{stem}.lora_A.weight"] = normal(rng, rank, 7)
            tensors[f"{stem}.lora_B.weight"] = normal(rng, 11, rank)
        folder = tmp_path / "style"
        folder.mkdir(exist_ok=True)
        write(folder / name, tensors, **metadata)
        if config is not None:
            text = config if isinstance(config, str) else json.dumps(config)
            (folder / CONFIG).write_text(text, encoding="utf-8")
        return folder

    return make


GOOD = {"peft_type": "LORA", "lora_alpha": 6, "alpha_pattern": {".*attn2.*": 1}}


@pytest.mark.parametrize(
    ("extra", "scales"), [({}, [2.0, 0.5]), ({"use_rslora": True}, [6 / 3**0.5, 1 / 2**0.5])]
)
def test_the_folder_that_peft_saves(extra, scales, save):
    """A folder, and the file in it, have the strength that the configuration says."""
    folder = save(GOOD | extra)
    for path in (folder, folder / "adapter_model.safetensors"):
        read = lora.read(path)
        assert [module.scale for module in read.modules] == pytest.approx(scales)
        assert (read.reasons, read.path.name) == ((), "adapter_model.safetensors")
        assert read.config_sha256 == sha256((folder / CONFIG).read_bytes()).hexdigest()


def test_a_strength_that_is_nowhere(save):
    """Of peft's file without its configuration the scale is 1, and that is said."""
    read = lora.read(save(None))
    assert [module.scale for module in read.modules] == [1.0, 1.0]
    (odd,) = [odd for odd in read.oddities if odd.kind == "assumed_alpha"]
    assert odd.message.endswith(
        "peft keeps it in adapter_config.json, which is not beside the file"
    )


@pytest.mark.parametrize(
    "inside", ['{"unet.lora_alpha": "6"}', '{"text_encoder.lora_alpha": 6}', '{"lora_alpha": 6']
)
def test_a_strength_inside_that_cannot_be_read(inside, save):
    """Where a file's own configuration says nothing of a module, that its scale is 1 is said."""
    read = lora.read(save(None, lora_adapter_metadata=inside))
    assert [module.scale for module in read.modules] == [1.0, 1.0]
    (message,) = [odd.message for odd in read.oddities if odd.kind == "assumed_alpha"]
    assert message.endswith("the file's lora_adapter_metadata has none that is read for them")


def test_a_strength_of_its_own(tmp_path):
    """A tensor alpha is divided by the rank, whatever the configuration beside it stabilises."""
    tensors = pair(np.random.default_rng(71)).named("lora_unet_mid_block_attn1_to_q")
    write(tmp_path / "a.safetensors", tensors)
    before = lora.read(tmp_path).modules
    (tmp_path / CONFIG).write_text(json.dumps(GOOD | {"use_rslora": True}))
    assert lora.read(tmp_path).modules == before
    assert before[0].scale == before[0].alpha / before[0].rank != 1


def test_a_configuration_beside_other_names(tmp_path):
    """Peft's configuration acts on peft's names; beside others without alpha that is said."""
    rng = np.random.default_rng(67)
    tensors = pair(rng).named("lora_unet_mid_block_attn1_to_q")
    bare = {name: values for name, values in tensors.items() if not name.endswith(".alpha")}
    write(tmp_path / "a.safetensors", bare)
    (tmp_path / CONFIG).write_text(json.dumps(GOOD))
    read = lora.read(tmp_path)
    (message,) = [odd.message for odd in read.oddities if odd.kind == "assumed_alpha"]
    assert message.endswith("adapter_config.json beside the file is read for peft's names alone")


def test_whose_configuration_it_is(save):
    """A configuration belongs to peft's file, or else to the only one in the folder."""
    assert lora.read(save(GOOD, "renamed.safetensors")).modules[0].scale == 2
    folder = save(GOOD)
    assert lora.read(folder / "renamed.safetensors").config_sha256 is None
    assert lora.read(folder).modules[0].scale == 2


def test_what_the_file_itself_says_comes_first(save):
    """The configuration that diffusers writes into a file is its own, whatever lies beside it."""
    inside = json.dumps({"lora_alpha": 12})
    read = lora.read(save(GOOD, lora_adapter_metadata=inside))
    assert [module.scale for module in read.modules] == [4, 6]


BAD = {
    "no JSON": ("{", "is no JSON, so the LoRA's strength is unknown"),
    "no object": ("[]", "has no number for lora_alpha"),
    "no alpha": ({"peft_type": "LORA"}, "has no number for lora_alpha"),
    "another kind": (GOOD | {"peft_type": "VERA"}, "is of peft's kind 'VERA'; read are LORA, LOHA"),
    "no alpha of LoHa": ({"peft_type": "LOHA", "lora_alpha": 3}, "has no number for alpha, so"),
    "alpha as a text": (GOOD | {"alpha_pattern": {"to_k": "8"}}, "expected a number for each"),
    "no pairs": (GOOD | {"alpha_pattern": [["to_k", 8]]}, "is [['to_k', 8]]; expected a number"),
    "switch as a text": (GOOD | {"use_rslora": "true"}, "is 'true'; expected true or false"),
    "no pattern": (GOOD | {"alpha_pattern": {"(": 2}}, "'(', which is no regular expression"),
    "endless": (GOOD | {"alpha_pattern": {"(a+)+b": 2}}, "'(a+)+b', which is no regular"),
}


@pytest.mark.parametrize("name", BAD)
def test_configurations_that_are_refused(name, save):
    """A configuration that leaves the strength unknown is refused, with what is wrong."""
    config, message = BAD[name]
    with pytest.raises(ModelError) as caught:
        lora.read(save(config))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "extra",
    [{"init_lora_weights": "pissa_niter_4"}, {"layer_replication": [[0, 4]]}, {"use_dora": True}],
)
def test_what_a_configuration_asks_for_beyond_a_lora(extra, save):
    """A way of training that changes the base too cannot be applied, and is named."""
    (reason,) = lora.read(save(GOOD | extra)).reasons
    (name,) = extra
    assert reason.startswith(f"2 modules are configured with {name}")


def test_a_configuration_is_part_of_what_is_drawn_with(save):
    """Its digest is recorded, and another one in its place is another LoRA."""
    folder = save(GOOD)
    (known,) = completed([Lora(str(folder))], ["sdxl"])
    assert known.config_sha256 == lora.read(folder).config_sha256
    save(GOOD | {"lora_alpha": 60}, "other.txt")
    with pytest.raises(ModelError, match=r"adapter_config.json of .*style was replaced: its SHA"):
        completed([known], ["sdxl"])


def test_folders_that_are_no_lora(tmp_path, save):
    """A folder without a LoRA, or with several, is refused with what is in it."""
    with pytest.raises(ModelError, match=r"expected adapter_model.safetensors or pytorch_lora_we"):
        lora.read(tmp_path)
    (tmp_path / "adapter_model.bin").touch()
    with pytest.raises(ModelError, match=r"adapter_model.bin is pickled, which is not read: save"):
        lora.read(tmp_path)
    folder = save(None, "a.safetensors")
    save(None, "b.safetensors")
    with pytest.raises(ModelError, match=r"holds 2 files that may be .*a.safetensors, b.safetens"):
        lora.read(folder)
    assert lora.read(save(None, "pytorch_lora_weights.safetensors")).path.stem.endswith("weights")
