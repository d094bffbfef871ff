"""Write a diffusers pipeline in the other layouts that checkpoints come in.

LDM: one file of SD1.x or SDXL as its authors' code saves it. SAI: the same for SD3 and SD3.5.
Parts: one file per network, as sd-scripts takes them. Renaming only; joined projections are the
concatenation of ours, so that a loader has to give back the very same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file

from attn.checkpoints.families import chroma as chroma_files
from attn.checkpoints.families import flux
from attn.checkpoints.families import flux2 as flux2_files
from attn.checkpoints.families import krea2 as krea2_files
from attn.checkpoints.families import pixart as pixart_files
from attn.checkpoints.families import sana as sana_files
from attn.checkpoints.families import wan as wan_files
from attn.checkpoints.families import z_image as z_image_files
from attn.checkpoints.layouts import BLOCK, Naming, numbered
from attn.demo.stability import (
    DENOISER,
    ENDS,
    VAE,
    State,
    copied,
    mmdit,
    renamed,
    vae,
    within,
    within_of,
)
from attn.demo.stability import (
    encoders as sd3_encoders,
)

SD15_CLIP = "cond_stage_model.transformer."
SD2_CLIP_H = "cond_stage_model.model."
REFINER_CLIP_G = "conditioner.embedders.0.model."
SDXL_CLIP_L = "conditioner.embedders.0.transformer."
SDXL_CLIP_G = "conditioner.embedders.1.model."
SD3_ENCODER = "text_encoders.{}.transformer."


def ldm(pipe: Any, *, prefix: bool = True) -> State:
    """Return all weights of an SD1.x or SDXL pipeline as one LDM state.

    Args:
        pipe: pipeline with one text encoder (SD1.x) or two (SDXL).
        prefix: whether the UNet's names begin with `model.diffusion_model.`.
    """
    state = within(DENOISER if prefix else "", unet(pipe.unet)) | within(VAE, vae(pipe.vae))
    if getattr(pipe, "text_encoder", None) is None:  # the refiner
        return state | within(REFINER_CLIP_G, open_clip(pipe.text_encoder_2))
    if pipe.text_encoder.config.hidden_act == "gelu":  # SD2.x
        return state | within(SD2_CLIP_H, clip_h(pipe.text_encoder))
    if getattr(pipe, "text_encoder_2", None) is None:
        positions = torch.arange(77).unsqueeze(0)  # old checkpoints have this table of 0 to 76
        clip = clip_l(pipe.text_encoder) | {"text_model.embeddings.position_ids": positions}
        return state | within(SD15_CLIP, clip)
    state |= within(SDXL_CLIP_L, clip_l(pipe.text_encoder))
    return state | within(SDXL_CLIP_G, open_clip(pipe.text_encoder_2))


def ldm_controlnet(model: Any) -> State:
    """Return an SD1.x ControlNet as its authors' code saves it, prefix included."""
    stages = len(model.controlnet_cond_embedding.blocks)
    hints = {"conv_in.": "0.", "conv_out.": f"{2 * stages + 2}."} | {
        f"blocks.{stage}.": f"{2 * stage + 2}." for stage in range(stages)
    }
    indices = [("controlnet_mid_block.", "middle_block_out.0.")]
    indices += [
        (f"controlnet_cond_embedding.{ours}", f"input_hint_block.{theirs}")
        for ours, theirs in hints.items()
    ]
    indices += [
        (f"controlnet_down_blocks.{index}.", f"zero_convs.{index}.0.")
        for index in range(len(model.controlnet_down_blocks))
    ]
    blocks = _unet_blocks(SimpleNamespace(config=model.config, up_blocks=model.down_blocks))
    return within("control_model.", renamed(model, [*indices, *_UNET_TOP, *blocks], _RESNET))


