"""The tensors of a step while its calls run: of each name, what every branch and image has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from attn.engine.plan import Plan
from attn.errors import CaptureError
from attn.schema import Step

TORCH_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U8": torch.uint8,
}


class Cells:
    """Collect the tensors of the step that runs.

    A cell is one image of one branch of a trace: branch index · images + image.

    Args:
        plans: one per trace of the batch.
        images: samples of each trace.
    """

    def __init__(self, plans: Sequence[Plan], images: int) -> None:
        self._plans = plans
        self._images = images
        self._values: dict[tuple[int, str], dict[int, Tensor]] = {}

    def cell_of(self, branch: str, sample: int) -> tuple[int, int]:
        """Return the trace of a row, and its cell there."""
        trace, image = divmod(sample, self._images)
        return trace, self._plans[trace].branches.index(branch) * self._images + image

    def count(self, trace: int) -> int:
        """Return how many cells a trace has."""
        return len(self._plans[trace].branches) * self._images

    def add(self, trace: int, name: str, cell: int, value: Tensor) -> None:
        """Take what one cell has of a tensor."""
        self._values.setdefault((trace, name), {})[cell] = value

    def of(self, trace: int, name: str) -> Mapping[int, Tensor]:
        """Return what there is of a tensor, by cell."""
        return self._values.get((trace, name), {})

    def masks(self, trace: int) -> list[str]:
        """Return the names of the masks, which no plan knows."""
        return sorted(name for of, name in self._values if of == trace and name.endswith("/mask"))

    def clear(self) -> None:
        """Forget the step."""
        self._values.clear()

    def require_numbers(self, step: Step, gaps: set[tuple[int, int]]) -> None:
        """Check the masses of a step.

        Args:
            step: that ended.
            gaps: traces and layers in which rows are missing, where NaN says so.

        Raises:
            CaptureError: one is not a number.
        """
        checked = {
            (trace, name): [value.flatten() for value in cells.values()]
            for (trace, name), cells in self._values.items()
            if "/mass." in name and (trace, int(name.split("/")[0])) not in gaps
        }
        everything = [value for values in checked.values() for value in values]
        if not everything or not bool(torch.cat(everything).isnan().any()):
            return
        for (trace, name), values in checked.items():
            if bool(torch.cat(values).isnan().any()):
                raise CaptureError(_not_a_number(self._plans[trace], name, step))

    def stack(
        self, trace: int, name: str, planned: tuple[tuple[int, ...], str] | None
    ) -> np.ndarray:
        """Put the cells of a tensor together, (branch, image, …).

        One that did not run in this step is NaN. One that ran without a mask, where others had
        one, was masked by 0.
        """
        cells = {cell: to_numpy(value) for cell, value in self.of(trace, name).items()}
        example = next(iter(cells.values()), None)
        if example is None:  # then it is planned
            shape, dtype = planned or ((), "F32")
            example = to_numpy(torch.empty(shape[2:], dtype=TORCH_DTYPES[dtype]))
        shape = (len(self._plans[trace].branches), self._images, *example.shape)
        if len(cells) == self.count(trace) == 1:
            return example.reshape(shape)
        # whole numbers are there for every cell
        is_whole = planned is None or example.dtype.kind in "iu"
        stacked = np.full(
            (self.count(trace), *example.shape), 0 if is_whole else np.nan, example.dtype
        )
        for cell, value in cells.items():
            stacked[cell] = value
        return stacked.reshape(shape)


def to_numpy(value: Tensor) -> np.ndarray:
    """Return a tensor as an array on the host, bfloat16 as `ml_dtypes.bfloat16`."""
    value = value.detach().cpu().contiguous()
    if value.dtype == torch.bfloat16:
        return value.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def _not_a_number(plan: Plan, name: str, step: Step) -> str:
    index = int(name.split("/", maxsplit=1)[0])
    path = next(entry.layer.path for entry in plan.layers if entry.layer.index == index)
    cause = (
        "in this precision a sound model does not overflow, so its weights are broken: they, or a "
        "LoRA's, have values that are not finite or far too large; get the files again"
        if plan.dtype in ("F32", "F64")
        else "the model itself overflows, so its picture is broken too; try --dtype float32 or "
        "bfloat16"
    )
    where = f"layer {path} is not a number in step {step.index} ({plan.dtype})"
    return f"the attention of {where}: {cause}"
