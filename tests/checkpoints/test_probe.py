"""What a checkpoint file is, told by the names and shapes in its header."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from attn.checkpoints.headers import Header, TensorInfo, read_header
from attn.checkpoints.probe import Checkpoint, members, probe
from tests.helpers.models import full_size, layouts

LDM = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "clip_l": "conditioner.embedders.0.transformer.",
    "clip_g": "conditioner.embedders.1.model.",
}
SAI = {
    "dit": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "clip_l": "text_encoders.clip_l.transformer.",
    "clip_g": "text_encoders.clip_g.transformer.",
    "t5xxl": "text_encoders.t5xxl.transformer.",
}
OLD = {name: LDM[name] for name in ("unet", "vae")} | {"clip_l": "cond_stage_model.transformer."}
PUBLISHED = {
    "sd15": ("sd15", "Stable Diffusion 1.x", "LDM", OLD, layouts.ldm),
    "sdxl": ("sdxl", "Stable Diffusion XL", "LDM", LDM, layouts.ldm),
    "sd35-large": ("sd35", "Stable Diffusion 3.5 Large", "SAI", SAI, layouts.sai),
    "sd35-medium": ("sd35", "Stable Diffusion 3.5 Medium", "SAI", SAI, layouts.sai),
    "sd3-medium": ("sd35", "Stable Diffusion 3 Medium", "SAI", SAI, layouts.sai),
}
FLUX = {
    "dit": "model.diffusion_model.",
    "vae": "vae.",
    "clip_l": "text_encoders.clip_l.transformer.",
    "t5xxl": "text_encoders.t5xxl.transformer.",
}
PIXART = {name: FLUX[name] for name in ("dit", "vae", "t5xxl")}
Z_IMAGE = {name: FLUX[name] for name in ("dit", "vae")} | {
    "qwen3": "text_encoders.qwen3_4b.transformer."
}
QWEN_IMAGE = {
    "dit": FLUX["dit"],
    "vae": FLUX["vae"],
    "qwen25vl": "text_encoders.qwen25_7b.transformer.",
}
KREA2 = {name: FLUX[name] for name in ("dit", "vae")} | {
    "qwen3vl": "text_encoders.qwen3vl_4b.transformer."
}
SD2 = {name: LDM[name] for name in ("unet", "vae")} | {"clip_h": "cond_stage_model.model."}
REFINER = {name: LDM[name] for name in ("unet", "vae")} | {
    "clip_g": "conditioner.embedders.0.model."
}
PUBLISHED |= {
    "sd2": ("sd2", "Stable Diffusion 2.x", "LDM", SD2, layouts.ldm),
    "sdxl-refiner": (
        *("sdxl-refiner", "the refiner of Stable Diffusion XL"),
        *("LDM", REFINER, layouts.ldm),
    ),
    "chroma1": ("chroma", "Chroma1", "BFL", PIXART, layouts.chroma),
}
PUBLISHED |= {
    "pixart-sigma": ("pixart", "PixArt-Σ", "PixArt", PIXART, layouts.pixart),
    "flux-dev": ("flux", "FLUX.1 dev", "BFL", FLUX, layouts.bfl),
    "flux-schnell": ("flux", "FLUX.1 schnell", "BFL", FLUX, layouts.bfl),
    "flux2-klein-4b": ("flux2", "FLUX.2 klein 4B", "BFL", Z_IMAGE, layouts.flux2),
    "flux2-klein-9b": ("flux2", "FLUX.2 klein 9B", "BFL", Z_IMAGE, layouts.flux2),
    "qwen-image": ("qwen-image", "Qwen-Image", "diffusers", QWEN_IMAGE, layouts.qwen_image),
    "krea2": ("krea2", "Krea 2 Raw or Turbo", "Krea", KREA2, layouts.krea2),
    "z-image-turbo": ("z-image", "Z-Image or Z-Image-Turbo", "Z-Image", Z_IMAGE, layouts.z_image),
}
SD3 = [config for config in PUBLISHED if config.startswith("sd3")]
network = cache(full_size.network)


@cache
def pipeline(config):
    """Return a published model without weights."""
    return full_size.pipeline(config)


@cache
def state(config, **options):
    """Return the names and shapes of a published model in one file."""
    return PUBLISHED[config][4](pipeline(config), **options)


def named(*names, **shapes):
    """Return a header of scalars, but for the shapes that are given."""
    tensors = {name: TensorInfo("F16", (), 0, 2) for name in names}
    tensors |= {name: TensorInfo("F16", shape, 0, 2) for name, shape in shapes.items()}
    return Header(Path("model.safetensors"), tensors, {})


def told(*names, **shapes):
    """Return (title, advice) for a file of these names, which no backend takes."""
    result = probe(named(*names, **shapes))
    assert result.family is None
    return result.title, result.advice


@pytest.mark.parametrize("config", PUBLISHED)
def test_published(config):
    """Each published model in one file is known by family, layout, parts and configuration."""
    family, title, layout, parts, _ = PUBLISHED[config]
    assert probe(full_size.header(state(config))) == Checkpoint(
        family, title, layout, parts, config
    )


@pytest.mark.parametrize("config", PUBLISHED)
def test_published_without_prefix(config):
    """A denoiser without its usual prefix is the same, and owns no name of another part."""
    family, _, layout, parts, _ = PUBLISHED[config]
    header = full_size.header(state(config, prefix=False))
    result = probe(header)
    denoiser = next(iter(parts))
    assert (result.family, result.layout, result.config) == (family, layout, config)
    assert result.parts == parts | {denoiser: ""}
    own = members(header, result).parts[denoiser]
    assert not [name for name in own if name.startswith(tuple(filter(None, parts.values())))]


@pytest.mark.parametrize("config", PUBLISHED)
def test_denoiser_alone(config):
    """A denoiser alone tells its family and configuration; the other parts are missing."""
    family, title, layout, parts, _ = PUBLISHED[config]
    part, prefix = next(iter(parts.items()))
    names = {name: item for name, item in state(config).items() if name.startswith(prefix)}
    for cut in (0, len(prefix)):
        result = probe(full_size.header({name[cut:]: item for name, item in names.items()}))
        assert result == Checkpoint(family, title, layout, {part: prefix[cut:]}, config)
        assert result.missing == tuple(name for name in parts if name != part)


@pytest.mark.parametrize("config", PUBLISHED)
def test_denoiser_of_diffusers(config):
    """A denoiser from a diffusers folder is a part in the layout of diffusers."""
    family, title, *_ = PUBLISHED[config]
    component, part = ("unet", "unet") if "LDM" in PUBLISHED[config] else ("transformer", "dit")
    result = probe(full_size.header(network(config, component).state_dict()))
    assert result == Checkpoint(family, title, "diffusers", {part: ""}, config)


@pytest.mark.parametrize(
    ("component", "part", "title"),
    [
        ("text_encoder", "clip_l", "CLIP-L, a text encoder"),
        ("text_encoder_2", "clip_g", "CLIP-G, a text encoder"),
        ("text_encoder_3", "t5xxl", "T5-XXL, a text encoder"),
    ],
)
def test_encoders_alone(component, part, title):
    """Encoders alone in a file are told apart, by width and by names."""
    result = probe(full_size.header(network("sd35-large", component).state_dict()))
    assert (result.family, result.title, result.layout) == (None, title, "encoder")
    assert (result.parts, result.missing) == ({part: ""}, ())
    assert result.advice.startswith("it cannot draw alone; give a model as --model")


def test_encoder_of_open_clip():
    """CLIP-G under OpenCLIP's names is CLIP-G."""
    result = probe(full_size.header(layouts.open_clip(network("sdxl", "text_encoder_2"))))
    assert (result.title, result.layout) == ("CLIP-G, a text encoder", "OpenCLIP")
    assert result.parts == {"clip_g": ""}


