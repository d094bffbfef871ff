"""What gates do to attention: their values, in a few numbers per head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attn.engine.interventions.rows import columns, sides_of
from attn.engine.reduction.measures import as_index
from attn.engine.shapes import GateStatistics, GateValues
from attn.errors import CaptureError
from attn.schema import Call, Gate, Layer, part, positions

LARGEST = 2**22
"""So many values at a time become float32, so that memory does not grow with the image."""
LOW = (0.5, 0.1)
"""Below the first a gate takes away more than it lets through, below the second nearly all."""

GateKey = tuple[str, str, str]
"""(tower, path of the attention module, query part)."""


@contextmanager
def watched(
    towers: Mapping[str, nn.Module],
    gates: Mapping[GateKey, str],
    find: Callable[[tuple[str, str]], nn.Module],
    see: Callable[[GateKey, Tensor], None],
    wanted: Callable[[], bool],
) -> Iterator[None]:
    """Report the values of gates while the model runs.

    What stands at the path of a gate is looked for before every forward of its tower: a LoRA may
    have been put there since, and the values are those with it.

    Args:
        towers: by name.
        gates: paths of the modules that return the values.
        find: returns the module at (tower, path).
        see: told (row, query, …) of each forward.
        wanted: asked before; while it says no, nothing is reported.
    """
    hooked: dict[GateKey, tuple[nn.Module, RemovableHandle]] = {}

    def reporter(key: GateKey) -> Callable[[nn.Module, Any, Tensor], None]:
        def report(module: nn.Module, args: Any, values: Tensor) -> None:
            if wanted():
                see(key, values)

        return report

    def hook(*_: object) -> None:
        for key, path in gates.items():
            module = find((key[0], path))
            if key in hooked and hooked[key][0] is module:
                continue
            if key in hooked:
                hooked[key][1].remove()
            hooked[key] = module, module.register_forward_hook(reporter(key))

    having = {name for name, *_ in gates}
    handles = [towers[name].register_forward_pre_hook(hook) for name in sorted(having)]
    try:
        hook()
        yield
    finally:
        for handle in (*handles, *(handle for _, handle in hooked.values())):
            handle.remove()


def part_values(values: Tensor, call: Call, row: int, layer: Layer, gate: Gate) -> Tensor:
    """Return what a gate's module said of its part's queries in one row, (query, number).

    Args:
        values: (row, query, number), as the module returned them.
        call: the forward.
        row: which row of its batch.
        layer: whose output the gate is on.
        gate: which of its gates.

    Raises:
        CaptureError: they are of other rows, queries or heads.
    """
    queries = positions(part(layer.queries, gate.part))
    side, _ = sides_of(layer, call, row)
    expected = [len(call.rows), side.length if gate.whole else len(queries)]
    if list(values.shape[:2]) != expected or values.shape[-1] % layer.num_heads:
        raise CaptureError(
            f"the gate of {layer.path} ({gate.part}) has values {list(values.shape)}, expected "
            f"{expected} and a multiple of {layer.num_heads} heads"
        )
    if not gate.whole:
        return values[row]
    return values[row, as_index(tuple(columns(queries, side)), values.device)]


def summarise(values: GateValues, heads: int, activation: str = "none") -> GateStatistics:
    """Return `schema.GATE_STATISTICS` of every head, (head, statistic) float32.

    Args:
        values: (query, head) or (query, head · channel).
        heads: how many there are.
        activation: what makes them numbers from 0 to 1; see `schema.Gate`.
    """
    by_head = values.detach().unflatten(-1, (heads, -1))
    size = by_head.shape[0] * by_head.shape[2]
    heads_at_once = max(1, LARGEST // max(1, size))
    return torch.cat([_statistics(some, activation) for some in by_head.split(heads_at_once, 1)])


def _statistics(by_head: Tensor, activation: str) -> GateStatistics:
    """Return the statistics of some heads, of (query, head, channel).

    They are taken of every channel first, over its queries, which is several times as fast, and
    with deviations from a mean that is corrected, so that a gate that is constant has none.
    """
    heads = by_head.shape[1]
    gates = by_head.sigmoid() if activation == "sigmoid" else by_head
    values = gates.to(torch.float32, copy=True).flatten(1)
    is_low = torch.empty_like(values)
    low = [torch.lt(values, bound, out=is_low).mean(0) for bound in LOW]
    rough = values.mean(0)
    rest = values.sub_(rough).mean(0).double()
    variance = values.square_().mean(0).double() - rest.square()
    mean = rough.double() + rest
    mean, variance, *low = (
        each.unflatten(0, (heads, -1)).double() for each in (mean, variance, *low)
    )
    whole = mean.mean(1)
    spread = variance.mean(1) + (mean - whole[:, None]).square().mean(1)
    shares = [each.mean(1) for each in low]
    return torch.stack([whole, spread.clamp_(min=0).sqrt(), *shares], 1).float()
