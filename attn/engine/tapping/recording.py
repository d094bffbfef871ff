"""What a tap has seen, forward by forward: layers, their blocks, and what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attn.engine.attention import Attention
from attn.engine.cells import to_numpy
from attn.engine.heads import say_module
from attn.engine.layer_plans import LayerPlan
from attn.engine.plan import Keep, plan_layer
from attn.engine.reduction.measures import Scratch, measure
from attn.engine.tapping.layout import Layout
from attn.engine.tapping.stretches import Pieces, Side, Stretch
from attn.errors import CaptureError
from attn.schema import Column, Layer, Segment, with_sink
from attn.schema import Sequence as TokenSequence
from attn.wording import count_noun

BLOCK = "all.all"
PICTURE = "image.text"
"""What is kept besides of a picture and the text that it reads: the heatmaps of words."""
PER_PART = ("mass", "entropy", "total")
"""What is kept of the rows of each segment of a text that a model writes."""

Tensors = dict[str, np.ndarray]
"""Arrays (branch, sample, …) by `<measure>.<block>`, as they are named in a shard after `/`."""


Place = tuple[int, int]
"""Places of a layer, and of a kernel in it."""


@dataclass(frozen=True)
class Kernel:
    """One kernel of a layer: its heads, and what its queries and keys are."""

    heads: int
    queries: Side
    keys: Side
    head_dim: int | None
    key_heads: int | None
    has_sink: bool = False

    @property
    def sides(self) -> tuple[Side, Side]:
        """What its queries and keys are."""
        return self.queries, self.keys


@dataclass
class TappedLayer:
    """A module in one of its calls in a forward, and the kernels that run in it, in order."""

    path: str
    call: int
    kernels: list[Kernel] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its path; of a module's further calls with their number, from 2."""
        return self.path if self.call == 1 else f"{self.path}#{self.call}"


@dataclass
class TappedStep:
    """What is kept of one forward.

    Attributes:
        index: its number among all forwards.
        stretch: positions of the text that it read; None where the model reads no text.
        tensors: by the places of layer and kernel.
    """

    index: int
    stretch: Stretch | None = None
    tensors: dict[Place, Tensors] = field(default_factory=dict)


