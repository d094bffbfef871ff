"""Parts and tokenizers: where they may lie, and what is said when they do not."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from attn import demo
from attn.backends import find, load
from attn.errors import UsageError
from attn.schema import Request
from tests.helpers.models.opening import SMALL, opening, picture, refusal


def test_part_as_model(saved):
    """A part alone is no model."""
    path = saved("sdxl", "parts")[2]["vae"]
    assert refusal("sdxl", path) == (
        f"{path}: this is a VAE of 4 latent channels, as SD1.x and SDXL have; it cannot draw "
        "alone; give a model as --model, and this beside it as vae"
    )


def test_missing_parts(saved):
    """What is missing is listed with the options that give it."""
    path = saved("sd35", "parts")[2]["dit"]
    assert refusal("sd35", path) == (
        f"{path} is not a whole model: dit found, vae, clip_l, clip_g missing; give what is "
        "missing, each a .safetensors file or a folder: --set vae=PATH --set clip_l=PATH "
        "--set clip_g=PATH"
    )


def test_no_denoiser():
    """Parts without the denoiser name no model."""
    with pytest.raises(UsageError) as error:
        opening("sd35", vae="a.safetensors", clip_l="b.safetensors")
    assert str(error.value) == (
        "vae, clip_l of which model? give it with --model, or its denoiser with --set dit=PATH"
    )
    family = load(find("sd35"))
    assert family.default_model(family.Options()) == "demo"


@pytest.mark.parametrize("option", ["unet", "vae", "clip_l", "clip_g"])
def test_pickled_part(tmp_path, option):
    """A pickled file is refused as a part too."""
    path = tmp_path / "part.CKPT"
    path.touch()
    assert refusal("sdxl", "demo", **{option: str(path)}).startswith(f"{path} is a pickled ")


def test_wrong_places(saved, tmp_path, demo_cache):
    """A path that does not lead to the part says so."""
    parts = saved("sdxl", "parts")[2]
    nowhere = tmp_path / "nowhere"
    assert refusal("sdxl", "demo", vae=str(nowhere)) == (
        f"vae={nowhere}: there is no such file or folder"
    )
    for option in ("config", "tokenizers"):
        assert refusal("sdxl", "demo", **{option: str(nowhere)}) == (
            f"{option}={nowhere}: there is no such folder"
        )
    assert refusal("sdxl", "demo", vae=parts["clip_g"]).endswith(
        "; it holds no vae that is known here"
    )
    assert refusal("sdxl", "demo", vae=str(tmp_path)) == (
        f"vae={tmp_path}: expected the folder of a part (with config.json), or of a whole model "
        "(with model_index.json) that has this part"
    )
    assert refusal("sdxl", "demo", vae=str(saved("sd15", "file")[1])).endswith(
        "; its VAE scales latents otherwise than sdxl does"
    )
    assert refusal("sdxl", "demo", unet=str(saved("sd15", "file")[1])).endswith(
        "; use --backend sd15"
    )


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_damaged_folder(copied, part):
    """Weights in a folder are looked into before a library opens them."""
    folder = copied("sdxl")
    (path,) = (folder / part).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    message = refusal("sdxl", folder)
    assert message.startswith(f"{path}: the file is cut short: ")


def test_loaded_pipeline(toys):
    """A pipeline that is loaded already takes no other parts."""
    assert refusal("sdxl", toys("sdxl"), vae="vae.safetensors", config="x") == (
        "this pipeline is loaded already; take away the options vae, config"
    )


def without_t5(folder):
    """Take T5 out of a diffusers folder."""
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    index |= {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    path.write_text(json.dumps(index))
    return folder


def test_without_t5(saved, copied):
    """Without T5 its positions are zero, said so, and the same from every layout."""
    folder = opening("sd35", without_t5(copied("sd35")))
    _, _, settings = saved("sd35", "parts")
    settings = {name: value for name, value in settings.items() if name != "t5xxl"}
    parts = opening("sd35", **settings)
    assert (
        parts.warnings
        == folder.warnings
        == ("there is no T5 text encoder: its 256 positions are zero; --set t5xxl=PATH gives it",)
    )
    assert np.array_equal(picture(parts), picture(folder))
    request = parts.complete(Request("a red cat", **SMALL))
    assert parts.sequence(request, "cond") == folder.sequence(request, "cond")
    assert opening("sd35", weights=False, **settings).warnings == parts.warnings


def test_t5_for_a_folder_without(saved, copied, opened):
    """T5 from a file completes a folder that has none; its tokenizer is found where it is."""
    folder = without_t5(copied("sd35"))
    t5 = saved("sd35", "parts")[2]["t5xxl"]
    settings = {"t5xxl": t5, "config": str(demo.checkpoint("sd35"))}
    assert np.array_equal(picture(opening("sd35", folder, **settings)), picture(opened("sd35")))


@pytest.fixture
def bare(saved, tmp_path):
    """Copy a file and its configuration, without tokenizers, to places of their own."""

    def copy(name):
        _, path, settings = saved(name, "file")
        ignored = shutil.ignore_patterns("*.safetensors", "tokenizer*")
        config = shutil.copytree(settings["config"], tmp_path / "config", ignore=ignored)
        (tmp_path / "models").mkdir()
        return shutil.copy(path, tmp_path / "models"), {"config": str(config)}

    return copy


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """Let the hub's cache be an empty folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def copy_tokenizers(name, target):
    """Copy the tokenizers of a demo model."""
    for folder in demo.checkpoint(name).glob("tokenizer*"):
        shutil.copytree(folder, target / folder.name)
    return target


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd35"])
def test_tokenizers_of_the_user(bare, no_cache, tmp_path, opened, name):
    """Tokenizers are taken from `tokenizers=`, or lie beside the model's file."""
    path, settings = bare(name)
    given = copy_tokenizers(name, tmp_path / "given")
    session = opening(name, path, tokenizers=str(given), **settings)
    expected = picture(opened(name))
    assert np.array_equal(picture(session), expected)
    copy_tokenizers(name, tmp_path / "models")
    assert np.array_equal(picture(opening(name, path, **settings)), expected)


