"""LoRAs of the demo models: names and shapes as peft, diffusers and kohya write them."""

import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from attn import demo, lora
from attn.lora.base.weights import norm_of, open_base
from attn.lora.names import DENOISER, underscored
from tests.helpers.models.lora_files import write

pytestmark = pytest.mark.slow

RANK, ALPHA = 3, 5.0
TARGETS = {
    "unet": ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "conv1"],
    "transformer": ["to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "ff_context.net.2"],
    "text_encoder": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    "text_encoder_2": ["q_proj", "out_proj", "fc1"],
}
KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


def tower_of(component):
    return DENOISER if component in {"unet", "transformer"} else component


@pytest.fixture(scope="module")
def load(demo_cache):
    """Load a demo pipeline."""
    from diffusers import DiffusionPipeline

    return lambda name: DiffusionPipeline.from_pretrained(demo.checkpoint(name))


def adapt(pipe):
    """Add a random LoRA to the parts of a pipeline; return peft's tensors and norms by path."""
    import torch
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(23)
    tensors, norms = {}, {}
    for component, targets in TARGETS.items():
        model = getattr(pipe, component, None)
        if model is None:
            continue
        model.add_adapter(
            LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, init_lora_weights=False)
        )
        tensors[component] = get_peft_model_state_dict(model)
        for path, layer in model.named_modules():
            if isinstance(layer, LoraLayer):
                change = layer.get_delta_weight("default").detach().double()
                norms[tower_of(component), path] = float(change.norm())
    return tensors, norms


@pytest.fixture(scope="module")
def sdxl(load, tmp_path_factory):
    """Save a LoRA of the demo SDXL through diffusers: the file, its tensors, norms by path."""
    pipe, folder = load("sdxl"), tmp_path_factory.mktemp("sdxl")
    tensors, norms = adapt(pipe)
    layers = {f"{component}_lora_layers": tensor for component, tensor in tensors.items()}
    configs = {
        f"{component}_lora_adapter_metadata": getattr(pipe, component).peft_config["default"]
        for component in tensors
    }
    written = {name: config.to_dict() for name, config in configs.items()}
    pipe.save_lora_weights(folder, **layers, **written)
    return folder / "pytorch_lora_weights.safetensors", tensors, norms


def measured(read):
    return {(module.tower, module.path): module.norm for module in read.modules}


def test_saved_by_diffusers(sdxl):
    """Every module that peft adapted is found with its norm; alpha is in peft's configuration."""
    path, _, norms = sdxl
    read = lora.read(path)
    assert measured(read) == pytest.approx(norms, rel=1e-5)
    assert {(m.rank, m.alpha, m.spelling) for m in read.modules} == {(RANK, ALPHA, "peft")}
    assert (read.family.name, read.loadable, read.unknown) == ("sdxl", True, ())


def test_against_the_folder(sdxl):
    """Every module has a base weight in the diffusers folder, under the model's own path."""
    path, _, norms = sdxl
    read = lora.read(path, demo.checkpoint("sdxl"))
    assert read.base.missing == {}
    assert all(module.relative > 0 for module in read.modules)
    assert {m.base_path for m in read.modules if m.tower == DENOISER} == {
        name for tower, name in norms if tower == DENOISER
    }


def spelled_by_kohya(tensors, stem):
    """Return peft's tensors under kohya's names, which `stem` makes of a component's paths."""
    result = {}
    for component, item in tensors.items():
        for name, tensor in item.items():
            path, _, end = name.rpartition(".lora_")
            role = {"A.weight": "down", "B.weight": "up"}[end]
            result[f"{stem(component, path)}.lora_{role}.weight"] = tensor.numpy()
            result[f"{stem(component, path)}.alpha"] = np.float32(ALPHA)
    return result


def test_kohya_in_the_names_of_diffusers(sdxl, tmp_path):
    """Kohya's underscored names give the same norms and find the same base weights."""
    path, tensors, norms = sdxl
    renamed = spelled_by_kohya(tensors, lambda item, name: KOHYA[item] + underscored(name))
    read = lora.read(write(tmp_path / "a.safetensors", renamed), demo.checkpoint("sdxl"))
    by_kohya = {(tower, underscored(name)): norm for (tower, name), norm in norms.items()}
    assert measured(read) == pytest.approx(by_kohya, rel=1e-5)
    assert read.base.missing == {}
    peft = lora.read(path, demo.checkpoint("sdxl"))
    assert relatives(read) == pytest.approx(relatives(peft), rel=1e-9)


def relatives(read):
    return {(m.tower, underscored(m.path)): m.relative for m in read.modules}


def test_old_diffusers(sdxl, tmp_path):
    """Names of early diffusers, of attention processors, mean the same modules."""
    from diffusers.utils import convert_state_dict_to_diffusers

    _, tensors, norms = sdxl
    result = {}
    for component, item in tensors.items():
        for name, tensor in convert_state_dict_to_diffusers(item).items():
            old = name.replace(".attn1.", ".attn1.processor.").replace(".lora.", "_lora.")
            old = old.replace("to_out.0_lora", "to_out_lora")
            result[f"{component}.{old if 'attn' in name else name}"] = tensor.numpy()
    read = lora.read(write(tmp_path / "a.safetensors", result))
    assert set(measured(read)) == set(norms)
    assert {m.scale for m in read.modules} == {1.0}


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def unets(request, load, tmp_path_factory):
    """Write a demo model as LDM file; return the family, folder, file, and both sets of names."""
    from tests.helpers.models import layouts

    pipe = load(request.param)
    file = tmp_path_factory.mktemp(request.param) / "model.safetensors"
    layouts.write(layouts.ldm(pipe), file)
    ours, theirs = pipe.unet.state_dict(), layouts.unet(pipe.unet)
    return demo.checkpoint(request.param), file, named(ours), named(theirs)


