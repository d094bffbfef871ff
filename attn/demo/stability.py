"""Write a pipeline of SD3 as its authors and sd-scripts do: other names, joined projections.

Renaming only; what is joined is the concatenation of ours, so that a loader has to give back the
very same weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from attn.demo.quiet import without_progress_bars
from attn.files.names import SAFETENSORS

State = dict[str, Tensor]

DENOISER = "model.diffusion_model."
VAE = "first_stage_model."
ENDS = ("weight", "bias")
CONFIG = "config"
"""Folder of configurations and tokenizers beside files of weights."""

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


def vae(model: Any) -> State:
    """Return an autoencoder under LDM's names; its attention projections are convolutions."""
    state = renamed(model, list(_vae_blocks(len(model.config.block_out_channels))), {})
    return {
        name: tensor[:, :, None, None] if ".attn_1." in name and tensor.ndim == 2 else tensor  # noqa: PLR2004
        for name, tensor in state.items()
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
        block = _joint_block(within_of(source, f"transformer_blocks.{number}."), is_last)
        state |= within(f"joint_blocks.{number}.", block)
    return {name: tensor.clone().contiguous() for name, tensor in state.items()}


def with_gates(state: State, gates: Mapping[str, Tensor]) -> State:
    """Put gates behind query, key and value, as sd-scripts' gated SD3.5 has them.

    Args:
        state: of a transformer, from `mmdit`.
        gates: by name of their attention, such as `joint_blocks.0.x_block.attn.weight`: (head,
            channel) for one gate per head, (channel, channel) for one per channel; and `….bias`.
    """
    joined = {}
    for name, gate in gates.items():
        stem, _, end = name.rpartition(".")
        joined[f"{stem}.qkv.{end}"] = torch.cat([state[f"{stem}.qkv.{end}"], gate])
    return state | joined


def save_split(pipe: Any, gates: Mapping[str, Tensor], folder: Path) -> None:
    """Write a pipeline of SD3 as sd-scripts does.

    Transformer and VAE go to `model.safetensors`, each encoder to a file of its own, and what
    those files do not tell, configurations and tokenizers, to `config/`.

    Args:
        pipe: the pipeline.
        gates: of its transformer, see `with_gates`.
        folder: created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = within(DENOISER, with_gates(mmdit(pipe.transformer), gates))
    files = {"model": state | within(VAE, vae(pipe.vae))} | dict(encoders(pipe))
    for name, held in files.items():
        tensors = {key: tensor.clone().contiguous() for key, tensor in held.items()}
        save_file(tensors, folder / f"{name}.safetensors", {"format": "pt"})
    with without_progress_bars():
        pipe.save_pretrained(folder / CONFIG)
    for weights in (folder / CONFIG).rglob(f"*{SAFETENSORS}"):
        weights.unlink()


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
                tensor = source[f"{ours}.{end}"]
                state[f"{theirs}.{end}"] = _swapped(tensor) if swap else tensor
    for theirs, three in _JOINED.items():
        for end in ENDS:
            if f"{three[0]}.{end}" in source:
                state[f"{theirs}.{end}"] = torch.cat([source[f"{ours}.{end}"] for ours in three])
    return state


def encoders(pipe: Any) -> Iterator[tuple[str, State]]:
    """Yield (name, weights) of the encoders that an SD3 pipeline has."""
    names = {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "t5xxl": "text_encoder_3"}
    for name, attribute in names.items():
        encoder = getattr(pipe, attribute)
        if encoder is None:
            continue
        state = copied(encoder)
        if name == "t5xxl":
            state.pop("encoder.embed_tokens.weight", None)  # shared.weight by another name
        projection = state.get("text_projection.weight")
        if name == "clip_l" and projection is not None and _is_identity(projection):
            del state["text_projection.weight"]
        yield name, state


def _is_identity(matrix: Tensor) -> bool:
    return not matrix.is_meta and torch.equal(matrix, torch.eye(len(matrix), dtype=matrix.dtype))


def renamed(model: Any, pairs: list[tuple[str, str]], inner: dict[str, str]) -> State:
    """Return a model's weights, first matching beginning replaced, then the next name if listed."""
    state = {}
    for name, tensor in copied(model).items():
        ours, theirs = next(pair for pair in pairs if name.startswith(pair[0]))
        rest = name.removeprefix(ours)
        head, _, tail = rest.partition(".")
        is_resnet = ".resnets." in ours
        state[theirs + (f"{inner[head]}.{tail}" if is_resnet and head in inner else rest)] = tensor
    return state


def _swapped(tensor: Tensor) -> Tensor:
    """Exchange scale and shift, which the two layouts keep in opposite order."""
    return torch.cat(tensor.chunk(2)[::-1])


def copied(model: Any) -> State:
    """Return a model's weights, without gradients."""
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def within(prefix: str, state: State) -> State:
    """Put a prefix before every name."""
    return {prefix + name: tensor for name, tensor in state.items()}


def within_of(state: State, prefix: str) -> State:
    """Return the entries with a prefix, stripped of it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
