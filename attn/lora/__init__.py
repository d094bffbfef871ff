"""What a LoRA file changes, and by how much: `read(path)`; numpy only, no model is built."""

from attn.lora.facts import describe
from attn.lora.file import (
    BaseModel,
    Group,
    LoraFile,
    Module,
    Oddity,
    blocks,
    targets,
    towers,
)
from attn.lora.reader import is_lora, read

__all__ = [
    "BaseModel",
    "Group",
    "LoraFile",
    "Module",
    "Oddity",
    "blocks",
    "describe",
    "is_lora",
    "read",
    "targets",
    "towers",
]
