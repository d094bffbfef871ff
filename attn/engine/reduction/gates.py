"""What gates do to attention: their values, in a few numbers per head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from attn.engine.shapes import GateStatistics, GateValues

LOW = (0.5, 0.1)
"""Below the first a gate takes away more than it lets through, below the second nearly all."""

GateKey = tuple[str, str, str]
"""(tower, path of the attention module, query part)."""


@contextmanager
def watched(
    gates: Mapping[GateKey, nn.Module],
    see: Callable[[GateKey, Tensor], None],
    wanted: Callable[[], bool],
) -> Iterator[None]:
    """Report the values of gates while the model runs.

    Args:
        gates: modules that return them.
        see: told (row, query, …) of each forward.
        wanted: asked before; while it says no, nothing is reported.
    """

    def reporter(key: GateKey) -> Callable[[nn.Module, Any, Tensor], None]:
        def report(module: nn.Module, args: Any, values: Tensor) -> None:
            if wanted():
                see(key, values)

        return report

    handles = [module.register_forward_hook(reporter(key)) for key, module in gates.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def summarise(values: GateValues, heads: int) -> GateStatistics:
    """Return `schema.GATE_STATISTICS` of every head, (head, statistic) float32.

    Args:
        values: (query, head) or (query, head · channel), 0 to 1.
        heads: how many there are.
    """
    by_head = values.detach().unflatten(-1, (heads, -1))
    variance, mean = torch.var_mean(by_head.float(), dim=(0, 2), correction=0)
    size = by_head.shape[0] * by_head.shape[2]
    low = [torch.count_nonzero(by_head < bound, dim=(0, 2)) / size for bound in LOW]
    return torch.stack([mean, variance.sqrt(), *low], dim=1)
