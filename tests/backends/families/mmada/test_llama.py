"""Checkpoints of LLaDA and MMaDA become transformers' Llama, or are refused by name."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from attn.backends import find, load
from attn.backends.families.mmada import llama
from attn.backends.types import Placement
from attn.cli import build
from attn.demo import language
from attn.errors import ModelError
from tests.helpers.toy_sessions import shared_session

NORM = "model.transformer.blocks.0.attn_norm.weight"
IDS = [[3, 251, 17, 900, 44, 101, 7]]


def open_folder(folder, **options):
    """Open a folder on the CPU."""
    family = load(find("mmada"))
    weights = options.pop("weights", True)
    return family.open(folder, family.Options(**options), Placement("cpu", weights=weights))


def refusal(folder, **options):
    """Return what opening is refused with, the folder written as FOLDER."""
    with pytest.raises(ModelError) as error:
        open_folder(folder, **options)
    return str(error.value).replace(str(folder), "FOLDER")


def edit_config(folder, **changes):
    """Change entries of config.json; None takes one away."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(
        json.dumps({name: value for name, value in config.items() if value is not None})
    )


def edit_shard(folder, change):
    """Change the tensors of the file that holds the first block's norm."""
    held = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    path = folder / held[NORM]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def weights_of(folder):
    """Return all weights in float64, by their names without the common prefix."""
    tensors = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path)
    return {
        name.removeprefix("model.transformer.").removesuffix(".weight"): tensor.astype(np.float64)
        for name, tensor in tensors.items()
    }


def norm(states, gain):
    """RMS norm."""
    return states / np.sqrt((states**2).mean(-1, keepdims=True) + 1e-5) * gain


def rotate(states, theta):
    """Turn pairs of channels, half a head apart, by the angles of their position."""
    positions, channels = states.shape[-2:]
    speeds = theta ** (-np.arange(0, channels, 2) / channels)
    angles = np.outer(np.arange(positions), speeds)
    angles = np.concatenate([angles, angles], -1)
    left, right = np.split(states, 2, -1)
    return states * np.cos(angles) + np.concatenate([-right, left], -1) * np.sin(angles)


