"""Which base models a LoRA was made for, and how sure that is."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from attn.lora.families import Target, recognise
from attn.lora.names import DENOISER
from attn.lora.reader import read

KOHYA_SDXL = "input_blocks_7_1_transformer_blocks_{}_attn2_to_k"
DIFFUSERS = "down_blocks_{}_attentions_0_transformer_blocks_{}_attn2_to_k"
SAI = "joint_blocks_{}_x_block_attn_qkv"
PEFT_SD3 = "transformer_blocks.{}.attn.to_q"


def denoiser(path, width=None, name="lora_unet"):
    return Target(f"{name}_{path}", DENOISER, path, None if width is None else (13, width))


def encoder(tower, name, width=768):
    path = "text_model_encoder_layers_0_self_attn_q_proj"
    return Target(f"{name}_{path}", tower, path, (width, width))


CASES = {
    "sdxl of kohya": ([denoiser(KOHYA_SDXL.format(0), 2048)], "sdxl", "Stable Diffusion XL"),
    "sdxl of diffusers": ([denoiser(DIFFUSERS.format(1, 0), 2048)], "sdxl", "Stable Diffusion XL"),
    "small sdxl": ([denoiser(DIFFUSERS.format(1, 1), 80)], "sdxl", "Stable Diffusion XL"),
    "small sdxl of kohya": (
        [denoiser("input_blocks_4_1_proj_in", 80)], "sdxl", "Stable Diffusion XL"),
    "small sdxl with attention on the first grid": (
        [denoiser(DIFFUSERS.format(0, 1), 160)], "sdxl", "Stable Diffusion XL"),
    "sd1": ([denoiser(DIFFUSERS.format(0, 0), 768)], "sd15", "Stable Diffusion 1.x"),
    "small sd1": ([denoiser(DIFFUSERS.format(0, 0), 32)], "sd15", "Stable Diffusion 1.x"),
    "sd2": ([denoiser(DIFFUSERS.format(0, 0), 1024)], "sd2", "Stable Diffusion 2.x"),
    "refiner": (
        [denoiser("input_blocks_4_1_transformer_blocks_0_attn2_to_k", 1280)], "sdxl-refiner",
        "Stable Diffusion XL refiner"),
    "a unet that could be several": (
        [denoiser("down_blocks_1_resnets_0_conv1", 32)], None,
        "unknown, with the blocks of a UNet"),
    "large": ([denoiser(SAI.format(30), 2432)], "sd35", "Stable Diffusion 3.5 large"),
    "medium": ([denoiser(SAI.format(3), 1536)], "sd35", "Stable Diffusion 3 or 3.5 medium"),
    "3.5 medium": (
        [denoiser(SAI.format(3), 1536), denoiser("joint_blocks_3_x_block_attn2_qkv", 1536)],
        "sd35", "Stable Diffusion 3.5 medium"),
    "small sd3": ([denoiser(SAI.format(3), 48)], "sd35", "Stable Diffusion 3.x"),
    "large of diffusers": (
        [denoiser(PEFT_SD3.format(3), 2432)], "sd35", "Stable Diffusion 3.5 large"),
    "flux of kohya": ([denoiser("double_blocks_18_img_attn_qkv", 3072)], "flux", "FLUX.1"),
    "flux of diffusers": (
        [denoiser("single_transformer_blocks.37.attn.to_q", 3072)], "flux", "FLUX.1"),
    "flux without single blocks": ([denoiser(PEFT_SD3.format(3), 3072)], "flux", "FLUX.1"),
    "flux2 klein of the authors": (
        [Target("x", "denoiser", "single_blocks.3.linear1", (9 * 24, 24))], "flux2",
        "FLUX.2 klein"),
    "flux2 klein of diffusers": (
        [denoiser("single_transformer_blocks.3.attn.to_qkv_mlp_proj", 3072)], "flux2",
        "FLUX.2 klein"),
    "flux2 klein 9b": ([denoiser("double_blocks_3_img_attn_qkv", 4096)], "flux2", "FLUX.2 klein"),
    "auraflow": (
        [denoiser(f"{kind}_transformer_blocks.1.attn.to_q", 3072) for kind in ("single", "joint")],
        "auraflow", "AuraFlow"),
    "like flux but larger": (
        [denoiser("double_blocks_19_img_attn_qkv", 3072)], None,
        "unknown, with blocks as in FLUX.1 but more of them"),
    "another transformer": ([denoiser("transformer_blocks_0_attn1_to_q", 11)], None, "unknown"),
    "pixart": ([denoiser("transformer_blocks.3.attn2.to_k", 1152)], "pixart", "PixArt"),
    "pixart with both attentions": (
        [denoiser(f"transformer_blocks.3.attn{at}.to_k", 1152) for at in (1, 2)],
        "pixart", "PixArt"),
    "z-image": ([denoiser("layers.3.attention.to_k", 3840)], "z-image", "Z-Image"),
    "z-image as its authors name it": (
        [denoiser("context_refiner.1.attention.qkv", 3840)], "z-image", "Z-Image"),
    "sana": ([denoiser("transformer_blocks.3.attn2.to_k", 2240)], "sana", "Sana"),
    "wan": ([denoiser("blocks.3.attn2.to_k", 1536)], "wan", "Wan"),
    "wan as its authors name it": ([denoiser("blocks.3.self_attn.q", 5120)], "wan", "Wan"),
    "wan from images": ([denoiser("blocks.3.cross_attn.k_img", 5120)], "wan", "Wan"),
    "chroma": ([denoiser("distilled_guidance_layer.in_proj", 64)], "chroma", "Chroma"),
    "qwen-image": ([denoiser("transformer_blocks.3.img_mlp.net.2", 12288)], "qwen-image",
        "Qwen-Image"),
    "krea 2 of its authors": ([denoiser("blocks.3.attn.wq", 6144)], "krea2", "Krea 2"),
    "krea 2 of diffusers": (
        [denoiser("transformer_blocks.3.attn.to_gate", 6144)], "krea2", "Krea 2"),
    "krea 2 without gates": (
        [denoiser("transformer_blocks.20.attn.to_q", 6144)], "krea2", "Krea 2"),
    "qwen-image by its blocks": (
        [denoiser(PEFT_SD3.format(30), 3072)], "qwen-image", "Qwen-Image"),
    "lumina 2": ([denoiser("layers.3.attention.qkv", 2304)], "lumina2", "Lumina 2"),
    "another second attention, or that of 3.5 medium": (
        [denoiser("transformer_blocks.3.attn2.to_k", 1536)], None,
        "ambiguous: of each transformer block only the second attention is changed"),
    "text encoder of sd1": (
        [encoder("text_encoder", "lora_te")], "sd15", "Stable Diffusion 1.x"),
    "text encoder of sd2": (
        [encoder("text_encoder", "lora_te", 1024)], "sd2", "Stable Diffusion 2.x"),
    "a text encoder": (
        [encoder("text_encoder", "lora_te1")], None, "unknown, with a text encoder only"),
    "two text encoders": (
        [encoder("text_encoder", "lora_te1"), encoder("text_encoder_2", "lora_te2", 1280)],
        None, "unknown, with the text encoders of SDXL and SD3"),
    "three text encoders": (
        [encoder("text_encoder_3", "lora_te3", 4096)], "sd35", "Stable Diffusion 3.x"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_by_structure(case):
    """The modules tell the family; what they leave open stays open, with its evidence."""
    targets, name, title = CASES[case]
    result = recognise(targets, {})
    assert (result.name, result.title) == (name, title)
    assert result.evidence or name is None


def test_what_the_trainer_wrote_beats_a_guess():
    """Of a small UNet whose blocks only hint at a family, the trainer's word decides."""
    targets = [denoiser(DIFFUSERS.format(0, 0), 160)]
    assert recognise(targets, {}).name == "sd15"
    assert recognise(targets, {"ss_base_model_version": "sdxl_base_v1-0"}).name == "sdxl"


