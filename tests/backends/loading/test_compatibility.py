"""Parts given as folders: what does not go together is refused, also before weights are read."""

import json
import shutil

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from safetensors.torch import load_file, save_file

from attn import demo
from attn.backends.loading.compatibility import require_scaling
from attn.backends.loading.family import UNET, VAE, Family
from attn.backends.loading.tokenizers import missing
from attn.errors import ModelError
from tests.helpers.models.opening import opening, refusal

BOTH = pytest.mark.parametrize("weights", [True, False], ids=["run", "plan"])


@BOTH
def test_swapped_clips(demo_cache, weights):
    """CLIP-L and CLIP-G in each other's place would draw a wrong picture without a word."""
    folder = demo.checkpoint("tiny:sd35")
    settings = {"clip_l": str(folder / "text_encoder_2"), "clip_g": str(folder / "text_encoder")}
    assert refusal("sd35", folder, weights=weights, **settings) == (
        "the text encoder CLIP-L is wider than CLIP-G (48 and 32): clip_l and clip_g are swapped"
    )


@BOTH
@pytest.mark.parametrize(
    ("backend", "option", "model", "part", "message"),
    [
        (
            *("sdxl", "unet", "tiny:sd15", "unet"),
            "FOLDER/diffusion_pytorch_model.safetensors: this is a model like Stable Diffusion "
            "1.x, of 496 tensors and width 32; use --backend sd15",
        ),
        (
            *("sd35", "t5xxl", "tiny:sd35", "vae"),
            "FOLDER holds AutoencoderKL; t5xxl must be t5",
        ),
        (
            *("sd35", "t5xxl", "tiny:sd35", "text_encoder"),
            "FOLDER holds clip_text_model; t5xxl must be t5",
        ),
        (
            *("sd35", "clip_g", "tiny:sd35", "text_encoder"),
            "the parts do not go together: dit has pooled_projection_dim 80, but "
            "clip_l + clip_g have projection_dim 32 + 32; one of them is of another model",
        ),
        (
            *("sdxl", "unet", "tiny:sdxl", "text_encoder"),
            "FOLDER holds clip_text_model; unet must be UNet2DConditionModel",
        ),
        (
            *("sdxl", "vae", "tiny:sd15", "vae"),
            "vae=FOLDER: it scales latents by 0.18215, as sd15, sd2 do; sdxl expects 0.13025",
        ),
        (
            *("sd15", "vae", "tiny:sd35", "vae"),
            "vae=FOLDER: it scales latents by 1.5305, as sd3-medium, sd35-large, sd35-medium "
            "do; sd15 expects 0.18215",
        ),
    ],
)
def test_part_of_another_model(demo_cache, weights, backend, option, model, part, message):
    """A folder of another part or family is named, instead of a failure in mid-generation."""
    folder = demo.checkpoint(model) / part
    source = demo.checkpoint(f"tiny:{backend}")
    got = refusal(backend, source, weights=weights, **{option: str(folder)})
    assert got.replace(str(folder), "FOLDER") == message


def test_another_part_as_the_denoiser(demo_cache):
    """The folder of another part is refused as such, before what else is missing is listed."""
    folder = demo.checkpoint("tiny:sd35") / "vae"
    expected = f"{folder} holds AutoencoderKL; dit must be SD3Transformer2DModel"
    assert refusal("sd35", dit=str(folder)) == expected


@BOTH
def test_vae_of_other_channels(demo_cache, copied, weights):
    """A VAE whose latents the denoiser does not read is refused, whatever its scale."""
    folder = copied("sdxl")
    path = folder / "vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"latent_channels": 7}))
    assert refusal("sdxl", folder, weights=weights).startswith(
        "the parts do not go together: unet has out_channels 4, but vae has latent_channels 7"
    )


@BOTH
def test_pickled_weights_in_a_part(copied, weights):
    """A folder whose weights would have to be unpickled is refused before the run."""
    folder = copied("sdxl")
    (weight,) = (folder / "unet").glob("*.safetensors")
    weight.rename(weight.with_suffix(".bin"))
    assert refusal("sdxl", folder, weights=weights).startswith(
        f"{folder / 'unet'} has its weights in pickled files only (.bin)"
    )


def test_folder_of_configurations_can_be_planned(copied):
    """A folder without weights is enough for a plan, and says what it lacks to a real run."""
    folder = copied("sdxl")
    for path in (folder / "unet").glob("*.safetensors"):
        path.unlink()
    assert next(opening("sdxl", folder, weights=False).model.parameters()).is_meta
    assert refusal("sdxl", folder) == (
        f"{folder / 'unet'} has no weights: expected a .safetensors file"
    )