class Tapped:
    """Collects what kernels give.

    Args:
        keep: what is kept of each.
        layout: what positions are.
        with_norms: keep `value_norm`, too.
    """

    def __init__(self, keep: Keep, layout: Layout) -> None:
        self.keep = keep
        self.layout = layout
        self.layers: list[TappedLayer] = []
        self.steps: list[TappedStep] = []
        self.samples = 0
        self.means: dict[Place, dict[Stretch, tuple[np.ndarray, int]]] = {}
        self.source: tuple[np.ndarray, np.ndarray] | None = None  # ids, padding of an encoder
        self._scratch = Scratch()
        self._plans: dict[Any, LayerPlan] = {}
        self._ran: dict[tuple[str, int], list[Place]] = {}

    def begin(self, index: int) -> None:
        """Begin a forward."""
        self._step = TappedStep(index)
        self._plans.clear()  # made for these lengths
        self._ran.clear()

    @property
    def step(self) -> TappedStep:
        """What is kept of the forward that runs."""
        return self._step

    def end(self) -> None:
        """Keep the forward that ran as a step."""
        self.steps.append(self._step)

    def add(
        self,
        module: tuple[str, int],
        attention: Attention,
        sides: tuple[Side, Side],
        more: Mapping[str, Sequence[Any]],
    ) -> None:
        """Take one kernel call.

        Args:
            module: its path, and which of its calls in this forward runs.
            attention: of the kernel, keys of a text from its begin on.
            sides: what queries and keys are.
            more: further measures, a tensor per row of the batch.

        Raises:
            CaptureError: it has another shape than in the forwards before.
        """
        samples, heads, _, _ = attention.shape
        kernel = Kernel(
            heads,
            *sides,
            head_dim=None if attention.query is None else attention.query.shape[-1],
            key_heads=None if attention.key is None else attention.key.shape[1],
            has_sink=attention.sink is not None,
        )
        attention = attention.with_sink()
        self.samples = self.samples or samples
        if samples != self.samples:
            raise CaptureError(self._say_rows(module[0], samples))
        place = self._place(module, kernel)
        plan = self._plan(kernel, attention)
        rows = [measure(plan, attention, row, self._scratch) for row in range(samples)]
        tensors = {
            name.partition("/")[2]: np.stack([to_numpy(row[name].clone()) for row in rows])[None]
            for name in rows[0]
        }
        if self.keep.level == "means":
            self._add_mean(place, tensors.pop(f"map.{BLOCK}"))
        self._step.tensors[place] = tensors | {
            name: np.stack([to_numpy(value) for value in values])[None]
            for name, values in more.items()
        }

    def _add_mean(self, place: Place, maps: np.ndarray) -> None:
        """Add maps to those of the same stretch of the text."""
        stretch = self._step.stretch
        if stretch is None:
            raise CaptureError(
                "keep='means': the model reads no token ids, so it cannot be told whether its "
                "forwards are steps of one generation; use keep='maps'"
            )
        sums = self.means.setdefault(place, {})
        before, times = sums.get(stretch, (0, 0))
        sums[stretch] = (before + maps, times + 1)

    def _place(self, module: tuple[str, int], kernel: Kernel) -> Place:
        """Return the places of layer and kernel, of new ones at the end.

        Kernels that attend to other keys in one call of a module are blocks of one layer; to the
        same keys once more is as if the module was called again.
        """
        path, call = module
        ran = self._ran.setdefault(module, [])
        repeats = sum(self._kernel(place).sides == kernel.sides for place in ran)
        if self.keep.level == "factors":  # of which a layer has one set
            repeats = len(ran)
        layer = self._layer(path, call + repeats)
        kernels = self.layers[layer].kernels
        number = sum(place[0] == layer for place in ran)
        if number == len(kernels):
            kernels.append(kernel)
        elif (kernels[number].heads, *kernels[number].sides) != (kernel.heads, *kernel.sides):
            raise CaptureError(_other_shape(path, kernels[number], kernel))
        ran.append((layer, number))
        return layer, number

    def _say_rows(self, path: str, got: int) -> str:
        """Say that a module attends in other rows than those before it."""
        text = f"{say_module(path)} attends in {got} rows, the modules before it in {self.samples}"
        times, rest = divmod(got, self.samples)
        if self.layout.source is None or rest or times < 2:  # noqa: PLR2004 - several texts
            return (
                f"{text}; use one tap for each batch, or tap only modules that attend in as many "
                "rows"
            )
        return (
            f"{text}: the encoder runs once for the {times} beams or texts that are written of "
            "each row; tap the modules of the decoder alone, such as attn.tap(model, 'decoder.*'), "
            "or write with num_beams=1 and num_return_sequences=1"
        )

    def _kernel(self, place: Place) -> Kernel:
        return self.layers[place[0]].kernels[place[1]]

    def _layer(self, path: str, call: int) -> int:
        for place, layer in enumerate(self.layers):
            if (layer.path, layer.call) == (path, call):
                return place
        self.layers.append(TappedLayer(path, call))
        return len(self.layers) - 1

    def _plan(self, kernel: Kernel, attention: Attention) -> LayerPlan:
        key = (kernel, attention.shape)
        if key not in self._plans:
            self._plans[key] = self.plan_kernel(kernel)
        return self._plans[key]

    def plan_kernel(self, kernel: Kernel) -> LayerPlan:
        """Return what is kept of a kernel in the forward that runs."""
        stretch = self._step.stretch
        queries = self.layout.queries(kernel.sides, stretch)
        keys = keys_of(kernel, self.layout.keys(kernel.sides, stretch))
        layer = Layer(
            index=0,
            tower="model",
            path="",
            kind=kind_of(kernel),
            num_heads=kernel.heads,
            queries=queries,
            keys=keys,
        )
        columns = tuple(
            Column(segment.name, place)
            for segment in keys
            if segment.kind == "text"
            for place in range(segment.start, segment.stop)
        )
        blocks = (BLOCK,) if self.keep.level == "means" else (BLOCK, PICTURE)
        return plan_layer(layer, blocks, columns, self.keep, TokenSequence(keys, ()))


def keys_of(kernel: Kernel, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Return the keys of a kernel: a learned sink, if it has one, and segments behind it."""
    return with_sink(segments) if kernel.has_sink else segments


def kind_of(kernel: Kernel) -> Any:
    """Return who attends to whom: a sequence to itself, or to another."""
    is_piecewise = isinstance(kernel.queries, Pieces) and isinstance(kernel.keys, Pieces)
    return "self" if is_piecewise or kernel.queries == kernel.keys else "cross"


def _other_shape(path: str, expected: Kernel, got: Kernel) -> str:
    return (
        f"{say_module(path)} changed its shape between forwards: first {_say_kernel(expected)}, "
        f"then {_say_kernel(got)}; use one tap for each shape"
    )


def _say_kernel(kernel: Kernel) -> str:
    queries, keys = (_say_side(side) for side in kernel.sides)
    whole = f"{queries} attends to itself" if queries == keys else f"{queries} attends to {keys}"
    return f"{whole} with {count_noun(kernel.heads, 'head')}"


def _say_side(side: Side) -> str:
    if isinstance(side, Pieces):
        return f"a picture in {count_noun(side.count, 'piece')} of {side.length}"
    if isinstance(side, int):
        return f"a sequence of {side}"
    return "the text" if side == "text" else "the encoder's text"
