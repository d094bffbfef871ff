"""Changes of weights as torch has them, and the layers that compute with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from attn.backends.loading.weights.unfilled import Unfilled
from attn.errors import CaptureError
from attn.lora.base.layouts import BaseWeight
from attn.lora.changes.deltas import Strength, bias_delta, is_written_out, weight_delta
from attn.lora.changes.norms import product_norm
from attn.lora.changes.null import generator, random_factors, random_matrix
from attn.lora.changes.tensors import Stored, Values
from attn.lora.file import Module


class Written(NamedTuple):
    """The change of one module, written out in float64; None where nothing changes.

    Attributes:
        weight: (rows, columns).
        bias: (rows,).
    """

    weight: Tensor | None
    bias: Tensor | None


class Factors(NamedTuple):
    """The change of one weight, scale · up · down.

    Attributes:
        down: (rank, columns), with the kernel of a convolution.
        up: (rows, rank).
        scale: alpha / rank, times what is asked for.
    """

    down: Tensor
    up: Tensor
    scale: float


Change = Factors | Written


def changes_of(
    module: Module,
    parts: Mapping[str, Stored],
    entry: BaseWeight,
    strength: Strength,
    model: nn.Module,
) -> Iterator[tuple[str, Change]]:
    """Yield the change of each weight; query, key and value may be one module in the file.

    Args:
        module: of the LoRA.
        parts: its tensors by role.
        entry: the weights that it changes.
        strength: what its numbers are multiplied by.
        model: holds these weights.

    Raises:
        CaptureError: a weight is elsewhere.
    """
    rows = [stored.info.shape[0] for stored in entry.weight]
    is_matrix = len(entry.weight[0].info.shape) > 1  # not a norm's vector
    if is_matrix and not is_written_out(module.kind, parts):
        down, up = (torch.from_numpy(parts[role].read()) for role in ("down", "up"))
        pieces = _in_order(up.flatten(1), entry).split(rows)
        for path, piece in zip(entry.paths, pieces, strict=True):
            yield path, Factors(down, piece, strength.scale * strength.multiplier)
        weight = None
    else:
        base = _base_weight(model, entry)
        weight = weight_delta(module.kind, parts, strength, base.numpy())
    bias = bias_delta(parts, strength, _base_bias(model, entry))
    if weight is None and bias is None:
        return
    weights, biases = (_pieces(values, entry, rows) for values in (weight, bias))
    for path, weight_part, bias_part in zip(entry.paths, weights, biases, strict=True):
        yield path, Written(weight_part, bias_part)


def random_changes(
    changes: Iterable[tuple[str, Change]], module: Module, seed: int
) -> Iterator[tuple[str, Change]]:
    """Yield random changes of the norms of others, for a control; see `attn.lora.changes.null`.

    Args:
        changes: of a module.
        module: whose rank they have.
        seed: of the control.
    """
    for path, change in changes:
        rng = generator(seed, f"{module.tower}.{path}")
        yield path, _random(change, rng, module.rank)


def _random(change: Change, rng: np.random.Generator, rank: int | None) -> Change:
    """Return a random change of the same norm: of a control, of one weight."""
    if isinstance(change, Factors):
        up, down = change.up.numpy(), change.down.flatten(1).numpy()
        factors = random_factors(rng, up.shape, down.shape, product_norm(up, down))
        random_up, random_down = map(torch.from_numpy, factors)
        return Factors(random_down.reshape(change.down.shape), random_up, change.scale)
    weight, bias = (
        None if values is None else torch.from_numpy(random_matrix(rng, values.numpy(), rank))
        for values in change
    )
    return Written(weight, bias)


def _base_weight(model: nn.Module, entry: BaseWeight) -> Tensor:
    """Return the weight that is changed, as the file of the LoRA has its rows; float64."""
    weights = [cast("Tensor", model.get_submodule(path).weight) for path in entry.paths]
    rows = [_exact(weight).reshape(len(weight), -1) for weight in weights]
    return _in_order(torch.cat(rows), entry)


def _base_bias(model: nn.Module, entry: BaseWeight) -> Values | None:
    """Return the bias beside the weight that is changed, in the same order; None without one."""
    biases = [getattr(model.get_submodule(path), "bias", None) for path in entry.paths]
    present = [_exact(bias) for bias in biases if bias is not None]
    if len(present) < len(biases):
        return None
    values: Values = _in_order(torch.cat(present), entry).numpy()
    return values


def _exact(parameter: Tensor) -> Tensor:
    """Return a parameter's numbers in float64, in main memory."""
    _require_here(parameter)
    return parameter.detach().cpu().double()