def test_flattened_clip():
    """CLIP is known with and without the level `text_model.` that newer libraries left out."""
    model = network("sd15", "text_encoder")
    flat = {name.removeprefix("text_model."): value for name, value in model.state_dict().items()}
    for names in (flat, layouts.clip_l(model)):
        assert probe(full_size.header(names)).parts == {"clip_l": ""}


@pytest.mark.parametrize(
    ("config", "title"),
    [
        ("sdxl", "a VAE of 4 latent channels, as SD1.x and SDXL have"),
        ("sd35-large", "a VAE of 16 latent channels, as SD3 and FLUX.1 have"),
    ],
)
def test_vae_alone(config, title):
    """A VAE alone is a part of several families, in its authors' or in diffusers' names."""
    vae = network(config, "vae")
    for layout, names in {"LDM": layouts.vae(vae), "diffusers": vae.state_dict()}.items():
        result = probe(full_size.header(names))
        assert (result.family, result.title, result.layout) == (None, title, layout)
        assert result.parts == {"vae": ""}


def test_parts_without_denoiser():
    """A file of encoders and VAE under their prefixes is listed as such."""
    names = {
        name: value for name, value in state("sd35-large").items() if not name.startswith("model.")
    }
    result = probe(full_size.header(names))
    assert result.title == "a file of parts without a denoiser"
    assert result.parts == {name: prefix for name, prefix in SAI.items() if name != "dit"}


