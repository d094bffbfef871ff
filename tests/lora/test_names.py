"""Names of tensors, modules, blocks and purposes, in every spelling."""

import pytest

from attn.checkpoints.headers import TensorInfo
from attn.lora.blocks import block_of, target_of
from attn.lora.names import DENOISER, changes, of_adapter

INFO = TensorInfo("F16", (3, 5), 0, 30)

SPELLED = {
    "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (
        "kohya", DENOISER, "mid_block_attentions_0_proj_in", "down"),
    "lora_te_text_model_encoder_layers_1_mlp_fc1.lora_up.weight": (
        "kohya", "text_encoder", "text_model_encoder_layers_1_mlp_fc1", "up"),
    "lora_te1_text_model_encoder_layers_1_mlp_fc1.alpha": (
        "kohya", "text_encoder", "text_model_encoder_layers_1_mlp_fc1", "alpha"),
    "lora_te2_text_projection.lora_up.weight": (
        "kohya", "text_encoder_2", "text_projection", "up"),
    "lora_te3_encoder_block_2_layer_0_SelfAttention_q.lora_mid.weight": (
        "kohya", "text_encoder_3", "encoder_block_2_layer_0_SelfAttention_q", "mid"),
    "lora_transformer_transformer_blocks_0_attn_to_q.dora_scale": (
        "kohya", DENOISER, "transformer_blocks_0_attn_to_q", "dora_scale"),
    "lycoris_transformer_blocks_0_attn_to_q.lokr_w2_b": (
        "kohya", DENOISER, "transformer_blocks_0_attn_to_q", "lokr_w2_b"),
    "base_model.model.unet.mid_block.attentions.0.proj_in.lora_A.weight": (
        "peft", DENOISER, "mid_block.attentions.0.proj_in", "down"),
    "base_model.model.encoder.layers.0.mlp.fc1.lora_B.default.weight": (
        "peft", "text_encoder", "encoder.layers.0.mlp.fc1", "up"),
    "transformer.transformer_blocks.3.attn.to_k.lora_B.bias": (
        "peft", DENOISER, "transformer_blocks.3.attn.to_k", "bias"),
    "base_model.model.text_model.encoder.layers.0.mlp.fc1.lora_A.weight": (
        "peft", "text_encoder", "text_model.encoder.layers.0.mlp.fc1", "down"),
    "base_model.model.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight": (
        "peft", "text_encoder_3", "encoder.block.0.layer.0.SelfAttention.q", "down"),
    "text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_magnitude_vector": (
        "peft", "text_encoder_2", "text_model.encoder.layers.0.mlp.fc1", "magnitude"),
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora.up.weight": (
        "diffusers", DENOISER, "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0", "up"),
    "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight": (
        "diffusers", "text_encoder", "text_model.encoder.layers.0.self_attn.q_proj", "down"),
    "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.down.weight": (
        "diffusers", "text_encoder", "text_model.encoder.layers.0.mlp.fc1", "down"),
    "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight": (
        "diffusers", DENOISER, "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "down"),
    "double_blocks.0.processor.qkv_lora1.down.weight": (
        "diffusers", DENOISER, "double_blocks.0.qkv_lora1", "down"),
    "diffusion_model.double_blocks.0.img_attn.qkv.lora_up.weight": (
        "dotted", DENOISER, "double_blocks.0.img_attn.qkv", "up"),
    "text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc2.lora_down.weight": (
        "dotted", "text_encoder_2", "text_model.encoder.layers.0.mlp.fc2", "down"),
    "unet.attn.to_out.lora_A.weight": ("peft", DENOISER, "attn.to_out", "down"),
    "lora_unet_out_2.a1.weight": ("kohya", DENOISER, "out_2", "a1"),
    "lora_unet_out_2.hada_t1": ("kohya", DENOISER, "out_2", "hada_t1"),
    "lora_unet_out_0.w_norm": ("kohya", DENOISER, "out_0", "w_norm"),
    "lora_unet_out_2.diff_b": ("kohya", DENOISER, "out_2", "diff_b"),
    "lora_unet_out_2.oft_blocks": ("kohya", DENOISER, "out_2", "oft_blocks"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLED)
def test_spelling(name):
    """Every known name is taken apart into spelling, tower, path and role."""
    (change,), rest = changes({name: INFO})
    (role,) = change.tensors
    assert (change.spelling, change.tower, change.path, role) == SPELLED[name]
    assert rest == []


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.out.2.weight",
        ".lora_A.weight",
        "alpha",
        "lora_A",
        "x.weight",
        "x.bias",
    ],
)
def test_other_names(name):
    """Names of models, and endings without a module before them, are no change."""
    assert changes({name: INFO}) == ([], [name])