def test_by_the_text_encoders_too():
    """A UNet of toy width with a second text encoder is SDXL's."""
    targets = [denoiser(DIFFUSERS.format(1, 0), 80), encoder("text_encoder_2", "lora_te2")]
    assert recognise(targets, {}).evidence == (
        "two text encoders",
        "cross-attention reads 80 channels",
    )


CLAIMS = {
    "stable-diffusion-xl-v1-base/lora": "sdxl",
    "stable-diffusion-3.5-large/lora": "sd35",
    "stable-diffusion-v1/lora": "sd15",
    "stable-diffusion-v2-512/lora": "sd2",
    "flux-1-dev/lora": "flux",
    "flux-2-klein/lora": "flux2",
    "pixart": None,
    "z-image-turbo/lora": "z-image",
}


@pytest.mark.parametrize("text", CLAIMS)
def test_by_what_the_trainer_wrote(text):
    """Where modules leave the family open, the trainer's word decides and is the evidence."""
    result = recognise([denoiser("surprise")], {"modelspec.architecture": text})
    assert result.name == CLAIMS[text]


def test_structure_wins():
    """A file that claims to be of another family than its modules is taken for what it is."""
    targets = [denoiser(KOHYA_SDXL.format(0), 2048)]
    assert recognise(targets, {"ss_base_model_version": "sd_v1"}).name == "sdxl"
    agreed = recognise(targets, {"ss_base_model_version": "sdxl_base_v1-0"})
    assert agreed.evidence[-1] == "ss_base_model_version says 'sdxl_base_v1-0'"


FOREIGN = {
    "flux2 dev of its authors": ("double_blocks.3.img_attn.qkv", 6144, "flux2-dev"),
}


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("pattern", ["diffusion_model.{}.lora_", "lora_unet_{}.lora_"])
def test_no_backend_takes_it(case, pattern, tmp_path):
    """A file of a family without a backend is named, and no backend is said to take it."""
    path, width, name = FOREIGN[case]
    stem = path.replace(".", "_") if pattern.startswith("lora_unet") else path
    ends = ("A.weight", "B.weight") if stem == path else ("down.weight", "up.weight")
    shapes = ((2, width), (13, 2))
    tensors = {
        pattern.format(stem) + end: np.ones(shape, np.float32)
        for end, shape in zip(ends, shapes, strict=True)
    }
    save_file(tensors, tmp_path / "a.safetensors")
    file = read(tmp_path / "a.safetensors")
    assert (file.family.name, file.backend, file.loadable) == (name, None, False)
    assert file.reasons == (f"attn has no backend for {file.family.title}",)


def test_a_part_of_flux_that_klein_has_too():
    """Blocks that FLUX.1 and FLUX.2 klein both have leave open which of them it is."""
    few, many = (recognise([denoiser(PEFT_SD3.format(block), 3072)], {}) for block in (4, 5))
    assert [family.is_certain for family in (few, many)] == [False, True]
