"""Check from names and shapes alone, before a weight is read, that a checkpoint fits a model.

The converters are run twice on a drawing of the file. In one drawing every tensor has its shape and
no memory: what comes out has the shapes that will be. In the other every tensor is filled with its
own number: the numbers that come out tell which tensors were used, and which were left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from attn.backends.loading.weights import convert
from attn.backends.loading.weights.misfit import Misfit, misshapen, shown

__all__ = ["Misfit", "compare", "misshapen"]

Drawing = dict[str, tuple[int, ...] | None]
"""Shapes by name; None for what the file does not have, drawn so that the conversion goes on."""
ROWS = (6,)
"""The shape of such a tensor, which can be cut into the 2 or 3 pieces that converters ask for."""
MOST_MISSING = 50


def compare(part: str, shapes: Mapping[str, tuple[int, ...]], model: Any) -> Misfit:
    """Convert a drawing of a checkpoint and compare it with a model.

    Args:
        part: `unet`, `dit`, `vae`, `clip_l`, `clip_g` or `t5xxl`.
        shapes: of the part's tensors, by name without prefix.
        model: without weights.
    """
    drawn: Drawing = dict(shapes)
    try:
        shaped = _convert_shapes(part, drawn, model)
        sources = _convert_names(part, drawn, model)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as exc:
        return Misfit(failure=shown(f"{type(exc).__name__}: {exc}"))
    absent = {name for name, shape in drawn.items() if shape is None}
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    matched = {name: held for name, held in sources.items() if name in expected}
    used = set().union(*matched.values())
    lacking = expected.keys() - matched.keys() - convert.may_lack(part, model)
    return Misfit(
        missing=_sorted(absent & used | lacking),
        unexpected=_sorted(shapes.keys() - used - convert.may_hold(part, model)),
        misshapen=_sorted(
            misshapen(name, shaped[name].shape, expected[name])
            for name, held in matched.items()
            if not held & absent and tuple(shaped[name].shape) != expected[name]
        ),
    )


def _convert_shapes(part: str, drawn: Drawing, model: Any) -> dict[str, Tensor]:
    """Convert shapes; where the converter stops at a missing tensor, add it to the drawing."""
    for _ in range(MOST_MISSING + 1):
        blank = {
            name: torch.empty(ROWS if shape is None else shape, device="meta")
            for name, shape in drawn.items()
        }
        try:
            return convert.rename(part, blank, model)
        except KeyError as error:
            drawn[str(error.args[0])] = None
    # a damaged number of a block would have us add blocks without end
    raise ValueError(f"more than {MOST_MISSING} tensors of its layout are missing")


def _convert_names(part: str, drawn: Drawing, model: Any) -> dict[str, set[str]]:
    """Return the names of the tensors from which each of the model's would be made."""
    names = list(drawn)
    filled = {name: _filled(number, drawn[name]) for number, name in enumerate(names)}
    return {
        name: {names[number] for number in tensor.unique().tolist()}
        for name, tensor in convert.rename(part, filled, model).items()
        if tensor is not None
    }


def _filled(number: int, shape: tuple[int, ...] | None) -> Tensor:
    """Draw a tensor full of its number. Rows are enough: converters cut and join along them."""
    if shape is None:
        shape = ROWS
    elif not math.prod(shape):
        shape = (0,) * len(shape)
    return torch.tensor(number, dtype=torch.int32).expand(shape[:1] + (1,) * (len(shape) - 1))


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