@pytest.mark.parametrize("weights", [True, False])
def test_damaged_configuration(copied, weights, offline):
    """A configuration that is no object is named; the hub is not asked."""
    folder = copied("sdxl")
    (folder / "scheduler" / "scheduler_config.json").write_text("[]")
    assert refusal("sdxl", folder, weights=weights) == (
        f"{folder}/scheduler/scheduler_config.json is not a JSON object: Expected `object`, got "
        "`array`. Download or save the model again."
    )


def test_infinity_in_a_configuration(copied):
    """The number by which samplers say that they clip nothing is read, as diffusers writes it."""
    folder = copied("sdxl")
    path = folder / "scheduler" / "scheduler_config.json"
    DPMSolverMultistepScheduler.from_config(json.loads(path.read_text())).save_config(path.parent)
    index = folder / "model_index.json"
    entries = json.loads(index.read_text())
    entries["scheduler"][1] = "DPMSolverMultistepScheduler"
    index.write_text(json.dumps(entries))
    assert "-Infinity" in path.read_text()
    clipped = opening("sdxl", folder, weights=False).scheduler.config.lambda_min_clipped
    assert clipped == float("-inf")


def test_unknown_prediction(copied):
    """A scheduler for models that predict something else is refused; an option corrects it."""
    folder = copied("sdxl")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "sample"}))
    assert refusal("sdxl", folder) == (
        "the scheduler's configuration says prediction_type 'sample'; expected one of "
        "v_prediction, epsilon: correct it, or set prediction to v or epsilon"
    )
    assert opening("sdxl", folder, prediction="epsilon").prediction == "epsilon"


def test_tokenizers_option_is_not_passed_over(demo_cache, tmp_path):
    """A folder that is named for its tokenizers must hold some."""
    assert refusal("sdxl", "demo", tokenizers=str(tmp_path)) == (
        f"tokenizers={tmp_path}: expected a folder that holds tokenizer/, tokenizer_2/"
    )


@BOTH
@pytest.mark.parametrize(("backend", "model"), [("sdxl", "tiny:sd35"), ("sd35", "tiny:sdxl")])
def test_clip_l_of_another_family(demo_cache, opened, backend, model, weights):
    """CLIP-L serves every family: its folder is taken as its file would be, by run and plan."""
    folder = demo.checkpoint(model) / "text_encoder"
    source = demo.checkpoint(f"tiny:{backend}")
    session = opening(backend, source, weights=weights, clip_l=str(folder))
    own = opened(backend, str(source)).pipe.text_encoder.state_dict()
    assert session.pipe.text_encoder.state_dict().keys() == own.keys()


def test_given_folder_is_part_of_the_identity(demo_cache):
    """Weights and configuration of a folder that an option names are hashed."""
    folder = demo.checkpoint("tiny:sdxl")
    result = opening("sdxl", folder, clip_l=str(folder / "text_encoder")).info.identity()["files"]
    assert {"text_encoder/model.safetensors", "text_encoder/config.json"} < set(result)


def test_renamed_file_is_the_same_model(saved, tmp_path):
    """What a model is called has no part in its identity, nor where it lies."""
    backend, path, settings = saved("sdxl", "file")
    renamed = shutil.copy(path, tmp_path / "another name.safetensors")
    first, second = (opening(backend, item, **settings).info.identity() for item in (path, renamed))
    assert first == second
    state = load_file(renamed)
    state[next(iter(state))] += torch.ones(())
    save_file(state, renamed)
    assert opening(backend, renamed, **settings).info.identity() != first


def test_families_of_other_packages_have_no_published_vae(tmp_path):
    """A family that ships no configuration takes any VAE, whatever published model it is of."""
    (tmp_path / "config.json").write_text('{"scaling_factor": 0.13025}')
    require_scaling(tmp_path, Family("outside", (UNET, VAE)))
    with pytest.raises(
        ModelError,
        match=r"0\.13025, as pixart-sigma, sdxl, sdxl-refiner do; inside expects 0\.18215",
    ):
        require_scaling(tmp_path, Family("inside", (UNET, VAE), config="sd15"))


def test_missing_tokenizers_of_a_family_without_a_repository(tmp_path):
    """Who brings no repository is told which files go where, and no download command."""
    message = str(missing(None, ["tokenizer"], [tmp_path]))
    assert "Download the folder tokenizer (a few MB" in message
    assert message.endswith("point --set tokenizers=DIR at the folder that holds them")
