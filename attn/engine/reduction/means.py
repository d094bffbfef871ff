"""Maps averaged over the steps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from attn.engine.layer_plans import Span
from attn.engine.plan import Plan


class Means:
    """Add up the maps of one trace's steps.

    Args:
        plan: of the trace.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shapes = plan.mean_shapes()
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, np.ndarray] = {}

    def add(self, name: str, array: np.ndarray, cells: Iterable[int], span: Span | None) -> None:
        """Add a step.

        Args:
            name: of the tensor.
            array: (branch, sample, query, column), or of heads (branch, sample, head, query,
                column), of which the mean over heads is added.
            cells: of (branch, sample) that ran; another adds nothing.
            span: of the text that the step read, where it grows.
        """
        is_of_heads = "/headmap." in name
        name = self._plan.mean_of(name) or name
        maps = array.mean(2, np.float32) if is_of_heads else array
        ran = np.zeros((*maps.shape[:2], 1, 1), np.float32)
        ran.flat[list(cells)] = 1
        if not ran.all():
            maps = np.where(ran > 0, maps, np.zeros((), maps.dtype))
        if name not in self._sums:
            shape, _ = self._shapes[name]
            self._sums[name] = np.zeros(shape, np.float32)
            self._counts[name] = np.zeros((*shape[:3], 1), np.float32)
        first = 0 if span is None else self._queries_before(name, span[0])
        rows = slice(first, first + maps.shape[2])
        total = torch.from_numpy(self._sums[name][:, :, rows, : maps.shape[3]])
        total += torch.from_numpy(maps)  # of half precision, many times as fast as numpy
        self._counts[name][:, :, rows] += ran

    def means(self, last: Span | None) -> dict[str, np.ndarray]:
        """Return the mean over the steps in which a row ran, NaN for one that never did.

        Where maps are kept step by step, the mean over layers of what is returned must be that over
        layers and steps: there is nothing where some layers of a tower ran in fewer steps.

        Args:
            last: span of the last step; a text that ended early has only what it reached.
        """
        span = None if last is None else (0, last[1])
        shapes = self._plan.mean_shapes(span)
        if self._plan.kept.level != "means" and not self._ran_alike():
            return {}
        with np.errstate(invalid="ignore"):
            means = {name: total / self._counts[name] for name, total in self._sums.items()}
        return {
            name: mean[:, :, : shapes[name][0][2], : shapes[name][0][3]]
            for name, mean in means.items()
            if name in shapes
        }

    def _ran_alike(self) -> bool:
        """Whether the layers of a tower that ran did so in as many steps, in each row."""
        towers = {str(plan.layer.index): plan.layer.tower for plan in self._plan.layers}
        most: dict[str, np.ndarray] = {}
        for name, counts in self._counts.items():
            ran = counts[:, :, 0]
            first = most.setdefault(towers[name.partition("/")[0]], np.zeros_like(ran))
            if (ran[(ran > 0) & (first > 0)] != first[(ran > 0) & (first > 0)]).any():
                return False
            np.maximum(first, ran, out=first)
        return True

    def _queries_before(self, name: str, position: int) -> int:
        """Return how many queries of a block lie before a position of the text."""
        index, _, tensor = name.partition("/")
        block = next(
            block
            for plan in self._plan.layers
            for block in plan.blocks
            if plan.layer.index == int(index) and f"map.{block.name}" == tensor
        )
        return sum(place < position for place in block.queries)