def sai(pipe: Any, *, prefix: bool = True, encoders: bool = True) -> State:
    """Return transformer and VAE of an SD3 pipeline as one SAI state.

    Args:
        pipe: SD3 or SD3.5 pipeline.
        prefix: whether the transformer's names begin with `model.diffusion_model.`.
        encoders: whether the text encoders (those that the pipeline has) are in it too.
    """
    state = within(DENOISER if prefix else "", mmdit(pipe.transformer))
    state |= within(VAE, vae(pipe.vae))
    for name, encoder in sd3_encoders(pipe) if encoders else ():
        state |= within(SD3_ENCODER.format(name), encoder)
    return state


def bfl(pipe: Any, *, prefix: bool = True) -> State:
    """Return FLUX.1 as one file of all its parts, as ComfyUI takes it."""
    state = within(DENOISER if prefix else "", of_authors(pipe.transformer, flux.LAYOUT))
    state |= within("vae.", vae(pipe.vae))
    state |= within(SD3_ENCODER.format("clip_l"), clip_l(pipe.text_encoder))
    return state | within(SD3_ENCODER.format("t5xxl"), copied(pipe.text_encoder_2))


def sana_dit(model: Any) -> State:
    """Return Sana's transformer under its authors' names, with what their file has beside."""
    state = _with_tensors(model, sana_files.LAYOUT) | _OF_CAPTIONS
    return state | {"pos_embed": torch.zeros(1, 3, 5)}


def wan_dit(model: Any) -> State:
    """Return Wan's transformer under its authors' names."""
    return _with_tensors(model, wan_files.LAYOUT)


def _with_tensors(model: Any, layout: Naming) -> State:
    """Return a transformer whose authors have tensors that are no module's weight or bias."""
    state = of_authors(model, layout)
    for theirs, ours in layout.tensors.items():
        for name, value in model.state_dict().items():
            pattern, number = numbered(name)
            if pattern == ours:
                state[theirs.replace(BLOCK, number)] = value
    return state


_OF_CAPTIONS = {"y_embedder.y_embedding": torch.zeros(3, 5)}
"""What files of PixArt and Sana have beside their weights."""


def chroma(pipe: Any, *, prefix: bool = True) -> State:
    """Return Chroma as one file of all its parts, as ComfyUI takes it."""
    ours = {path for paths in chroma_files.LAYOUT.modules.values() for path in paths}
    same = {
        name: value
        for name, value in pipe.transformer.state_dict().items()
        if numbered(name.rpartition(".")[0])[0] not in ours
    }
    dit = same | of_authors(pipe.transformer, chroma_files.LAYOUT)
    norms = {name for name in dit if ".norms." in name}
    dit |= {name.replace(".weight", ".scale"): dit.pop(name) for name in norms}
    state = within(DENOISER if prefix else "", dit) | within("vae.", vae(pipe.vae))
    return state | within(SD3_ENCODER.format("t5xxl"), copied(pipe.text_encoder))


def flux2_vae(model: Any) -> State:
    """Return FLUX.2's VAE under LDM's names, with the norm of latents beside them."""
    state = copied(model)
    norms = {name: state.pop(name) for name in [*state] if name.startswith("bn.")}
    return vae(SimpleNamespace(config=model.config, state_dict=lambda: state)) | norms


def flux2(pipe: Any, *, prefix: bool = True) -> State:
    """Return FLUX.2 klein as one file of all its parts."""
    dit = of_authors(pipe.transformer, flux2_files.LAYOUT)
    state = within(DENOISER if prefix else "", dit) | within("vae.", flux2_vae(pipe.vae))
    return state | within(SD3_ENCODER.format("qwen3_4b"), copied(pipe.text_encoder))


def pixart(pipe: Any, *, prefix: bool = True) -> State:
    """Return PixArt as one file of all its parts, with what its authors' file has beside."""
    state = _with_tensors(pipe.transformer, pixart_files.LAYOUT) | _OF_CAPTIONS
    state = within(DENOISER if prefix else "", state) | within("vae.", vae(pipe.vae))
    return state | within(SD3_ENCODER.format("t5xxl"), copied(pipe.text_encoder))


