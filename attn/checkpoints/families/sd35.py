"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from attn.checkpoints.family import FamilyFiles
from attn.checkpoints.lora_kinds import (
    Changes,
    LoraFamily,
    LoraKind,
    attention_width,
    joint_paths,
    matches,
)

_WIDTHS = {2432: "large", 1536: "medium"}
_WIDTH_OF_FLUX = 3072  # whose blocks have the same names


def _recognise(changes: Changes) -> LoraFamily | None:
    """Recognise blocks of joint attention, as they are called by Stability or by diffusers."""
    if matches(changes, r"joint_blocks_\d+_"):
        return _of_blocks(changes, "blocks are called joint_blocks")
    if not joint_paths(changes) or attention_width(changes) == _WIDTH_OF_FLUX:
        return None
    return _of_blocks(changes, "blocks of joint attention are called transformer_blocks")


def _of_blocks(changes: Changes, naming: str) -> LoraFamily:
    width = attention_width(changes)
    size = _WIDTHS.get(width or 0)
    second = any("_attn2_" in path for path in changes)
    evidence = [naming]
    if width:
        remark = "" if size else ", which no published model has"
        evidence.append(f"joint attention is {width} wide{remark}")
    if second:
        evidence.append("blocks have a second attention, as in 3.5 medium")
    title = {"large": "3.5 large", "medium": "3.5 medium" if second else "3 or 3.5 medium"}
    return LoraFamily(
        "sd35", f"Stable Diffusion {title.get(size or '', '3.x')}", tuple(evidence), is_certain=True
    )


FAMILY = FamilyFiles(
    name="sd35",
    parts=("dit", "vae", "clip_l", "clip_g", "t5xxl"),
    optional=("t5xxl",),
    pipelines=("StableDiffusion3Pipeline",),
    loras=(
        LoraKind(
            "sd35",
            "Stable Diffusion 3.x",
            claims=r"sd3|stable-diffusion-3",
            is_joint=True,
            recognise=_recognise,
            tower=("text_encoder_3", "it changes a third text encoder"),
        ),
    ),
)
