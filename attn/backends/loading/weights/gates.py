"""Gates on the attention of SD3's transformers: read from a checkpoint, applied by hooks.

A gate multiplies what attention gives by sigmoid(Linear(x)), before the last projection, where x is
the very input of query, key and value; a number per query and head (headwise), or per query and
channel (elementwise). Source: Qiu et al. 2025 (https://arxiv.org/abs/2505.06708), there called G1.
Image and text have gates of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attn.checkpoints.inventory import GATE
from attn.schema import Gate

STREAMS = {
    ("attn", "image"): "x_block.attn",
    ("attn", "text"): "context_block.attn",
    ("attn2", "image"): "x_block.attn2",
}
"""Of a block: attention and query part here, and where Stability's layout has them."""
ENDS = ("weight", "bias")


@dataclass(frozen=True)
class Stream:
    """The queries of one part of one attention module, which may have a gate.

    Attributes:
        attention: the module.
        path: of the module.
        part: `image` or `text`.
        stem: beginning of the names of its tensors in Stability's layout.
    """

    attention: Any
    path: str
    part: str
    stem: str

    @property
    def gate(self) -> Any:
        """The gate: linear and sigmoid, (…, channel) to (…, head) or (…, channel); or None."""
        return getattr(getattr(self.attention, "gates", None), self.part, None)

    @property
    def path_of_gate(self) -> str:
        """Where the gate is, if there is one."""
        return f"{self.path}.gates.{self.part}"

    @property
    def projection(self) -> Any:
        """What the gated output goes through next; None of the last block's text, which ends."""
        if self.part == "text":
            return self.attention.to_add_out
        return self.attention.to_out[0]

    @property
    def kind(self) -> str:
        """`headwise`, `elementwise` or `none`."""
        if self.gate is None:
            return "none"
        is_headwise = self.gate[0].out_features == self.attention.heads
        return "headwise" if is_headwise else "elementwise"


def streams(model: Any) -> Iterator[Stream]:
    """Yield every stream of a transformer of SD3, in the order of execution."""
    for number, block in enumerate(getattr(model, "transformer_blocks", ())):
        for (name, part), there in STREAMS.items():
            attention = getattr(block, name, None)
            if attention is not None:
                path = f"transformer_blocks.{number}.{name}"
                yield Stream(attention, path, part, f"joint_blocks.{number}.{there}")


def gated(model: Any) -> list[Stream]:
    """Return the streams whose gate acts; that of the last block's text would gate nothing."""
    return [
        stream
        for stream in streams(model)
        if stream.gate is not None and stream.projection is not None
    ]


def describe(stream: Stream) -> Gate:
    """Return a gate as layers declare it."""
    return Gate(stream.part, stream.path_of_gate)


