"""What one checkpoint file holds: the parts of a model, under which prefixes, and what else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from attn.checkpoints.families import families
from attn.checkpoints.headers import Header, TensorInfo
from attn.checkpoints.other_models import UNUSED

CONFIGS = Path(__file__).with_name("configs")
"""The shipped configurations: diffusers folders without weights and tokenizers."""

GATE = "gate_proj"
"""What sd-scripts calls the projection of a gate that is not in rows of `qkv`."""

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
"""Prefixes under which denoisers are found."""

WRAPPERS = ("first_stage_model.", "vae.", "cond_stage_model.", "conditioner.", "text_encoders.")
"""Beginnings of names of all parts but the denoiser in files that hold several."""

Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Checkpoint:
    """What one file holds.

    Attributes:
        family: backend that takes it, as `families` names it; None where none does, or where a part
            alone (a VAE, a text encoder) serves several.
        title: what it is, in words that continue "this is …".
        layout: whose names it uses: `LDM`, `SAI`, `BFL`, `diffusers`, `encoder` (those of
            transformers), `OpenCLIP`, or `unknown`.
        parts: prefix of the names of each part: `unet` or `dit`, `vae`, `clip_l`, `clip_g`,
            `t5xxl`, …. A CLIP of unpublished width alone in a file is listed as each of three.
        config: the folder below `CONFIGS` whose sizes the denoiser has exactly, or None.
        prediction: what the denoiser was trained to predict, as far as the file says.
        zero_snr: whether the file says that it was trained down to pure noise.
        advice: for what no backend opens by itself: why, and what to do; else None.
    """

    family: str | None
    title: str
    layout: str
    parts: Mapping[str, str] = field(default_factory=dict)
    config: str | None = None
    prediction: Literal["v", "epsilon"] | None = None
    zero_snr: bool = False
    advice: str | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Parts that the family's model has and this file has not."""
        family = families().get(self.family or "")
        return tuple(part for part in family.parts if part not in self.parts) if family else ()


class Members(NamedTuple):
    """The tensors of a file, by what they belong to.

    Attributes:
        parts: per part, its tensors by their names without prefix.
        unused: names of which no picture depends: averages of training, tables, markers.
        unknown: names that belong to no part.
    """

    parts: dict[str, dict[str, TensorInfo]]
    unused: list[str]
    unknown: list[str]


def members(header: Header, checkpoint: Checkpoint) -> Members:
    """Sort the tensors of a file by the parts that were found in it; the longest prefix wins."""
    result = Members({part: {} for part in checkpoint.parts}, [], [])
    owners: dict[str, list[str]] = {}
    for part, prefix in checkpoint.parts.items():
        owners.setdefault(prefix, []).append(part)
    for name, info in header.tensors.items():
        longest = max(filter(name.startswith, owners), key=len, default=None)
        if UNUSED.match(name) and not set(SEEING) & checkpoint.parts.keys():
            result.unused.append(name)
        elif longest is None:
            result.unknown.append(name)
        else:
            for part in owners[longest]:
                result.parts[part][name.removeprefix(longest)] = info
    return result


def parameters(tensors: Tensors) -> int:
    """Count the parameters of a part, without computed tables and duplicates."""
    aside = {"pos_embed", "pos_embed.pos_embed"}
    if "shared.weight" in tensors:
        aside.add("encoder.embed_tokens.weight")
    return sum(info.elements for name, info in tensors.items() if name not in aside)


def size(tensors: Tensors, name: str, axis: int) -> int:
    """Return the size of one axis of a tensor; 0 where there is no such tensor or axis."""
    shape = tensors[name].shape if name in tensors else ()
    return shape[axis] if axis < len(shape) else 0


def count(tensors: Tensors, ending: str) -> int:
    """Count the names with this ending."""
    return sum(name.endswith(ending) for name in tensors)


_TOKENS = "embeddings.token_embedding.weight"
_CLIP = (f"text_model.{_TOKENS}", _TOKENS)
_OPEN_CLIP = ("token_embedding.weight",)
_T5 = ("encoder.block.0.layer.0.SelfAttention.q.weight",)
_QWEN3 = ("model.layers.0.self_attn.q_norm.weight",)
_QWEN25VL = tuple(f"{level}visual.blocks.0.mlp.gate_proj.weight" for level in ("", "model."))
_QWEN3VL = tuple(f"{level}visual.pos_embed.weight" for level in ("", "model."))
_GEMMA2 = tuple(f"{level}layers.0.pre_feedforward_layernorm.weight" for level in ("model.", ""))
_WRAPPED = (
    ("vae", "first_stage_model.", ("decoder.conv_in.weight",)),
    ("vae", "vae.", ("decoder.conv_in.weight",)),
    ("clip_l", "cond_stage_model.transformer.", _CLIP),
    ("clip_l", "conditioner.embedders.0.transformer.", _CLIP),
    ("clip_g", "conditioner.embedders.1.model.", _OPEN_CLIP),
    ("clip_g", "conditioner.embedders.0.model.", _OPEN_CLIP),
    ("clip_h", "cond_stage_model.model.", _OPEN_CLIP),
    ("clip_l", "text_encoders.clip_l.transformer.", _CLIP),
    ("clip_g", "text_encoders.clip_g.transformer.", _CLIP),
    ("t5xxl", "text_encoders.t5xxl.transformer.", _T5),
    ("qwen3", "text_encoders.qwen3_4b.transformer.", _QWEN3),
    ("qwen25vl", "text_encoders.qwen25_7b.transformer.", _QWEN25VL),
    ("qwen3vl", "text_encoders.qwen3vl_4b.transformer.", _QWEN3VL),
    ("gemma2", "text_encoders.gemma2_2b.transformer.", _GEMMA2),
)


