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
    LoraKind("flux2", "FLUX.2", claims="flux-?2", is_joint=True),
    LoraKind(None, "Stable Diffusion XL refiner", context=1280),
)
"""What tells FLUX.2 from FLUX.1 stands with that."""
