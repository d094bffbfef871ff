"""Choices of options and of files that several parts of the package share."""

from typing import Literal

Level = Literal["mass", "means", "maps", "heads", "factors"]
"""How much a trace keeps."""
Keys = Literal["content", "all"]
"""Which columns its maps have: content tokens and a rest, or all."""
Masses = Literal["text", "full"]
"""Which masses it has: of text keys, or also of image keys and of text rows."""
Status = Literal["partial", "complete"]
"""Of a trace."""
ItemStatus = Literal["pending", "complete", "failed"]
"""Of a trace in a collection."""
Pooling = Literal["mean", "daam"]
"""How one map is made of those of many layers, heads and steps."""
NumberFormat = Literal["auto", "float32", "bfloat16", "float16"]
"""Of a model's weights; `auto` is float32 on a CPU, else bfloat16."""
Offload = Literal["none", "model"]
"""Where parts of a model wait that do not run: where the others are, or in main memory."""
