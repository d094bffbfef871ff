"""Write a diffusers pipeline in the other layouts that checkpoints come in.

LDM: one file of SD1.x or SDXL as its authors' code saves it. SAI: the same for SD3 and SD3.5.
Parts: one file per network, as sd-scripts takes them. Renaming only; joined projections are the
concatenation of ours, so that a loader has to give back the very same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]

DENOISER = "model.diffusion_model."
VAE = "first_stage_model."
SD15_CLIP = "cond_stage_model.transformer."
SDXL_CLIP_L = "conditioner.embedders.0.transformer."
SDXL_CLIP_G = "conditioner.embedders.1.model."
SD3_ENCODER = "text_encoders.{}.transformer."
ENDS = ("weight", "bias")


def ldm(pipe: Any, *, prefix: bool = True) -> State:
    """Return all weights of an SD1.x or SDXL pipeline as one LDM state.

    Args:
        pipe: pipeline with one text encoder (SD1.x) or two (SDXL).
        prefix: whether the UNet's names begin with `model.diffusion_model.`.
    """
    state = _within(DENOISER if prefix else "", unet(pipe.unet)) | _within(VAE, vae(pipe.vae))
    if getattr(pipe, "text_encoder_2", None) is None:
        positions = torch.arange(77).unsqueeze(0)  # old checkpoints have this table of 0 to 76
        clip = clip_l(pipe.text_encoder) | {"text_model.embeddings.position_ids": positions}
        return state | _within(SD15_CLIP, clip)
    state |= _within(SDXL_CLIP_L, clip_l(pipe.text_encoder))
    return state | _within(SDXL_CLIP_G, open_clip(pipe.text_encoder_2))


def ldm_controlnet(model: Any) -> State:
    """Return an SD1.x ControlNet as its authors' code saves it, prefix included."""
    stages = len(model.controlnet_cond_embedding.blocks)
    hints = {"conv_in.": "0.", "conv_out.": f"{2 * stages + 2}."} | {
        f"blocks.{stage}.": f"{2 * stage + 2}." for stage in range(stages)
    }
    places = [("controlnet_mid_block.", "middle_block_out.0.")]
    places += [
        (f"controlnet_cond_embedding.{ours}", f"input_hint_block.{theirs}")
        for ours, theirs in hints.items()
    ]
    places += [
        (f"controlnet_down_blocks.{place}.", f"zero_convs.{place}.0.")
        for place in range(len(model.controlnet_down_blocks))
    ]
    blocks = _unet_blocks(SimpleNamespace(config=model.config, up_blocks=model.down_blocks))
    return _within("control_model.", _renamed(model, [*places, *_UNET_TOP, *blocks], _RESNET))


def sai(pipe: Any, *, prefix: bool = True, encoders: bool = True) -> State:
    """Return transformer and VAE of an SD3 pipeline as one SAI state.

    Args:
        pipe: SD3 or SD3.5 pipeline.
        prefix: whether the transformer's names begin with `model.diffusion_model.`.
        encoders: whether the text encoders (those that the pipeline has) are in it too.
    """
    state = _within(DENOISER if prefix else "", mmdit(pipe.transformer))
    state |= _within(VAE, vae(pipe.vae))
    for name, encoder in _sd3_encoders(pipe) if encoders else ():
        state |= _within(SD3_ENCODER.format(name), encoder)
    return state


def parts(pipe: Any, folder: Path) -> dict[str, Path]:
    """Save each network of a pipeline to a file of its own, with bare names.

    Denoiser and VAE keep their authors' names, encoders those of transformers. CLIP-L of SD3 is
    without its projection where that is the identity, as the published file is.

    Returns:
        Path by part: `unet` or `dit`, `vae`, `clip_l`, `clip_g`, `t5xxl`.
    """
    states = {"vae": vae(pipe.vae)}
    if hasattr(pipe, "transformer"):
        states |= {"dit": mmdit(pipe.transformer)} | dict(_sd3_encoders(pipe))
    else:
        states |= {"unet": unet(pipe.unet), "clip_l": clip_l(pipe.text_encoder)}
        if getattr(pipe, "text_encoder_2", None) is not None:
            states["clip_g"] = _copied(pipe.text_encoder_2)
    folder.mkdir(parents=True, exist_ok=True)
    return {name: write(state, folder / f"{name}.safetensors") for name, state in states.items()}