TINY = [("sd15", "demo"), ("sdxl", "demo"), ("sd35", "demo"), ("sd35", "demo:medium")]


@pytest.mark.parametrize(("backend", "model"), TINY)
def test_tiny_models(opened, tmp_path, backend, model):
    """Small models in every layout have the family and parts of large ones, no configuration."""
    pipe = opened(backend, model).pipe
    write, parts = (layouts.sai, SAI) if backend == "sd35" else (layouts.ldm, LDM)
    parts = OLD if backend == "sd15" else parts
    path = layouts.write(write(pipe), tmp_path / "model.safetensors")
    result = probe(read_header(path))
    assert (result.family, result.config, result.parts) == (backend, None, parts)
    assert result.title.startswith("a model like Stable Diffusion ")
    for name, file in layouts.parts(pipe, tmp_path / "parts").items():
        result = probe(read_header(file))
        assert result.parts[name] == ""
        assert result.family == (backend if name in ("unet", "dit") else None)


def test_tiny_clip_may_be_either(opened, tmp_path):
    """Which of the two a CLIP of unpublished width is, a file alone does not tell."""
    files = layouts.parts(opened("sdxl").pipe, tmp_path)
    for name in ("clip_l", "clip_g"):
        assert probe(read_header(files[name])).parts == {"clip_l": "", "clip_g": "", "clip_h": ""}


@pytest.mark.parametrize("config", PUBLISHED)
def test_members(config):
    """Every tensor of a published file belongs to one part, with its published parameters."""
    header = full_size.header(state(config))
    sorted_in = members(header, probe(header))
    assert sum(map(len, sorted_in.parts.values())) + len(sorted_in.unused) == len(header.tensors)
    assert sorted_in.unknown == []
    assert [name.split(".")[-1] for name in sorted_in.unused] == ["position_ids"] * (
        config == "sd15"
    )
    vae = sum(info.elements for info in sorted_in.parts["vae"].values())
    others = dict.fromkeys(("sd15", "sd2", "sdxl", "sdxl-refiner", "pixart-sigma"), 83_653_863)
    others |= dict.fromkeys(("flux2-klein-4b", "flux2-klein-9b"), 84_046_372)  # with its norm's
    others |= dict.fromkeys(("qwen-image", "krea2"), 126_892_531)
    assert vae == others.get(config, 83_819_683)


def test_what_is_left_aside(opened):
    """Averages of training, tables and markers are no part; other names are not forgotten."""
    extra = ["model_ema.decay", "model_ema.diffusion_modelinput_blocks00weight", "betas", "v_pred"]
    header = full_size.header(layouts.ldm(opened("sdxl").pipe))
    header = Header(header.path, dict(header.tensors) | named(*extra, "surprise").tensors, {})
    sorted_in = members(header, probe(header))
    assert (sorted_in.unused, sorted_in.unknown) == (extra, ["surprise"])


def with_shapes(config, **changed):
    """Return a published file, the shapes of some of its tensors changed."""
    header = full_size.header(state(config))
    tensors = dict(header.tensors)
    for ending, shape in changed.items():
        name = next(name for name in tensors if name.endswith(ending))
        tensors[name] = tensors[name]._replace(shape=shape)
    return Header(header.path, tensors, {})


ENTRY = "input_blocks.0.0.weight"
READER = "attn2.to_k.weight"


@pytest.mark.parametrize(
    ("config", "changed", "title"),
    [
        ("sd15", {ENTRY: (320, 8, 3, 3)}, "Stable Diffusion 1.x for instructions"),
        ("sd2", {ENTRY: (320, 5, 3, 3)}, "Stable Diffusion 2.x for depth maps"),
    ],
)
def test_relatives(config, changed, title):
    """Relatives of the UNet families, which need something else, are refused by name."""
    result = probe(with_shapes(config, **changed))
    assert (result.family, result.title) == (None, title)
    assert result.advice


