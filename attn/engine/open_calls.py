"""The announced forward that runs: what is due in it, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from attn.engine.attention import placements
from attn.engine.reduction.gates import GateKey
from attn.schema import Call, Layer, LayerKey


@dataclass
class OpenCall:
    """One announced forward: which rows are kept, which layers are due, what was seen."""

    call: Call
    rows: dict[tuple[str, int], int]
    due: set[LayerKey]
    seen: set[LayerKey] = field(default_factory=set)
    gates: set[GateKey] = field(default_factory=set)
    conceived: set[LayerKey] = field(default_factory=set)
    other: dict[LayerKey, list[str]] = field(default_factory=dict)


def is_filled(layer: Layer, call: Call, row: int) -> bool:
    """Whether a row has other positions than its layer."""
    if call.lengths:
        return not all(side.is_whole for side in placements(layer, call, row))
    return bool(call.padding)


def is_skipped(key: LayerKey, call: Call) -> bool:
    """Whether a call says that it leaves a layer out."""
    return any(key[1] == path or key[1].startswith(f"{path}.") for path in call.skipped_layers)


def say_unseen(layer: Layer, call: OpenCall) -> str:
    """Say that a layer ran, and which kernels were seen in its place."""
    operators = "; ".join(call.other.get((layer.tower, layer.path), []))
    reason = (
        "layers() lays it out otherwise than it runs: declare the heads, queries and keys that ran"
        if operators
        else "The model computes its attention in a way that cannot be observed (compiled, or not "
        "through torch's scaled_dot_product_attention or softmax), or this is not the module that "
        "does, or the call leaves it out without saying so in skipped_layers"
    )
    return (
        f"no attention was seen in layer {layer.path} of the {layer.tower}, step {call.call.step}: "
        f"expected {layer.num_heads} heads, {layer.num_queries} queries, {layer.num_keys} keys; "
        f"found {operators or 'no attention kernel'}. {reason}"
    )