def _require_here(parameter: Tensor) -> None:
    """Refuse a parameter whose numbers come when its layer runs.

    Raises:
        CaptureError: with the call that undoes it.
    """
    if parameter.is_meta:
        raise CaptureError(
            "LoRAs cannot be put into a model that is offloaded layer by layer; call "
            "pipe.remove_all_hooks(), or use --offload model"
        )


def _in_order(rows: Tensor, entry: BaseWeight) -> Tensor:
    """Exchange the halves of rows where the other layout has them so; done twice it is undone."""
    return torch.cat(rows.chunk(2)[::-1]) if entry.is_swapped else rows


def _pieces(values: Values | None, entry: BaseWeight, rows: list[int]) -> Sequence[Tensor | None]:
    """Return the part of each weight, in the model's order of rows."""
    if values is None:
        return [None] * len(rows)
    pieces: Sequence[Tensor] = _in_order(torch.from_numpy(values), entry).split(rows)
    return pieces


def make_layer(module: Any, stack: Sequence[Change]) -> nn.Module:
    """Return a layer that computes what a module does with changes, in the order of the stack.

    Args:
        module: linear, a convolution of two dimensions, or a norm; it stays as it is.
        stack: at least one change.

    Raises:
        CaptureError: the module's weight is elsewhere.
    """
    _require_here(module.weight)
    written = [change for change in stack if isinstance(change, Written)]
    factors = [change for change in stack if isinstance(change, Factors)]
    changed = _with_written(module, written) if written else module
    return _beside(changed, factors) if factors else changed


def _with_written(module: Any, stack: Sequence[Written]) -> Any:
    """Return a copy of a module with other numbers; what does not change is shared with it."""
    twin = copy(module)
    twin._parameters = dict(module._parameters)
    weights = [change.weight for change in stack if change.weight is not None]
    biases = [change.bias for change in stack if change.bias is not None]
    original = module.weight.detach()
    if weights:
        total = torch.stack(weights).sum(0).reshape(original.shape)
        twin.weight = _frozen(_exact(original) + total, original)
    if biases:
        before = 0 if module.bias is None else _exact(module.bias)
        twin.bias = _frozen(before + torch.stack(biases).sum(0), original)
    return twin


def _beside(module: Any, stack: Sequence[Factors]) -> nn.Module:
    """Return peft's layer around a module, which adds products of factors to what it computes."""
    from peft import LoraConfig
    from peft.tuners.lora import Conv2d, Linear

    weight = module.weight
    config = LoraConfig(init_lora_weights=False, inference_mode=True)
    names = [str(index) for index in range(len(stack))]
    ranks = [len(factors.down) for factors in stack]
    make = Conv2d if isinstance(module, nn.Conv2d) else Linear
    layer: Any
    with Unfilled():
        layer = make(module, names[0], config=config, r=ranks[0], lora_alpha=ranks[0])
        for name, rank in zip(names[1:], ranks[1:], strict=True):
            layer.update_layer(name, rank, lora_alpha=rank, config=config)
    for name, rank, factors in zip(names, ranks, stack, strict=True):
        ones = (1,) * (weight.ndim - 2)
        down = factors.down.reshape(rank, *weight.shape[1:])
        layer.lora_A[name].weight = _frozen(down, weight)
        layer.lora_B[name].weight = _frozen(factors.up.reshape(-1, rank, *ones), weight)
        layer.scaling[name] = factors.scale
    layer.set_adapter(names, inference_mode=True)
    layer.eval()
    return cast("nn.Module", layer)


def _frozen(values: Tensor, like: Tensor) -> nn.Parameter:
    """Return a parameter beside a weight, in memory of its own."""
    return nn.Parameter(values.to(like.device, like.dtype, copy=True), requires_grad=False)