def write(state: State, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Save a state as safetensors, each tensor with memory of its own."""
    save_file({name: one.clone().contiguous() for name, one in state.items()}, path, metadata)
    return path


def unet(model: Any) -> State:
    """Return a UNet under LDM's names: numbered input, middle and output blocks."""
    return _renamed(model, [*_UNET_TOP, *_unet_blocks(model)], _RESNET)


def vae(model: Any) -> State:
    """Return an autoencoder under LDM's names; its attention projections are convolutions."""
    state = _renamed(model, list(_vae_blocks(len(model.config.block_out_channels))), {})
    return {
        name: one[:, :, None, None] if ".attn_1." in name and one.ndim == 2 else one
        for name, one in state.items()
    }


def mmdit(model: Any) -> State:
    """Return an SD3 transformer under SAI's names: query, key and value in one projection."""
    source = model.state_dict()
    state = {"pos_embed": source["pos_embed.pos_embed"]}
    for theirs, ours in _MMDIT_TOP.items():
        state |= {f"{theirs}.{end}": source[f"{ours}.{end}"] for end in ENDS}
    for end in ENDS:
        state[f"final_layer.adaLN_modulation.1.{end}"] = _swapped(source[f"norm_out.linear.{end}"])
    for number in range(model.config.num_layers):
        is_last = number == model.config.num_layers - 1
        block = _joint_block(_within_of(source, f"transformer_blocks.{number}."), is_last)
        state |= _within(f"joint_blocks.{number}.", block)
    return {name: one.clone().contiguous() for name, one in state.items()}


def clip_l(model: Any) -> State:
    """Return a CLIP text model under the names of older transformers, below `text_model.`."""
    outer = ("text_model.", "text_projection.")
    return {
        name if name.startswith(outer) else f"text_model.{name}": one
        for name, one in _copied(model).items()
    }


def open_clip(model: Any) -> State:
    """Return a CLIP text model with projection under OpenCLIP's names."""
    source = _within_of(model.state_dict(), "text_model.")
    state = {
        "positional_embedding": source["embeddings.position_embedding.weight"],
        "token_embedding.weight": source["embeddings.token_embedding.weight"],
        "text_projection": model.text_projection.weight.detach().T,
    }
    state |= {f"ln_final.{end}": source[f"final_layer_norm.{end}"] for end in ENDS}
    for number in range(model.config.num_hidden_layers):
        layer = _within_of(source, f"encoder.layers.{number}.")
        state |= _within(f"transformer.resblocks.{number}.", _open_clip_layer(layer))
    return {name: one.clone().contiguous() for name, one in state.items()}


_UNET_TOP = [
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
]
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_TOP = [
    ("conv_in.", "conv_in."),
    ("conv_norm_out.", "norm_out."),
    ("conv_out.", "conv_out."),
    ("mid_block.resnets.0.conv_shortcut.", "mid.block_1.nin_shortcut."),
    ("mid_block.resnets.0.", "mid.block_1."),
    ("mid_block.attentions.0.group_norm.", "mid.attn_1.norm."),
    ("mid_block.attentions.0.to_q.", "mid.attn_1.q."),
    ("mid_block.attentions.0.to_k.", "mid.attn_1.k."),
    ("mid_block.attentions.0.to_v.", "mid.attn_1.v."),
    ("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."),
    ("mid_block.resnets.1.", "mid.block_2."),
]
_MMDIT_TOP = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_JOINT = {
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "attn2.to_out.0": "x_block.attn2.proj",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
_JOINED = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_OPEN_CLIP = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def _unet_blocks(model: Any) -> Iterator[tuple[str, str]]:
    """Yield (ours, LDM's) beginning of every numbered module; LDM counts through all levels."""
    layers = model.config.layers_per_block
    for level, block in enumerate(model.up_blocks):
        down, up = level * (layers + 1) + 1, level * (layers + 1)
        for layer in range(layers):
            place = f"down_blocks.{level}", f"input_blocks.{down + layer}"
            yield f"{place[0]}.resnets.{layer}.", f"{place[1]}.0."
            yield f"{place[0]}.attentions.{layer}.", f"{place[1]}.1."
        yield f"down_blocks.{level}.downsamplers.0.conv.", f"input_blocks.{down + layers}.0.op."
        for layer in range(layers + 1):
            place = f"up_blocks.{level}", f"output_blocks.{up + layer}"
            yield f"{place[0]}.resnets.{layer}.", f"{place[1]}.0."
            yield f"{place[0]}.attentions.{layer}.", f"{place[1]}.1."
        last = f"output_blocks.{up + layers}.{1 + hasattr(block, 'attentions')}"
        yield f"up_blocks.{level}.upsamplers.0.conv.", f"{last}.conv."


def _vae_blocks(levels: int) -> Iterator[tuple[str, str]]:
    """Yield (ours, LDM's) beginning of every module; LDM counts the decoder's levels from below."""
    for half in ("encoder.", "decoder."):
        yield from ((half + ours, half + theirs) for ours, theirs in _VAE_TOP)
    for level in range(levels):
        for ours, theirs, way in (
            (f"encoder.down_blocks.{level}.", f"encoder.down.{level}.", "down"),
            (f"decoder.up_blocks.{level}.", f"decoder.up.{levels - 1 - level}.", "up"),
        ):
            for layer in range(4):
                resnet = f"{ours}resnets.{layer}.", f"{theirs}block.{layer}."
                yield f"{resnet[0]}conv_shortcut.", f"{resnet[1]}nin_shortcut."
                yield resnet
            yield f"{ours}{way}samplers.0.", f"{theirs}{way}sample."
    yield from (("quant_conv.", "quant_conv."), ("post_quant_conv.", "post_quant_conv."))


def _joint_block(source: State, is_last: bool) -> State:
    state = {}
    for ours, theirs in _JOINT.items():
        swap = is_last and ours == "norm1_context.linear"
        for end in ENDS:
            if f"{ours}.{end}" in source:
                one = source[f"{ours}.{end}"]
                state[f"{theirs}.{end}"] = _swapped(one) if swap else one
    for theirs, three in _JOINED.items():
        for end in ENDS:
            if f"{three[0]}.{end}" in source:
                state[f"{theirs}.{end}"] = torch.cat([source[f"{ours}.{end}"] for ours in three])
    return state


def _open_clip_layer(source: State) -> State:
    state = {}
    for end in ENDS:
        state |= {f"{theirs}.{end}": source[f"{ours}.{end}"] for theirs, ours in _OPEN_CLIP.items()}
        three = [source[f"self_attn.{one}_proj.{end}"] for one in "qkv"]
        state[f"attn.in_proj_{end}"] = torch.cat(three)
    return state


def _sd3_encoders(pipe: Any) -> Iterator[tuple[str, State]]:
    """Yield (name, weights) of the encoders that an SD3 pipeline has."""
    names = {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "t5xxl": "text_encoder_3"}
    for name, attribute in names.items():
        encoder = getattr(pipe, attribute)
        if encoder is None:
            continue
        state = _copied(encoder)
        if name == "t5xxl":
            state.pop("encoder.embed_tokens.weight", None)  # shared.weight by another name
        projection = state.get("text_projection.weight")
        if name == "clip_l" and projection is not None and _is_identity(projection):
            del state["text_projection.weight"]
        yield name, state


def _is_identity(matrix: Tensor) -> bool:
    return not matrix.is_meta and torch.equal(matrix, torch.eye(len(matrix), dtype=matrix.dtype))


def _renamed(model: Any, places: list[tuple[str, str]], inner: dict[str, str]) -> State:
    """Return a model's weights, first matching beginning replaced, then the next name if listed."""
    state = {}
    for name, one in _copied(model).items():
        ours, theirs = next(place for place in places if name.startswith(place[0]))
        rest = name.removeprefix(ours)
        head, _, tail = rest.partition(".")
        is_resnet = ".resnets." in ours
        state[theirs + (f"{inner[head]}.{tail}" if is_resnet and head in inner else rest)] = one
    return state


def _swapped(one: Tensor) -> Tensor:
    """Exchange scale and shift, which the two layouts keep in opposite order."""
    return torch.cat(one.chunk(2)[::-1])


def _copied(model: Any) -> State:
    return {name: one.detach() for name, one in model.state_dict().items()}


def _within(prefix: str, state: State) -> State:
    return {prefix + name: one for name, one in state.items()}


def _within_of(state: State, prefix: str) -> State:
    return {
        name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)
    }