@pytest.mark.parametrize(
    ("config", "title"),
    [
        ("sd15", "Stable Diffusion 1.x for inpainting"),
        ("sdxl", "Stable Diffusion XL for inpainting"),
    ],
)
def test_inpainting(config, title):
    """A UNet that sees a mask and a picture too has a configuration of its own."""
    result = probe(with_shapes(config, **{ENTRY: (320, 9, 3, 3)}))
    assert (result.family, result.title, result.config) == (config, title, f"{config}-inpainting")


def test_small_relatives():
    """Models of no published size are known by what only their family has."""
    result = probe(with_shapes("sd15", **{"proj_in.weight": (320, 320)}))
    assert (result.family, result.config) == ("sd2", None)


def test_refiner_by_its_encoder():
    """The refiner, which has CLIP-G alone, is known whatever its sizes."""
    names = {
        name.replace("embedders.1.", "embedders.0."): value
        for name, value in state("sdxl").items()
        if not name.startswith("conditioner.embedders.0.")
    }
    result = probe(full_size.header(names))
    assert result.family == "sdxl-refiner"
    assert result.title.startswith("a model like the refiner of Stable Diffusion XL")


@pytest.mark.parametrize("rows", [38, 2432])
@pytest.mark.parametrize("module", ["0.x_block.attn", "37.x_block.attn", "5.context_block.attn"])
def test_folded_gates(rows, module):
    """A DiT with gates inside any of its joined projections is not taken for a plain one."""
    shape = (3 * 2432 + rows, 2432)
    result = probe(with_shapes("sd35-large", **{f"{module}.qkv.weight": shape}))
    assert (result.family, result.config, result.advice) == ("gated", "sd35-large", None)
    assert result.title == "a gated DiT: Stable Diffusion 3.5 Large with gates"
    assert result.missing == probe(with_shapes("sd35-large")).missing


@pytest.mark.parametrize("module", ["0.x_block.attn", "7.x_block.attn2"])
def test_separate_gates(module):
    """A DiT with gates beside any of its projections is not taken for a plain one either."""
    name = f"model.diffusion_model.joint_blocks.{module}.gate_proj.weight"
    header = full_size.header(state("sd35-medium"))
    tensors = dict(header.tensors) | named(name).tensors
    result = probe(Header(header.path, tensors, {}))
    assert result.title == "a gated DiT: Stable Diffusion 3.5 Medium with gates"
    assert (result.family, result.config) == ("gated", "sd35-medium")


@pytest.mark.parametrize("name", ["scaled_fp8", "clip.scale_weight", "fc1.weight_scale"])
def test_scaled_fp8(name):
    """Weights that mean nothing without their scales are refused; plain ones in fp8 are not."""
    tensors = full_size.shapes(state("sd35-large"), "F8_E4M3")
    plain, scaled = (
        probe(Header(Path("x"), tensors | more, {})) for more in ({}, named(name).tensors)
    )
    assert (plain.family, plain.advice) == ("sd35", None)
    assert (scaled.family, scaled.title) == (None, "Stable Diffusion 3.5 Large, in scaled fp8")
    assert "give the file in float16 or bfloat16" in scaled.advice


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"], "a LoRA or LyCORIS file"),
        (["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"], "a LoRA or LyCORIS file"),
        (["unet.down_blocks.0.attn1.processor.to_q_lora.down.weight"], "a LoRA or LyCORIS file"),
        (["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"], "a LoRA or LyCORIS file"),
        (["lycoris_unet_mid_block.lokr_w2_b"], "a LoRA or LyCORIS file"),
        (["lora_unet_mid_block_resnets_0_conv1.diff"], "a LoRA or LyCORIS file"),
        (["control_model.input_blocks.0.0.weight"], "a ControlNet"),
        (["controlnet_cond_embedding.conv_in.weight", "conv_in.weight"], "a ControlNet"),
        (["controlnet_blocks.0.weight", "pos_embed.pos_embed"], "a ControlNet"),
        (["lllite_unet_input_blocks_4_1.down.0.weight"], "a ControlNet"),
        (["ip_adapter.1.to_k_ip.weight"], "an adapter (IP-Adapter, T2I-Adapter or motion module)"),
        (["emb_params"], "an embedding (textual inversion)"),
        (["string_to_param.*"], "an embedding (textual inversion)"),
        (["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"], "an upscaler"),
        (["conv_first.weight", "body.0.rdb1.conv1.weight"], "an upscaler"),
        (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["model.diffusion_model.double_blocks.18.img_attn.qkv.weight"], "Flux"),
        (["single_transformer_blocks.0.attn.to_q.weight"], "Flux"),
        (["cond_seq_linear.weight"], "AuraFlow"),
        (["blocks.0.cross_attn.kv_linear.weight"], "Sana"),
        (["model.layers.0.self_attn.q_proj.weight"], "a language model"),
        (["edm_mean", "input_blocks.0.0.weight", "out.2.weight"], "Playground v2.5, which needs "),
    ],
)
def test_other_kinds(names, title):
    """Other kinds of files are called by their names, with what to give instead."""
    result, advice = told(*names)
    assert result.startswith(title)
    assert len(advice) > 40


