"""Tensors by the names of their axes, as `attn.shapes` has them for arrays."""

from __future__ import annotations

from jaxtyping import Bool, Float, Float32
from torch import Tensor

Probs = Float32[Tensor, "head query key"]
"""A block of the attention matrix of one row of the batch; 0 to 1."""
Logits = Float32[Tensor, "head query key"]
"""Likewise before the softmax, less what is subtracted; or natural logarithms of `Probs`."""
Norms = Float[Tensor, "batch head query"]
"""Natural logarithm of the sum of exp(logits) over all keys."""
RowMask = Float[Tensor, "#head #query #key"]
"""What is added to the logits of one row of the batch; an axis of size 1 repeats."""
PerHead = Float32[Tensor, "head"]
PerQuery = Float32[Tensor, "head query"]
"""One number a head."""
ColumnMembers = Float32[Tensor, "key column"]
"""1 where a key belongs to a column of the map, else 0."""
GateValues = Float[Tensor, "query channel"]
"""What a gate multiplies by, 0 to 1: one number a head, or one a channel of each head."""
GateStatistics = Float32[Tensor, "head statistic"]
KernelProbs = Float[Tensor, "row head query key"]
"""The attention matrices of a whole call."""
Where = Bool[Tensor, "row head query 1"]
"""Which outputs of a call; an axis of size 1 repeats."""
Everywhere = Float32[Tensor, "row head query key"]
"""What is added to the logits of a call; an axis of size 1 repeats."""
