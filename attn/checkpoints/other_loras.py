"""Kinds of LoRAs whose models no backend here opens."""

from __future__ import annotations

from attn.checkpoints.lora_kinds import LoraKind

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
    LoraKind("flux2-dev", "FLUX.2 dev", claims="flux-?2.*dev", is_joint=True),
)
"""What tells FLUX.2 dev from FLUX.1 stands with that."""
