"""Kinds of LoRAs whose models no backend here opens."""

from __future__ import annotations

import re

from attn.checkpoints.lora_kinds import (
    Changes,
    LoraFamily,
    LoraKind,
    attention_width,
    joint_paths,
    largest_number,
    matches,
)

_KREA2_NAMES = (
    r"(?:blocks_\d+_(?:attn_(?:w[qkvo]|gate)|mlp_(?:gate|up|down))\Z|txtfusion_|text_fusion_"
    r"|transformer_blocks_\d+_(?:attn_to_gate|ff_(?:gate|up|down))\Z)"
)
_KREA2_WIDTH, _KREA2_KEYS, _DOUBLES_OF_FLUX2 = 6144, 1536, 8


def _krea2(changes: Changes) -> LoraFamily | None:
    """Recognise gates, or attention as wide as FLUX.2's with fewer keys or in more blocks."""
    if matches(changes, _KREA2_NAMES):
        evidence = "attention has a gate, or the text a fusion of its own"
    elif (
        joint_paths(changes)
        and attention_width(changes) == _KREA2_WIDTH
        and not matches(changes, "single_transformer_blocks_")
        and (
            largest_number(changes, r"transformer_blocks_(\d{1,6})_") >= _DOUBLES_OF_FLUX2
            or any(
                shape and shape[0] == _KREA2_KEYS and re.search(r"_attn_to_[kv]\Z", path)
                for path, shape in changes.items()
            )
        )
    ):
        than = "in more blocks or with fewer keys than FLUX.2"
        evidence = f"joint attention is {_KREA2_WIDTH} wide, {than}"
    else:
        return None
    return LoraFamily("krea2", "Krea 2", (evidence,), is_certain=True)


OTHER_KINDS = (
    LoraKind(
        "auraflow",
        "AuraFlow",
        is_joint=True,
        paths=(r"joint_transformer_blocks_\d+_",),
        evidence=("blocks of two streams are called joint_transformer_blocks",),
        is_certain=True,
    ),
    LoraKind(
        "lumina2",
        "Lumina 2",
        is_joint=True,
        paths=(r"(?:layers|noise_refiner|context_refiner)_\d+_attention_qkv",),
        width=2304,
        evidence=("attention in layers is 2304 wide",),
    ),
    LoraKind("krea2", "Krea 2", claims="krea-?2", is_joint=True, recognise=_krea2),
    LoraKind("flux2-dev", "FLUX.2 dev", claims="flux-?2.*dev", is_joint=True),
)
"""What tells FLUX.2 dev from FLUX.1 stands with that."""