def of_authors(model: Any, layout: Naming) -> State:
    """Return a transformer under its authors' names; what is joined there is concatenated."""
    source, state = model.state_dict(), {}
    endings = {end: end for end in ENDS} | {
        ours: theirs for theirs, ours in layout.parameters.items()
    }
    numbers = sorted({numbered(name)[1] for name in source})
    for (pattern, paths), number, end in product(layout.modules.items(), numbers, ENDS):
        names = [f"{path.replace(BLOCK, number)}.{end}" for path in paths]
        if names[0] in source:
            whole = torch.cat([source[name] for name in names])
            halves = whole.chunk(2)[::-1] if pattern in layout.swapped else [whole]
            ending = endings[end] if pattern.endswith("_norm") else end
            state[f"{pattern.replace(BLOCK, number)}.{ending}"] = torch.cat(halves)
    return state


def z_image_dit(model: Any) -> State:
    """Return Z-Image's transformer under its authors' names, of which most are the library's."""
    ours = {path for paths in z_image_files.LAYOUT.modules.values() for path in paths}
    same = {
        name: value
        for name, value in model.state_dict().items()
        if numbered(name.rpartition(".")[0])[0] not in ours
    }
    return same | of_authors(model, z_image_files.LAYOUT)


def z_image(pipe: Any, *, prefix: bool = True) -> State:
    """Return Z-Image as one file of all its parts, with what its authors' file has beside."""
    state = z_image_dit(pipe.transformer) | {"norm_final.weight": torch.ones(2)}
    state = within(DENOISER if prefix else "", state) | within("vae.", vae(pipe.vae))
    encoder = within("model.", copied(pipe.text_encoder))
    return state | within(SD3_ENCODER.format("qwen3_4b"), encoder)


def qwen25vl(model: Any) -> State:
    """Return Qwen2.5-VL under the names that files of it have, which are older than today's."""
    pairs = [("model.language_model.", "model."), ("model.visual.", "visual."), ("", "")]
    return renamed(model, pairs, {})


def qwen_image(pipe: Any, *, prefix: bool = True) -> State:
    """Return Qwen-Image as one file of all its parts."""
    state = within(DENOISER if prefix else "", copied(pipe.transformer))
    state |= within("vae.", copied(pipe.vae))
    return state | within(SD3_ENCODER.format("qwen25_7b"), qwen25vl(pipe.text_encoder))


def krea2_dit(model: Any) -> State:
    """Return Krea 2's transformer under its authors' names, its tables in one row each."""
    theirs = {ours: name for name, (ours,) in krea2_files.LAYOUT.modules.items()}
    tables = {ours: name for name, ours in krea2_files.LAYOUT.tensors.items()}
    state = {}
    for name, value in model.state_dict().items():
        stem, _, end = name.rpartition(".")
        pattern, number = numbered(stem)
        if pattern in theirs:
            ending = "scale" if "norm" in pattern.rpartition(".")[2] else end
            state[f"{theirs[pattern].replace(BLOCK, number)}.{ending}"] = value
        else:
            pattern, number = numbered(name)
            state[tables[pattern].replace(BLOCK, number)] = value.flatten() if number else value
    return state


def qwen3vl(model: Any) -> State:
    """Return Qwen3-VL as ComfyUI has it, with a head that no encoder reads."""
    state = renamed(model, [("language_model.", "model."), ("", "")], {})
    return state | {"lm_head.weight": state["model.embed_tokens.weight"]}


def krea2(pipe: Any, *, prefix: bool = True) -> State:
    """Return Krea 2 as one file of all its parts."""
    state = within(DENOISER if prefix else "", krea2_dit(pipe.transformer))
    state |= within("vae.", copied(pipe.vae))
    encoder = within("model.", copied(pipe.text_encoder))
    return state | within(SD3_ENCODER.format("qwen3vl_4b"), encoder)