def add(model: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give a transformer without weights the gates that a checkpoint has, each by its own shape.

    Args:
        model: transformer of SD3.
        shapes: of the checkpoint's tensors, by their names in Stability's layout: gates are rows of
            `qkv` behind those of query, key and value, or a projection of their own, `gate_proj`.

    Raises:
        ValueError: a tensor has rows that are no gate's; with its name.
    """
    if not any(name.startswith("joint_blocks.") for name in shapes):
        return
    for stream in streams(model):
        rows, has_bias = _find(stream, shapes)
        if rows:
            width = stream.attention.to_q.in_features
            put(stream, nn.Linear(width, rows, bias=has_bias, device="meta"))


def put(stream: Stream, linear: nn.Linear) -> None:
    """Give a stream a gate, which acts when it is applied."""
    if not hasattr(stream.attention, "gates"):
        stream.attention.gates = nn.ModuleDict()
    stream.attention.gates[stream.part] = nn.Sequential(linear, nn.Sigmoid())


def split(tensors: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Take the gates out of a checkpoint, in place.

    Args:
        tensors: by name in Stability's layout.
        model: with the gates, from `add`.

    Returns:
        The gates' weights under the names of the model's own state.

    Raises:
        KeyError: a tensor is missing.
    """
    result = {}
    for stream in streams(model):
        if stream.gate is None:
            continue
        is_separate = f"{stream.stem}.{GATE}.weight" in tensors
        size = 3 * stream.attention.to_q.out_features
        for end in ENDS if stream.gate[0].bias is not None else ENDS[:1]:
            name, joined = f"{stream.path_of_gate}.0.{end}", f"{stream.stem}.qkv.{end}"
            if is_separate:
                result[name] = tensors.pop(f"{stream.stem}.{GATE}.{end}")
            else:
                tensors[joined], result[name] = tensors[joined][:size], tensors[joined][size:]
    return result


@contextmanager
def applied(some: Iterable[Stream]) -> Iterator[None]:
    """Let gates act on their attention modules; afterwards nothing is left of it."""
    handles = apply(some)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def apply(some: Iterable[Stream]) -> list[RemovableHandle]:
    """Let gates act on their attention modules, until the handles are removed.

    The outermost module at the place of the output projection is hooked, as it is now: a LoRA that
    was put there must see gated input as the projection does.
    """
    handles = []
    for attention, streams_of_module in _by_module(some):
        values = _Values()
        handles.append(
            attention.register_forward_pre_hook(
                _reader(streams_of_module, values), with_kwargs=True
            )
        )
        handles += [
            stream.projection.register_forward_pre_hook(_multiplier(stream, values))
            for stream in streams_of_module
        ]
    return handles


class _Values(threading.local):
    """The gates of the forward that a thread runs now, by part; the benchmarks train in several."""

    def __init__(self) -> None:
        self.by_part: dict[str, Tensor] = {}


def untouched(stream: Stream) -> float | None:
    """Return the one value of a gate whose weight is zero, for bias 0 0.5; None of any other."""
    linear = stream.gate[0]
    if linear.weight.is_meta or bool(linear.weight.any()):
        return None
    bias = torch.zeros(1) if linear.bias is None else linear.bias.detach().float()
    return float(bias.sigmoid().mean()) if bool((bias == bias[0]).all()) else None


def _find(stream: Stream, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, bool]:
    """Return the rows of a stream's gate, 0 without a gate, and whether it has a bias."""
    heads, channels = stream.attention.heads, stream.attention.to_q.out_features
    joined = {end: f"{stream.stem}.qkv.{end}" for end in ENDS}
    separate = {end: f"{stream.stem}.{GATE}.{end}" for end in ENDS}
    folded = max(0, _rows(shapes, joined["weight"]) - 3 * channels)
    if separate["weight"] not in shapes:
        name, rows, base = joined, folded, 3 * channels
    elif folded:
        raise ValueError(f"two gates, '{separate['weight']}' and rows of '{joined['weight']}'")
    else:
        name, rows, base = separate, _rows(shapes, separate["weight"]), 0
    if rows not in (0, heads, channels):
        rest = f"{base} of query, key and value, and {heads}" if base else f"{heads}"
        raise ValueError(
            f"'{name['weight']}' has {base + rows} rows: expected {rest} (a gate per head) or "
            f"{channels} (per channel)"
        )
    bias_rows = _rows(shapes, name["bias"]) if name["bias"] in shapes else base + rows
    if rows and bias_rows != base + rows:
        raise ValueError(f"'{name['bias']}' has {bias_rows} rows, its weight {base + rows}")
    return rows, name["bias"] in shapes


def _rows(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    return next(iter(shapes.get(name, ())), 0)


def _by_module(some: Iterable[Stream]) -> Iterator[tuple[nn.Module, list[Stream]]]:
    grouped: dict[str, list[Stream]] = {}
    for stream in some:
        grouped.setdefault(stream.path, []).append(stream)
    for group in grouped.values():
        yield group[0].attention, group


def _reader(group: Sequence[Stream], values: _Values) -> Callable[..., None]:
    """Return a hook that computes a module's gates from what it is given."""
    names = {"image": "hidden_states", "text": "encoder_hidden_states"}

    def read(module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        arguments = dict(zip(names.values(), args, strict=False)) | keywords
        for stream in group:
            values.by_part[stream.part] = stream.gate(arguments[names[stream.part]])

    return read


def _multiplier(stream: Stream, values: _Values) -> Callable[..., Tensor]:
    """Return a hook that multiplies the input of the output projection."""
    split_heads = (stream.attention.heads, -1)

    def multiply(module: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
        gate = values.by_part.pop(stream.part).unflatten(-1, split_heads)
        output = args[0].unflatten(-1, split_heads)
        return torch.mul(output, gate).flatten(-2)

    return multiply