def cached(cache, repository, **folders):
    """Put folders into the hub's cache as a repository; `root` is the repository itself."""
    index = cache / f"models--{repository.replace('/', '--')}"
    (index / "refs").mkdir(parents=True)
    (index / "refs" / "main").write_text("0a1b2c")
    for name, folder in folders.items():
        inner = index / "snapshots" / "0a1b2c" / ("" if name == "root" else name)
        shutil.copytree(folder, inner, dirs_exist_ok=True)


def test_cached_tokenizers(bare, no_cache, opened, offline):
    """Tokenizers of well-known repositories are found in the hub's cache, without the network."""
    path, settings = bare("sdxl")
    own = demo.checkpoint("sdxl")
    cached(
        no_cache,
        "stabilityai/stable-diffusion-xl-base-1.0",
        tokenizer=own / "tokenizer",
        tokenizer_2=own / "tokenizer_2",
    )
    assert np.array_equal(picture(opening("sdxl", path, **settings)), picture(opened("sdxl")))


def test_one_vocabulary(bare, no_cache, opened, offline):
    """CLIP-L's own tokenizer serves CLIP-G too, padded as CLIP-G is."""
    path, settings = bare("sdxl")
    cached(no_cache, "openai/clip-vit-large-patch14", root=demo.checkpoint("sdxl") / "tokenizer")
    session = opening("sdxl", path, **settings)
    assert np.array_equal(picture(session), picture(opened("sdxl")))


def test_length_of_a_bare_vocabulary(bare, no_cache, tmp_path, opened):
    """A vocabulary without its settings is read as the 77 positions of CLIP."""
    path, settings = bare("sd15")
    given = copy_tokenizers("sd15", tmp_path / "given")
    (given / "tokenizer" / "tokenizer_config.json").unlink()
    session = opening("sd15", path, tokenizers=str(given), **settings)
    assert session.pipe.tokenizer.model_max_length == 77
    assert np.array_equal(picture(session), picture(opened("sd15")))


def test_no_tokenizers(bare, no_cache, offline):
    """Where no tokenizers are found, it is said what to download and where to put it."""
    path, settings = bare("sdxl")
    folder = Path(path).parent
    assert refusal("sdxl", path, **settings) == (
        "checkpoint files hold no tokenizers; tokenizer and tokenizer_2 are neither in "
        f"{settings['config']}, {folder} nor in the hub's cache. Download the folders tokenizer, "
        "tokenizer_2 of https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0 (a few "
        "MB: tokenizer_config.json, special_tokens_map.json, vocab.json and merges.txt of CLIP, "
        f"tokenizer.json of T5) into {folder}, or point --set tokenizers=DIR at the folder that "
        "holds them: hf download stabilityai/stable-diffusion-xl-base-1.0 --include "
        f"'tokenizer/*' 'tokenizer_2/*' --local-dir {folder}"
    )
