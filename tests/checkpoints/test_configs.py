"""The shipped configurations: facts about published models, without weights or tokenizers."""

import json

import diffusers
import pytest
import transformers

from attn.checkpoints.probe import CONFIGS
from tests.helpers.models import full_size

PARAMETERS = {
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
    | {"controlnet": 361_279_120},
    "sdxl": {
        "unet": 2_567_463_684,
        "controlnet": 1_251_014_160,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
    "sd35-large": {"transformer": 8_056_627_520},
    "sd35-medium": {"transformer": 2_243_171_520},
    "sd3-medium": {"transformer": 2_028_328_000},
}
OF_SD3 = {
    "vae": 83_819_683,
    "text_encoder": 123_650_304,
    "text_encoder_2": 694_659_840,
    "text_encoder_3": 4_762_310_656,
}
OF_FLUX = {"vae": 83_819_683, "text_encoder": 123_060_480, "text_encoder_2": 4_762_310_656}
PARAMETERS |= {
    "flux-dev": {"transformer": 11_901_408_320} | OF_FLUX,
    "flux-schnell": {"transformer": 11_891_178_560} | OF_FLUX,
}
PARAMETERS["pixart-sigma"] = {
    "transformer": 610_856_096, "vae": 83_653_863, "text_encoder": 4_762_310_656
}  # fmt: skip
PARAMETERS["z-image-turbo"] = {
    "transformer": 6_154_908_736, "vae": 83_819_683, "text_encoder": 4_022_468_096
}  # fmt: skip
PARAMETERS["qwen-image"] = {
    "transformer": 20_430_401_088, "vae": 126_892_531, "text_encoder": 8_292_166_656
}  # fmt: skip
PARAMETERS["sd2"] = {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840}
OF_SDXL = {"vae": 83_653_863, "text_encoder_2": 694_659_840}
PARAMETERS["sdxl-refiner"] = {"unet": 2_259_526_660} | OF_SDXL
PARAMETERS["sd15-inpainting"] = {
    "unet": 859_535_364, "vae": 83_653_863, "text_encoder": 123_060_480
}  # fmt: skip
PARAMETERS["sdxl-inpainting"] = (
    {"unet": 2_567_478_084, "text_encoder": 123_060_480} | OF_SDXL
)  # fmt: skip
OF_SANA = {"vae": 312_250_275, "text_encoder": 2_614_341_888}
PARAMETERS["sana-1600m"] = {"transformer": 1_604_462_752} | OF_SANA
PARAMETERS["sana-600m"] = {"transformer": 591_747_872} | OF_SANA
PARAMETERS["chroma1"] = {
    "transformer": 8_899_983_424, "vae": 83_819_683, "text_encoder": 4_762_310_656
}  # fmt: skip
PARAMETERS["flux2-klein-4b"] = {
    "transformer": 3_875_544_576, "vae": 84_046_115, "text_encoder": 4_022_468_096
}  # fmt: skip
PARAMETERS["flux2-klein-9b"] = {
    "transformer": 9_078_581_248, "vae": 84_046_115, "text_encoder": 8_190_735_360
}  # fmt: skip
PARAMETERS["krea2"] = {
    "transformer": 12_820_073_036, "vae": 126_892_531, "text_encoder": 4_437_815_808
}  # fmt: skip
SHIFTS = {"qwen-image": (0.02, 0.9, 8192), "krea2": (None, 1.15, 6400)}
OF_WAN = {"vae": 126_892_531, "text_encoder": 5_680_910_336}
PARAMETERS["wan2.1-t2v-1.3b"] = {"transformer": 1_418_996_800} | OF_WAN
PARAMETERS["wan2.1-t2v-14b"] = {"transformer": 14_288_491_584} | OF_WAN
FLUX = ("flux-dev", "flux-schnell")
SD3 = [config for config in PARAMETERS if config.startswith("sd3")]


def read(config, path):
    """Return one JSON file of a configuration."""
    return json.loads((CONFIGS / config / path).read_text())


def number_of_parameters(model):
    """Count parameters; the twin of T5's table, which the meta device tells apart, once."""
    twins = ("encoder.embed_tokens.weight",)
    return sum(item.numel() for name, item in model.named_parameters() if name not in twins)


@pytest.mark.parametrize("config", PARAMETERS)
def test_parameters(config):
    """Every network has exactly the published number of parameters."""
    expected = PARAMETERS[config] | (OF_SD3 if config in SD3 else {})
    counts = {
        name: number_of_parameters(full_size.network(config, name))
        for name in full_size.networks(config)
    }
    assert counts == expected


def test_folders():
    """There is a folder for each published model, and nothing else, no weights least of all."""
    assert sorted(path.name for path in CONFIGS.iterdir()) == sorted(PARAMETERS)
    assert {path.suffix for path in CONFIGS.rglob("*") if path.is_file()} == {".json"}


@pytest.mark.parametrize("config", PARAMETERS)
def test_index(config):
    """The index lists the folders that are there and tokenizers, all by names of real classes."""
    index = read(config, "model_index.json")
    assert hasattr(diffusers, index.pop("_class_name"))
    pairs = {name: entry for name, entry in index.items() if isinstance(entry, list)}
    listed = {name: entry for name, entry in pairs.items() if not isinstance(entry[0], int)}
    absent = {name for name, entry in listed.items() if entry == [None, None]}
    for name in listed.keys() - absent:
        library, cls = listed[name]
        assert hasattr({"diffusers": diffusers, "transformers": transformers}[library], cls)
    folders = {path.name for path in (CONFIGS / config).iterdir() if path.is_dir()}
    own = {name for name in listed.keys() - absent if "tokenizer" not in name}
    assert own == folders - {"controlnet"}  # which is put beside the model


@pytest.mark.parametrize(
    ("config", "scale", "shift"),
    [
        ("sd15", 0.18215, None),
        ("sdxl", 0.13025, None),
        ("sd2", 0.18215, None),
        ("sdxl-refiner", 0.13025, None),
        ("chroma1", 0.3611, 0.1159),
        ("pixart-sigma", 0.13025, None),
        *((config, 1.5305, 0.0609) for config in SD3),
        *((config, 0.3611, 0.1159) for config in (*FLUX, "z-image-turbo")),
    ],
)
def test_vae(config, scale, shift):
    """Latents are scaled and shifted as each family's VAE has it, which its weights do not tell."""
    vae = full_size.network(config, "vae").config
    assert (vae.scaling_factor, vae.shift_factor) == (scale, shift)
    assert vae.latent_channels == (4 if shift is None else 16)
    assert vae.force_upcast is True


@pytest.mark.parametrize("config", PARAMETERS)
def test_scheduler(config):
    """The scheduler is the published one; its settings also suit those that it is exchanged for."""
    settings = read(config, "scheduler/scheduler_config.json")
    cls = getattr(diffusers, settings["_class_name"])
    scheduler = cls.from_config(settings)
    assert scheduler.config.num_train_timesteps == 1000
    if config in SD3:
        assert (cls.__name__, scheduler.config.shift) == ("FlowMatchEulerDiscreteScheduler", 3.0)
        return
    if config in SHIFTS:
        names = ("shift_terminal", "max_shift", "max_image_seq_len")
        assert tuple(scheduler.config[name] for name in names) == SHIFTS[config]
        return
    if config.startswith("flux2"):
        assert (scheduler.config.shift, scheduler.config.use_dynamic_shifting) == (3.0, True)
        return
    if config.startswith(("sana", "wan")):
        shift = 5.0 if config.endswith("14b") else 3.0
        assert (scheduler.config.flow_shift, scheduler.config.use_flow_sigmas) == (shift, True)
        return
    if config in (*FLUX, "z-image-turbo", "chroma1"):
        dynamic = dict.fromkeys(("flux-dev", "chroma1"), (3.0, True))
        shift = (dynamic | {"flux-schnell": (1.0, False)}).get(config, (3.0, False))
        assert (scheduler.config.shift, scheduler.config.use_dynamic_shifting) == shift
        return
    if config == "pixart-sigma":
        betas = scheduler.config.beta_start, scheduler.config.beta_end
        assert (cls.__name__, *betas) == ("DPMSolverMultistepScheduler", 0.0001, 0.02)
        return
    ddim = diffusers.DDIMScheduler.from_config(scheduler.config).config
    assert (ddim.beta_start, ddim.beta_end) == (0.00085, 0.012)
    assert (ddim.beta_schedule, ddim.timestep_spacing) == ("scaled_linear", "leading")
    assert (ddim.clip_sample, ddim.set_alpha_to_one, ddim.steps_offset) == (False, False, 1)
    assert ddim.prediction_type == ("v_prediction" if config == "sd2" else "epsilon")


@pytest.mark.parametrize("config", PARAMETERS)
def test_text_encoders(config):
    """CLIP pools at the end token; CLIP-L has the quick activation, CLIP-G the exact one."""
    for name in sorted(set(full_size.networks(config)) & {"text_encoder", "text_encoder_2"}):
        clip = full_size.network(config, name).config
        if clip.model_type in ("t5", "umt5", "qwen3", "qwen2_5_vl", "qwen3_vl", "gemma2"):
            continue
        assert (clip.bos_token_id, clip.eos_token_id) == (49406, 49407)
        assert clip.max_position_embeddings == 77
        wanted = (768, "quick_gelu") if name == "text_encoder" else (1280, "gelu")
        wanted = (1024, "gelu") if config == "sd2" else wanted
        assert (clip.hidden_size, clip.hidden_act) == wanted


def test_empty_prompts():
    """SDXL reads zeros where there is no negative prompt, as it was published."""
    assert read("sdxl", "model_index.json")["force_zeros_for_empty_prompt"] is True