def parts(pipe: Any, folder: Path) -> dict[str, Path]:
    """Save each network of a pipeline to a file of its own, with bare names.

    Denoiser and VAE keep their authors' names, encoders those of transformers. CLIP-L of SD3 is
    without its projection where that is the identity, as the published file is.

    Returns:
        Path by part: `unet` or `dit`, `vae`, `clip_l`, `clip_g`, `t5xxl`.
    """
    states = {"vae": vae(pipe.vae)}
    if hasattr(pipe, "transformer"):
        states |= {"dit": mmdit(pipe.transformer)} | dict(sd3_encoders(pipe))
    else:
        states |= {"unet": unet(pipe.unet), "clip_l": clip_l(pipe.text_encoder)}
        if getattr(pipe, "text_encoder_2", None) is not None:
            states["clip_g"] = copied(pipe.text_encoder_2)
    folder.mkdir(parents=True, exist_ok=True)
    return {name: write(state, folder / f"{name}.safetensors") for name, state in states.items()}


def write(state: State, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Save a state as safetensors, each tensor with memory of its own."""
    save_file({name: value.clone().contiguous() for name, value in state.items()}, path, metadata)
    return path


def unet(model: Any) -> State:
    """Return a UNet under LDM's names: numbered input, middle and output blocks."""
    return renamed(model, [*_UNET_TOP, *_unet_blocks(model)], _RESNET)


def clip_l(model: Any) -> State:
    """Return a CLIP text model under the names of older transformers, below `text_model.`."""
    outer = ("text_model.", "text_projection.")
    return {
        name if name.startswith(outer) else f"text_model.{name}": value
        for name, value in copied(model).items()
    }


def clip_h(model: Any) -> State:
    """Return SD2.x's text model as its file has it: with one more layer, and a projection."""
    state, count = open_clip(model), model.config.num_hidden_layers
    last, beyond = (f"transformer.resblocks.{number}." for number in (count - 1, count))
    state |= within(beyond, {name: value + 1 for name, value in within_of(state, last).items()})
    return state | {"text_projection": torch.eye(model.config.hidden_size)}


def open_clip(model: Any) -> State:
    """Return a CLIP text model under OpenCLIP's names, with its projection if it has one."""
    whole = model.state_dict()
    source = within_of(whole, "text_model.") or whole  # newer libraries left the level out
    state = {
        "positional_embedding": source["embeddings.position_embedding.weight"],
        "token_embedding.weight": source["embeddings.token_embedding.weight"],
    }
    if hasattr(model, "text_projection"):
        state["text_projection"] = model.text_projection.weight.detach().T
    state |= {f"ln_final.{end}": source[f"final_layer_norm.{end}"] for end in ENDS}
    for number in range(model.config.num_hidden_layers):
        layer = within_of(source, f"encoder.layers.{number}.")
        state |= within(f"transformer.resblocks.{number}.", _open_clip_layer(layer))
    return {name: value.clone().contiguous() for name, value in state.items()}


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
            index = f"down_blocks.{level}", f"input_blocks.{down + layer}"
            yield f"{index[0]}.resnets.{layer}.", f"{index[1]}.0."
            yield f"{index[0]}.attentions.{layer}.", f"{index[1]}.1."
        yield f"down_blocks.{level}.downsamplers.0.conv.", f"input_blocks.{down + layers}.0.op."
        for layer in range(layers + 1):
            index = f"up_blocks.{level}", f"output_blocks.{up + layer}"
            yield f"{index[0]}.resnets.{layer}.", f"{index[1]}.0."
            yield f"{index[0]}.attentions.{layer}.", f"{index[1]}.1."
        last = f"output_blocks.{up + layers}.{1 + hasattr(block, 'attentions')}"
        yield f"up_blocks.{level}.upsamplers.0.conv.", f"{last}.conv."


def _open_clip_layer(source: State) -> State:
    state = {}
    for end in ENDS:
        state |= {f"{theirs}.{end}": source[f"{ours}.{end}"] for theirs, ours in _OPEN_CLIP.items()}
        three = [source[f"self_attn.{item}_proj.{end}"] for item in "qkv"]
        state[f"attn.in_proj_{end}"] = torch.cat(three)
    return state