def named(state):
    """Return shapes and norms of weights by path."""
    return {
        name.removesuffix(".weight"): (tuple(value.shape), float(value.double().norm()))
        for name, value in state.items()
        if name.endswith(".weight")
    }


def test_both_layouts_of_a_unet(unets):
    """Each weight is found by diffusers' and by LDM's name, in a folder and in a single file."""
    folder, file, *both = unets
    for base in (open_base(folder), open_base(file)):
        for names in both:
            for path, (shape, norm) in names.items():
                index = base.find(DENOISER, path, shape)
                assert not isinstance(index, str), (base.path, path, index)
                assert norm_of(index) == pytest.approx(norm, rel=1e-6)


def test_text_encoders_in_a_single_file(load, sdxl, tmp_path):
    """A LoRA of CLIP-L and of OpenCLIP's CLIP-G is compared alike in a file and in a folder."""
    from tests.helpers.models import layouts

    file = layouts.write(layouts.ldm(load("sdxl")), tmp_path / "model.safetensors")
    from_file = lora.read(sdxl[0], file)
    assert from_file.base.missing == {}
    from_folder = lora.read(sdxl[0], demo.checkpoint("sdxl"))
    assert relatives(from_file) == pytest.approx(relatives(from_folder), rel=1e-6)


@pytest.mark.parametrize("variant", ["sd35", "sd35:medium"])
def test_both_layouts_of_a_joint_transformer(variant, load, tmp_path):
    """SD3's weights are found by both names; query, key and value are one matrix or three."""
    from tests.helpers.models import layouts

    pipe, folder = load(variant), demo.checkpoint(variant)
    file = layouts.write(layouts.sai(pipe), tmp_path / "model.safetensors")
    both = named(pipe.transformer.state_dict()), named(layouts.mmdit(pipe.transformer))
    for base in (open_base(folder), open_base(file)):
        for names in both:
            for path, (shape, norm) in names.items():
                index = base.find(DENOISER, path, shape)
                assert not isinstance(index, str), (base.path, path, index)
                assert norm_of(index) == pytest.approx(norm, rel=1e-6)


def test_all_encoders_of_sd3(load, tmp_path):
    """CLIP-L, CLIP-G and T5 of an SD3 file are found by the names of sd-scripts' LoRAs."""
    from tests.helpers.models import layouts

    file = layouts.write(layouts.sai(load("sd35")), tmp_path / "model.safetensors")
    for base in (open_base(demo.checkpoint("sd35")), open_base(file)):
        for tower, path in (
            ("text_encoder", "text_model_encoder_layers_0_self_attn_k_proj"),
            ("text_encoder_2", "text_model_encoder_layers_1_mlp_fc2"),
            ("text_encoder_3", "encoder_block_0_layer_0_SelfAttention_q"),
        ):
            assert not isinstance(base.find(tower, path, None), str)


def test_sd3_of_diffusers(load, tmp_path):
    """A peft LoRA of SD3 is recognised as one, with joint attention as its target."""
    from diffusers import StableDiffusion3Pipeline

    tensors, norms = adapt(load("sd35:medium"))
    layers = {f"{component}_lora_layers": tensor for component, tensor in tensors.items()}
    StableDiffusion3Pipeline.save_lora_weights(tmp_path, **layers)
    read = lora.read(tmp_path / "pytorch_lora_weights.safetensors", demo.checkpoint("sd35:medium"))
    assert (read.family.name, read.family.title) == ("sd35", "Stable Diffusion 3.x")
    # without peft's configuration alpha is unknown, which means the rank
    expected = {index: norm * RANK / ALPHA for index, norm in norms.items()}
    assert measured(read) == pytest.approx(expected, rel=1e-5)
    assert read.base.missing == {}
    purposes = {m.target for m in read.modules if m.tower == DENOISER}
    assert purposes == {"joint_attention", "self_attention", "feed_forward"}


def test_sd3_of_sd_scripts(load, tmp_path):
    """One LoRA of query, key and value is compared with all three weights of a folder."""
    state = load_file(
        demo.checkpoint("sd35") / "transformer" / "diffusion_pytorch_model.safetensors"
    )
    three = [state[f"transformer_blocks.2.attn.to_{name}.weight"] for name in "qkv"]
    rng = np.random.default_rng(29)
    width = three[0].shape[1]
    up, down = rng.standard_normal((3 * width, 2)), rng.standard_normal((2, width))
    stem = "lora_unet_joint_blocks_2_x_block_attn_qkv"
    tensors = {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
    read = lora.read(write(tmp_path / "a.safetensors", tensors), demo.checkpoint("sd35"))
    (module,) = read.modules
    base = math.hypot(*(np.linalg.norm(item.astype(float)) for item in three))
    assert module.relative == pytest.approx(np.linalg.norm(up @ down) / base, rel=1e-9)
    assert read.family.name == "sd35"


def test_a_lora_of_another_family(sdxl):
    """What does not fit the model is listed with the reason; nothing is compared by chance."""
    read = lora.read(sdxl[0], demo.checkpoint("sd35"))
    reasons = set(read.base.missing.values())
    assert "the denoiser has no such module" in reasons
    assert not [m for m in read.modules if m.tower == DENOISER and m.base_path]
    assert "not_in_model" in {oddity.kind for oddity in read.oddities}