@pytest.mark.parametrize(
    "shapes",
    [{"emb_params": (4, 768)}, {"clip_l": (2, 768), "clip_g": (2, 1280)}, {"<cat-toy>": (768,)}],
)
def test_embeddings(shapes):
    """Textual inversion is known in each of its forms."""
    assert told(**shapes)[0] == "an embedding (textual inversion)"


def test_clip_of_sd2():
    """The encoder of Stable Diffusion 2 is not taken for CLIP-G."""
    title, advice = told(**{"text_model.embeddings.token_embedding.weight": (49408, 1024)})
    assert title == "CLIP-H, a text encoder"
    assert advice.endswith("this beside it as clip_h")


def test_unknown():
    """What is not known is said to be so, with names that may tell the user what it is."""
    title, advice = told("surprise.weight", "\x1b[2J.bias", "c", "d")
    assert title == "no known model"
    assert advice.endswith("known here; they begin with surprise.weight, \\x1b[2J.bias, c")
    assert told()[0] == "a safetensors file without tensors"


@pytest.mark.parametrize(
    ("markers", "metadata", "expected"),
    [
        ([], {}, (None, False)),
        (["v_pred"], {}, ("v", False)),
        (["v_pred", "ztsnr"], {}, ("v", True)),
        ([], {"modelspec.prediction_type": "v"}, ("v", False)),
        ([], {"modelspec.prediction_type": " Epsilon "}, ("epsilon", False)),
        ([], {"modelspec.prediction_type": "rectified"}, (None, False)),
        (["v_pred"], {"modelspec.prediction_type": "epsilon"}, ("v", False)),
        ([], {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, ("v", True)),
        ([], {"ss_v_parameterization": "False"}, (None, False)),
    ],
)
def test_prediction(markers, metadata, expected):
    """What the UNet predicts is read from marker tensors first, then from metadata."""
    header = full_size.header(state("sdxl"))
    result = probe(Header(header.path, dict(header.tensors) | named(*markers).tensors, metadata))
    assert (result.prediction, result.zero_snr) == expected
    assert result.config == "sdxl"


def test_prediction_is_of_unets_only():
    """SD3 predicts neither, whatever a file says."""
    result = probe(full_size.header(state("sd35-large"), **{"modelspec.prediction_type": "v"}))
    assert result.prediction is None


def test_shapes_that_make_no_sense():
    """Tensors with fewer axes than they must have are no reason to fail."""
    header = full_size.header(state("sdxl"))
    scalars = {name: info._replace(shape=()) for name, info in header.tensors.items()}
    assert probe(Header(header.path, scalars, {})).config is None


def test_large_file(tmp_path):
    """A file that announces 28 GB is probed from its first kilobytes."""
    tensors = full_size.shapes(state("sd35-large"))
    path = full_size.write(tensors, tmp_path / "model.safetensors", format="pt")
    assert path.stat().st_size > 25 * 10**9
    assert probe(read_header(path)).config == "sd35-large"


def test_probing_loads_no_libraries():
    """Neither torch nor numpy is imported to look into a file."""
    heavy = "torch", "diffusers", "transformers", "numpy", "safetensors"
    code = f"import attn.checkpoints.probe, sys; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