def beside(tensors: Tensors) -> dict[str, str]:
    """Return prefixes by part, of the parts that stand beside a denoiser in one file."""
    return {
        part: prefix
        for part, prefix, landmarks in _WRAPPED
        if any(prefix + name in tensors for name in landmarks)
    }


def without_denoiser(tensors: Tensors) -> Checkpoint | None:
    """Recognise parts alone: an encoder, a VAE, or several of them in one file."""
    parts = beside(tensors)
    if parts:
        layout = "SAI" if any(name.startswith("text_encoders.") for name in tensors) else "LDM"
        return _part(", ".join(parts), "a file of parts without a denoiser", layout, parts)
    return _vae(tensors) or _clip(tensors) or _open_clip(tensors) or _t5(tensors)


def _part(role: str, title: str, layout: str, parts: dict[str, str]) -> Checkpoint:
    advice = f"it cannot draw alone; give a model as --model, and this beside it as {role}"
    return Checkpoint(None, title, layout, parts, advice=advice)


_VAE_LAYOUTS = {
    "LDM": "decoder.mid.block_1.conv1.weight",
    "diffusers": "decoder.mid_block.resnets.0.conv1.weight",
}
_VIDEO_KERNEL = ("out", "in", "frame", "row", "column")
_VAE_USERS = {4: ", as SD1.x and SDXL have", 16: ", as SD3 and FLUX.1 have"}


def _vae(tensors: Tensors) -> Checkpoint | None:
    channels = size(tensors, "decoder.conv_in.weight", 1)
    for layout, landmark in _VAE_LAYOUTS.items():
        if landmark in tensors and channels:
            is_flat = len(tensors["decoder.conv_in.weight"].shape) < len(_VIDEO_KERNEL)
            users = _VAE_USERS.get(channels, "") if is_flat else ", for images or films"
            title = f"a VAE of {channels} latent channels{users}"
            return _part("vae", title, layout, {"vae": ""})
    return None


_CLIP_WIDTHS = {768: ("clip_l", "CLIP-L"), 1024: ("clip_h", "CLIP-H"), 1280: ("clip_g", "CLIP-G")}

_CLIPS = ("clip_l", "clip_g", "clip_h")


def _clip(tensors: Tensors) -> Checkpoint | None:
    for name in _CLIP:
        if name in tensors:
            return _clip_of(size(tensors, name, 1), "encoder")
    return None


def _open_clip(tensors: Tensors) -> Checkpoint | None:
    if "transformer.resblocks.0.ln_1.weight" not in tensors:
        return None
    return _clip_of(size(tensors, "token_embedding.weight", 1), "OpenCLIP")


def _clip_of(width: int, layout: str) -> Checkpoint:
    if width in _CLIP_WIDTHS:
        part, name = _CLIP_WIDTHS[width]
        return _part(part, f"{name}, a text encoder", layout, {part: ""})
    title = f"a CLIP text encoder of width {width}"
    return _part("clip_l, clip_g or clip_h", title, layout, dict.fromkeys(_CLIPS, ""))


_T5_XXL = 4096
_UMT5 = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
"""UMT5 has a table of distances in every layer, T5 in the first."""


def _t5(tensors: Tensors) -> Checkpoint | None:
    if _T5[0] not in tensors:
        return None
    width = size(tensors, _T5[0], 1)
    kind = "UMT5" if _UMT5 in tensors else "T5"
    title = f"{kind}-XXL" if width == _T5_XXL else f"{kind} of width {width}"
    part = f"{kind.lower()}xxl"
    return _part(part, f"{title}, a text encoder", "encoder", {part: ""})


def language_encoder(tensors: Tensors) -> Checkpoint | None:
    """Recognise a language model that encodes prompts for a denoiser."""
    for part, title, landmarks in LANGUAGE_PARTS:
        if any(name in tensors for name in landmarks):
            return _part(part, f"{title}, a text encoder", "encoder", {part: ""})
    return None


LANGUAGE_PARTS = (
    ("qwen3vl", "Qwen3-VL", _QWEN3VL),  # before Qwen3, whose names it has beside those
    ("qwen3", "Qwen3", _QWEN3),
    ("qwen25vl", "Qwen2.5-VL", _QWEN25VL),
    ("gemma2", "Gemma 2", _GEMMA2),
)
SEEING = ("qwen25vl", "qwen3vl")
"""Parts of language models that see, too: what they see with belongs to them."""
