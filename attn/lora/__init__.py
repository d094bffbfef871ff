"""What a LoRA file changes, and by how much: `read(path)`; numpy only, no model is built.

    source, adapters, metadata   the file, its peft configuration, the trainer's texts
    names                        whose changes are in it
    changes/                     of which kind they are, their numbers, their size
    families, blocks             the model family, and what each module is for
    reader, file                 all of it read, as plain records
    oddities, usable             what is odd, and whether a backend can apply it
    block_weights                blocks turned off one by one; lists as other tools read them
    selection                    parts of it, by the names of modules
    facts                        the records as plain data, for JSON and tables
    base/                        the model that is changed, and whether the LoRA fits it

A new kind of change is added in `changes`.
"""

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