def test_alpha_before_the_factors():
    """A module whose alpha comes first is one module, of the spelling of its factors."""
    names = ["unet.out.alpha", "unet.out.lora_A.weight", "unet.out.lora_B.weight"]
    (change,), _ = changes(dict.fromkeys(names, INFO))
    assert (change.spelling, set(change.tensors)) == ("peft", {"alpha", "down", "up"})
    assert list(change.names.values()) == names


def test_two_names_of_one_tensor():
    """A second tensor for the same place is kept apart, not silently lost."""
    (change,), _ = changes(dict.fromkeys(["x.lora_A.weight", "x.lora_A", "x.lora_B.weight"], INFO))
    assert change.repeated == ["x.lora_A"]


ADAPTERS = [f"x.lora_{side}.{name}.weight" for name in ("style", "eyes") for side in "AB"]


def test_adapters_by_name():
    """Two adapters of one module are two changes; what bears no name goes to the one chosen."""
    result, rest = changes(dict.fromkeys([*ADAPTERS, "x.alpha"], INFO))
    assert [change.adapter for change in result] == ["style", "eyes", None]
    (selected,) = of_adapter(result, "eyes")
    assert (rest, list(selected.names.values())) == ([], [*ADAPTERS[2:], "x.alpha"])


def test_one_adapter_with_a_name():
    """The name of a lone adapter changes nothing: alpha, magnitude and factors are one module."""
    names = [*ADAPTERS[:2], "x.lora_magnitude_vector.style.weight", "x.alpha"]
    (change,), _ = changes(dict.fromkeys(names, INFO))
    assert set(change.tensors) == {"down", "up", "magnitude", "alpha"}


def test_strays():
    """A tensor below a module that is no role of it is kept with the module, to be refused."""
    names = ["x.y.lora_A.weight", "x.y.lora_B.weight", "x.y.lora_C.weight", "x.y.bias", "x.z.bias"]
    (change,), rest = changes(dict.fromkeys(names, INFO))
    assert (change.strays, rest) == (["x.y.lora_C.weight", "x.y.bias"], ["x.z.bias"])


def test_the_vector_of_ia3():
    """`x.weight` belongs to a change only where `x.on_input` says that it is (IA)³."""
    (change,), rest = changes(dict.fromkeys(["x.weight", "y.weight", "x.on_input"], INFO))
    assert (set(change.tensors), rest) == ({"on_input", "weight"}, ["y.weight"])


BLOCKS = {
    "conv_in": "input",
    "time_embedding_linear_1": "input",
    "down_blocks.0.resnets.0.conv1": "down_blocks.0.resnets.0",
    "down_blocks_1_attentions_0_proj_in": "down_blocks.1.attentions.0",
    "down_blocks_1_resnets_1_conv1": "down_blocks.1.resnets.1",
    "down_blocks_1_downsamplers_0_conv": "down_blocks.1.downsamplers.0",
    "mid_block_resnets_0_conv1": "mid_block.resnets.0",
    "mid_block.attentions.0.proj_in": "mid_block.attentions.0",
    "mid_block_resnets_1_conv1": "mid_block.resnets.1",
    "up_blocks_0_resnets_2_conv1": "up_blocks.0.resnets.2",
    "up_blocks_0_attentions_2_proj_in": "up_blocks.0.attentions.2",
    "up_blocks_0_upsamplers_0_conv": "up_blocks.0.upsamplers.0",
    "up_blocks_1_resnets_0_conv1": "up_blocks.1.resnets.0",
    "conv_out": "output",
    "surprise": "elsewhere",
}