def plain_block(states, weights, heads, theta):
    """Run one block of LLaDA: bidirectional attention, then a gated network, both residual."""
    normed = norm(states, weights["attn_norm"])
    query, key, value = (
        (normed @ weights[name].T).reshape(len(states), heads, -1).swapaxes(0, 1)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    logits = rotate(query, theta) @ rotate(key, theta).swapaxes(1, 2) / np.sqrt(query.shape[-1])
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    mixed = probs / probs.sum(-1, keepdims=True) @ value
    states = states + mixed.swapaxes(0, 1).reshape(len(states), -1) @ weights["attn_out"].T
    normed = norm(states, weights["ff_norm"])
    gate = normed @ weights["ff_proj"].T
    inner = gate / (1 + np.exp(-gate)) * (normed @ weights["up_proj"].T)
    return states + inner @ weights["ff_out"].T


def plain_logits(folder, ids):
    """Run the whole model in float64, from its description alone."""
    config, weights = json.loads((folder / "config.json").read_text()), weights_of(folder)
    states = weights["wte"][ids]
    for block in range(config["n_layers"]):
        prefix = f"blocks.{block}."
        own = {name.removeprefix(prefix): weights[name] for name in weights if prefix in name}
        states = plain_block(states, own, config["n_heads"], config["rope_theta"])
    return norm(states, weights["ln_f"]) @ weights["ff_out"].T


def test_logits(demo_cache):
    """The model computes what LLaDA's description says, to 1e-5 of the largest logit.

    Every position reads all.
    """
    from attn import demo

    model = shared_session("mmada").model
    with torch.inference_mode():
        logits = model(torch.tensor(IDS)).logits[0].numpy()
    expected = plain_logits(demo.checkpoint("mmada"), IDS[0])
    assert np.abs(expected).max() > 1
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("prefix", ["transformer.", "model.transformer."])
def test_names(prefix):
    """Every weight of a checkpoint has its place, with the outer prefix or without."""
    names = [name.replace("model.transformer.", prefix) for name in language.shapes()]
    renamed = [llama.rename(name) for name in names]
    assert None not in renamed
    assert len(set(renamed)) == len(names)
    assert llama.rename(f"{prefix}blocks.3.ff_out.weight") == "model.layers.3.mlp.down_proj.weight"
    assert llama.rename(f"{prefix}ff_out.weight") == "lm_head.weight"
    assert llama.rename("lm_head.weight") is None


def test_one_file_is_the_same_model(copied):
    """The same weights in one file, under names without the outer prefix, give the same logits."""
    folder = copied("mmada")
    tensors = {}
    for path in folder.glob("*.safetensors*"):
        if path.suffix == ".safetensors":
            tensors |= load_file(path)
        path.unlink()
    save_file(
        {name.removeprefix("model."): tensor for name, tensor in tensors.items()},
        folder / "model.safetensors",
    )
    models = [open_folder(folder).model, shared_session("mmada").model]
    with torch.inference_mode():
        assert torch.equal(*(model(torch.tensor(IDS)).logits for model in models))


def test_tied_weights(copied):
    """A checkpoint that ties its output to its input has no output matrix."""
    folder = copied("mmada")
    edit_config(folder, weight_tying=True)
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        if tensors.pop("model.transformer.ff_out.weight", None) is not None:
            save_file(tensors, path)
    model = open_folder(folder).model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not model.lm_head.weight.is_meta


UNSUPPORTED = {
    "alibi": True,
    "include_bias": True,
    "include_qkv_bias": True,
    "layer_norm_type": "default",
    "attention_layer_norm": True,
    "block_group_size": 2,
    "scale_logits": True,
    "input_emb_norm": True,
    "rope": False,
    "activation_type": "swiglu",
    "clip_qkv": 8.0,
}


@pytest.mark.parametrize("setting", UNSUPPORTED)
def test_unsupported(setting, copied):
    """What is no Llama is refused by the setting's name, before a weight is read."""
    folder = copied("mmada")
    edit_config(folder, **{setting: UNSUPPORTED[setting]})
    message = refusal(folder, weights=False)
    assert message.startswith(
        f"FOLDER/config.json: {setting} is {json.dumps(UNSUPPORTED[setting])}"
    )


def test_a_silent_config_is_no_llama(copied):
    """What config.json leaves out has LLaDA's own default, which is not what we support."""
    folder = copied("mmada")
    edit_config(folder, rope=None)
    assert "rope is false; only true is supported" in refusal(folder, weights=False)


def test_other_architectures(copied):
    """The configuration of another model is said to be one."""
    folder = copied("mmada")
    (folder / "config.json").write_text('{"model_type": "Dream", "hidden_size": 64}')
    assert refusal(folder) == (
        "FOLDER holds a model of type 'Dream', for which no backend is built in; see `attn "
        "backends` for those that are installed, or load it yourself to record it: with "
        "attn.tap(model, '*.self_attn') as tapped: model(…)"
    )
    (folder / "config.json").write_text('{"model_type": "llada", "hidden_size": 64}')
    message = refusal(folder)
    assert message.startswith("FOLDER/config.json is not the configuration of a model of MMaDA or ")
    (folder / "config.json").unlink()
    assert "it has no config.json; give the folder" in refusal(folder)


def test_missing_shard(copied):
    """A file that the index lists and that is not there is named."""
    folder = copied("mmada")
    shards = sorted(folder.glob("*.safetensors"))
    shards[1].unlink()
    assert refusal(folder) == (
        f"FOLDER lacks 1 of the {len(shards)} files that model.safetensors.index.json lists: "
        f"{shards[1].name}; download them into the folder"
    )


def test_no_weights(copied):
    """Weights that are not there, or only pickled, are never random numbers."""
    folder = copied("mmada")
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    assert refusal(folder) == "FOLDER has no weights: expected a .safetensors file"
    (folder / "pytorch_model.bin").touch()
    assert "pickled files only (.bin), which could run any code" in refusal(folder)


def test_misfits(copied):
    """Weights that are missing, unexpected or of another shape are counted and named."""
    folder = copied("mmada")

    def change(tensors):
        tensors[f"{NORM}s"] = tensors.pop(NORM)
        other = sorted(name for name in tensors if "_proj" in name)[0]
        tensors[other] = tensors[other][:5]

    edit_shard(folder, change)
    message = refusal(folder)
    assert message.startswith("the weights in FOLDER do not fit its config.json: 1 missing (")
    assert "1 unexpected (" in message
    assert "1 of another shape (" in message


@pytest.mark.usefixtures("offline")
def test_no_network(copied):
    """A folder is opened without one attempt to reach the network."""
    open_folder(copied("mmada"))


def test_identity(copied):
    """The manifest can say which bytes ran."""
    folder = copied("mmada")
    first = open_folder(folder).info.identity()
    assert set(first) == {"sha256"}
    edit_shard(folder, lambda tensors: tensors.update({n: t * 2 for n, t in tensors.items()}))
    assert open_folder(folder).info.identity() != first


def test_full_size(copied, tmp_path, monkeypatch):
    """LLaDA-8B can be planned from its configuration and tokenizer alone, by --dry-run too."""
    monkeypatch.chdir(tmp_path)
    folder = copied("mmada")
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    edit_config(
        folder,
        d_model=4096,
        n_heads=32,
        n_kv_heads=32,
        n_layers=32,
        mlp_hidden_size=12288,
        vocab_size=126464,
        embedding_size=126464,
        rope_theta=500000.0,
    )
    session = open_folder(folder, weights=False)
    assert session.info.parameters == 8_015_581_184
    arguments = ["capture", "-b", "llada", "-m", str(folder), "-p", "a red cat", "--dry-run"]
    done = CliRunner().invoke(build(), arguments)
    assert done.exit_code == 0, done.stderr
    assert "1 trace of 128 steps, 1 sample, branch cond" in done.stdout
    assert "  31  model.layers.31.self_attn  self, 32 heads, grid -, 141 keys" in done.stdout
    assert "one trace: 395.7 MB; in all 395.7 MB" in done.stdout
    assert not (tmp_path / "attn-runs").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"n_heads": 3, "d_model": 128}, "n_heads is 3 and d_model 128; expected d_model to be"),
        (
            {"n_heads": 4, "n_kv_heads": 3},
            "n_kv_heads is 3 and n_heads 4; expected n_heads to be a multiple",
        ),
        ({"d_model": -1}, "Expected `int` >= 1 - at `$.d_model`"),
        ({"n_heads": -4}, "Expected `int` >= 1 - at `$.n_heads`"),
        ({"mask_token_id": -1}, "Expected `int` >= 0 - at `$.mask_token_id`"),
    ],
)
def test_impossible_sizes(changes, expected, copied):
    """Sizes that no model can have are refused by file and key."""
    folder = copied("mmada")
    edit_config(folder, **changes)
    message = refusal(folder, weights=False)
    assert message.startswith("FOLDER/config.json") and expected in message
