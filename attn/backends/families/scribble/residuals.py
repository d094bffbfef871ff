"""How strongly a ControlNet acts: what it adds to the UNet, block by block and step by step."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attn.backends.diffusers import schedules

DIGITS = 6


class Residuals:
    """Watches a ControlNet and its UNet during one generation; changes neither.

    The *strength* of a residual is its Euclidean norm, after the conditioning scale, divided by the
    norm of the UNet's own features that it is added to. 0 is no effect; 1 is as much as the UNet's
    own. Of a step with several calls the first counts.

    Args:
        pipe: with `controlnet`, `unet` and, once it runs, the `scheduler`.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._residuals: list[Tensor] = []
        self._features: list[Tensor] = []
        self._strengths: list[Tensor] = []
        self._steps: list[int] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Residuals:
        unet = self._pipe.unet
        watched = [(self._pipe.controlnet, self._take_residuals), (unet.conv_in, self._take_input)]
        watched += [(block, self._take_block) for block in unet.down_blocks]
        watched += [(unet.mid_block, self._take_mid)]
        self._handles = [module.register_forward_hook(take) for module, take in watched]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def history(self, branches: Sequence[str], samples: int) -> list[dict[str, Any]]:
        """Return JSON values, one per sample.

        Args:
            branches: the guidance rows that the ControlNet ran, in the order of its batch.
            samples: pictures of the batch.
        """
        calls = [call for call in range(len(self._strengths)) if self._is_first(call)]
        strengths = torch.stack([self._strengths[call] for call in calls]).cpu()  # step, block, row
        laid_out = strengths.unflatten(2, (len(branches), samples)).tolist()
        return [
            {
                "residuals": {
                    "blocks": self._blocks(),
                    "strength": {
                        branch: [
                            [_rounded(block[row][sample]) for block in step] for step in laid_out
                        ]
                        for row, branch in enumerate(branches)
                    },
                }
            }
            for sample in range(samples)
        ]

    def _is_first(self, call: int) -> bool:
        return call == 0 or self._steps[call] != self._steps[call - 1]

    def _blocks(self) -> list[str]:
        """Name the places where the ControlNet adds: `<down block>.<place in it>`."""
        names = ["conv_in"]
        for number, block in enumerate(self._pipe.unet.down_blocks):
            outputs = len(block.resnets) + len(getattr(block, "downsamplers", None) or ())
            names += [f"down_blocks.{number}.{index}" for index in range(outputs)]
        return [*names, "mid_block"]

    def _take_residuals(self, module: nn.Module, args: Any, output: Any) -> None:
        self._residuals = [*output[0], output[1]]

    def _take_input(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self._features = [output]

    def _take_block(self, module: nn.Module, args: Any, output: Any) -> None:
        self._features += output[1]

    def _take_mid(self, module: nn.Module, args: Any, output: Tensor) -> None:
        if not self._steps:
            self._steps = schedules.call_steps(self._pipe.scheduler)
        pairs = zip(self._residuals, [*self._features, output], strict=True)
        self._strengths.append(torch.stack([_strength(*pair) for pair in pairs]))
        self._residuals, self._features = [], []


def _strength(residual: Tensor, features: Tensor) -> Tensor:
    """Return one number per row; a ControlNet that runs `cond` alone acts on the last rows."""
    matching = features[-len(residual) :]
    return _norm(residual.expand_as(matching)) / _norm(matching).clamp_min(
        torch.finfo(torch.float32).tiny
    )


def _norm(tensor: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor.flatten(1), dim=1, dtype=torch.float32)
    return norm


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