def test_blocks_of_a_unet_in_order():
    """Blocks are named in both spellings alike and sort as the network runs."""
    result = {path: block_of(path) for path in BLOCKS}
    assert {path: block.name for path, block in result.items()} == BLOCKS
    assert sorted(result, key=lambda path: result[path]) == list(BLOCKS)


def test_blocks_of_other_networks():
    """LDM's blocks, joint blocks, Flux's two kinds and encoders' layers sort as they run."""
    paths = {
        "input_blocks_2_1_proj_in": "input_blocks.2.1",
        "input_blocks_10_0_in_layers_2": "input_blocks.10.0",
        "middle_block_1_proj_in": "middle_block.1",
        "output_blocks_2_2_conv": "output_blocks.2.2",
        "joint_blocks_9_x_block_attn_qkv": "joint_blocks.9",
        "transformer_blocks.11.attn.to_q": "transformer_blocks.11",
        "text_model_encoder_layers_12_mlp_fc1": "layers.12",
        "encoder.block.13.layer.0.SelfAttention.q": "block.13",
        "single_transformer_blocks_1_proj_out": "single_transformer_blocks.1",
    }
    result = {path: block_of(path) for path in paths}
    assert {path: block.name for path, block in result.items()} == paths
    assert sorted(result, key=lambda path: result[path]) == list(paths)


PURPOSES = {
    "mid_block_attentions_0_transformer_blocks_0_attn1_to_q": "self_attention",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0": "cross_attention",
    "mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj": "feed_forward",
    "input_blocks_4_1_proj_in": "projection",
    "down_blocks_0_resnets_0_conv_shortcut": "convolution",
    "input_blocks_3_0_op": "convolution",
    "input_blocks_0_0": "convolution",
    "output_blocks_2_2_conv": "convolution",
    "down_blocks_0_resnets_0_time_emb_proj": "conditioning",
    "input_blocks_4_0_emb_layers_1": "conditioning",
    "text_model_encoder_layers_0_self_attn_q_proj": "self_attention",
    "text_model_encoder_layers_0_mlp_fc1": "feed_forward",
    "encoder_block_0_layer_0_SelfAttention_q": "self_attention",
    "encoder_block_0_layer_1_DenseReluDense_wi_0": "feed_forward",
    "text_projection": "projection",
    "surprise": "other",
}
JOINT = {
    "joint_blocks_0_x_block_attn_qkv": "joint_attention",
    "joint_blocks_0_context_block_attn_proj": "joint_attention",
    "joint_blocks_0_x_block_attn2_qkv": "self_attention",
    "joint_blocks_0_x_block_mlp_fc1": "feed_forward",
    "joint_blocks_0_x_block_adaLN_modulation_1": "conditioning",
    "transformer_blocks.0.attn.add_q_proj": "joint_attention",
    "transformer_blocks.0.attn2.to_q": "self_attention",
    "transformer_blocks.0.ff_context.net.2": "feed_forward",
    "transformer_blocks.0.norm1_context.linear": "conditioning",
    "transformer_blocks.0.attn.norm_q": "norm",
    "context_embedder": "embedding",
    "proj_out": "projection",
    "double_blocks_0_img_attn_qkv": "joint_attention",
    "double_blocks_0_img_mod_lin": "conditioning",
    "single_blocks_0_linear1": "fused",
}


@pytest.mark.parametrize(("paths", "is_joint"), [(PURPOSES, False), (JOINT, True)])
def test_purposes(paths, is_joint):
    """What a module is for follows from its name; a second attention differs by family."""
    assert {path: target_of(path, is_joint=is_joint) for path in paths} == paths


def test_the_purpose_of_a_second_attention_can_be_open():
    """Where the family is ambiguous, a second attention is neither called self nor cross."""
    assert target_of("transformer_blocks.0.attn2.to_q", is_joint=None) == "attention"
