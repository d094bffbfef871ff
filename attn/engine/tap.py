"""`attn.tap`: the engine for a torch model of one's own, without a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from threading import get_ident
from typing import Any, Literal
from weakref import WeakMethod

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from attn.engine.attention import Attention
from attn.engine.hooks import AttentionHooks
from attn.engine.measures import Scratch, measure
from attn.engine.plan import Keep, LayerPlan, make_plan
from attn.engine.recorder import to_numpy, with_heads
from attn.engine.refuse import refuse_unobservable
from attn.errors import CaptureError, UsageError
from attn.schema import Kept, Layer, Level, Manifest, Request, Segment, Step
from attn.schema import Sequence as TokenSequence
from attn.trace.store import shard_file
from attn.trace.trace import MemoryFiles, Trace

BLOCK = "all.all"


def tap(
    model: nn.Module,
    layers: str | Sequence[str] | None = None,
    *,
    keep: Level = "maps",
    see: Callable[[str, Attention], None] | None = None,
) -> Tap:
    """Record the attention of any torch model while it runs, without changing what it computes.

    Every forward of `model` becomes one step of an in-memory trace, every row of its batch one
    sample, every module in which an attention kernel runs one layer with the block `all.all`. A
    softmax over the last axis counts as attention too, so name the modules where there are others.

    Example:
        ```python
        with attn.tap(model, "blocks.*.attn", keep="factors") as tapped:
            model(x)
        tapped.trace.probs(layer=0, step=0)  # (head, query, key), exact
        ```

    Args:
        model: what will be called; it is hooked only inside the `with` block.
        layers: globs of module paths; None takes every module that runs a kernel itself.
        keep: level of detail, as in `attn capture --keep`; `means` is not offered, because a
            forward here need not be a step of one generation. Memory grows with every forward.
        see: also told (path, attention) at every kernel call, during the forward.

    Returns:
        A context manager for one block, after which its `trace` is ready. A forward that raises is
        no step, and leaves a trace of status `partial`.

    Raises:
        UsageError: a glob matches no module.
        CaptureError: the model cannot be observed exactly, nothing was seen in the block, or
            several threads call the model at once.
    """
    return Tap(model, layers, keep, see)


class Tap:
    """See `tap`."""

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str] | None,
        keep: Level,
        see: Callable[[str, Attention], None] | None,
    ) -> None:
        self._handles: list[RemovableHandle] = []
        if keep not in ("mass", "maps", "heads", "factors"):
            raise UsageError(
                f"keep: expected one of mass, maps, heads, factors; got '{keep}' (the steps of "
                "'means' are those of a generation: attn.capture)"
            )
        self._model = model
        self._keep = Keep(level=keep, keys="all", blocks=(BLOCK,))
        self._callback = see
        # weak, so that a tap that is forgotten inside its block does not go on recording
        self._hooks = AttentionHooks(_choose(model, layers), _weak(self._see))
        self._scratch = Scratch()
        self._plans: dict[str, LayerPlan] = {}
        self._batch = 1
        self._samples = 0
        self._thread: int | None = None  # of the forward that is running
        self._tensors: dict[str, np.ndarray] = {}  # of the forward that is running
        self._steps: list[dict[str, np.ndarray]] = []
        self._status: Literal["ready", "recording", "complete", "partial"] = "ready"
        self._failed = False
        self._second: dict[str, tuple[int, int]] = {}
        self._trace: Trace | None = None

    @property
    def trace(self) -> Trace:
        """What was recorded.

        Raises:
            CaptureError: the block has not ended yet, or no forward in it ended.
        """
        if self._trace is None:
            raise CaptureError(
                "the trace is ready after the `with` block"
                if self._status in ("ready", "recording")
                else "there is no trace: no forward of the tapped model ended without an error"
            )
        return self._trace

    def __enter__(self) -> Tap:
        if self._status != "ready":
            raise UsageError("a tap records one `with` block; call attn.tap again for another")
        refuse_unobservable(self._model, type(self._model).__name__)
        self._status = "recording"
        self._handles = [
            self._model.register_forward_pre_hook(_weak(self._begin), with_kwargs=True),
            self._model.register_forward_hook(_weak(self._end), always_call=True),
        ]
        self._hooks.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._detach()
        self._status = "partial" if self._failed or kind is not None else "complete"
        if any(self._steps):
            self._trace = Trace(MemoryFiles(self._manifest(), self._filled()))
        elif kind is None:
            raise CaptureError(
                "no attention kernel ran in the tapped modules; the model was not called, "
                "is compiled, or computes attention without torch's scaled_dot_product_attention "
                "or softmax"
            )

    def __del__(self) -> None:
        if self._handles:
            self._detach()

    def _detach(self) -> None:
        self._hooks.__exit__()
        while self._handles:
            self._handles.pop().remove()

    def _begin(self, module: nn.Module, args: tuple[Any, ...], keywords: Any) -> None:
        if self._thread not in (None, get_ident()):
            raise CaptureError(
                f"two threads call the tapped {type(self._model).__name__} at once, so its "
                "attention cannot be told apart; let one wait for the other, or tap a copy in each"
            )
        self._thread, self._tensors = get_ident(), {}
        inputs = (*args, *keywords.values())
        self._batch = next((one.shape[0] for one in inputs if _has_batch(one)), 1)

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        """Keep the step of a forward that ended; torch hands over None for one that raised."""
        if self._thread == get_ident():
            self._thread = None
            if output is not None:
                self._steps.append(self._tensors)
        self._failed |= output is None

    def _see(self, path: str, attention: Attention) -> None:
        if self._thread is None:
            raise CaptureError(_outside(path))
        attention = with_heads(attention, self._batch)
        if self._callback is not None:
            self._callback(path, attention)
        plan = self._plans.get(path) or self._declare(path, attention)
        if self._attends_again(plan.layer, attention):
            return
        self._require_same_shape(plan.layer, attention)
        rows = [measure(plan, attention, row, self._scratch) for row in range(attention.shape[0])]
        for name in rows[0]:
            if name in self._tensors:
                raise CaptureError(
                    f"{path} ran two attention kernels in one forward; tap its parts instead"
                )
            self._tensors[name] = np.stack([to_numpy(row[name].clone()) for row in rows])[None]

    def _filled(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the shards of all steps, NaN for the layers that did not run in a step."""
        some = {name: one for tensors in self._steps for name, one in tensors.items()}
        filled = {}
        for step, tensors in enumerate(self._steps):
            ran = {name.partition("/")[0] for name in tensors}
            gaps = {  # a layer that ran without a mask was masked by 0
                name: np.full_like(one, 0 if name.partition("/")[0] in ran else np.nan)
                for name, one in some.items()
                if name not in tensors
            }
            filled[shard_file(Step(step, None, None))] = tensors | gaps
        return filled

    def _declare(self, path: str, attention: Attention) -> LayerPlan:
        """Describe a layer when its attention is first seen."""
        samples, heads, queries, keys = attention.shape
        self._samples = self._samples or samples
        is_self = queries == keys
        layer = Layer(
            index=len(self._plans),
            tower="model",
            path=path,
            kind="self" if is_self else "cross",
            num_heads=heads,
            queries=(Segment("sequence" if is_self else "query", "image", 0, queries),),
            keys=(Segment("sequence" if is_self else "key", "image", 0, keys),),
            head_dim=None if attention.query is None else attention.query.shape[-1],
            num_key_heads=None if attention.key is None else attention.key.shape[1],
        )
        sequences = {"cond": TokenSequence((), ())}
        plan = make_plan([layer], sequences, self._keep, samples=1, steps=1, dtype="F32").layers[0]
        self._plans[path] = plan
        return plan

    def _attends_again(self, layer: Layer, attention: Attention) -> bool:
        """Whether a module reads other keys after its own in one forward, as with an IP-Adapter."""
        queries, keys = attention.shape[2:]
        ran = any(name.startswith(f"{layer.index}/") for name in self._tensors)
        is_other = queries == layer.num_queries and keys != layer.num_keys
        if not (ran and is_other and layer.kind == "cross"):
            return False
        self._second[layer.path] = (layer.num_keys, keys)
        return True

    def _require_same_shape(self, layer: Layer, attention: Attention) -> None:
        expected = (self._samples, layer.num_heads, layer.num_queries, layer.num_keys)
        if attention.shape != expected:
            raise CaptureError(
                f"{layer.path} changed its shape between forwards: {expected} rows, heads, "
                f"queries, keys, then {attention.shape}; use one tap for each shape"
            )

    def _manifest(self) -> Manifest:
        layers = tuple(plan.layer for plan in self._plans.values())
        some = next(iter(next(filter(None, self._steps)).values()))
        kept = Kept(
            level=self._keep.level,
            keys="all",
            mass="text",
            entropy=True,
            blocks=(BLOCK,),
            layers=tuple(layer.index for layer in layers),
            columns=(),
        )
        return Manifest(
            status="partial" if self._status == "partial" else "complete",
            backend="tap",
            model={"source": type(self._model).__name__},
            request=Request(prompt=""),
            branches=("cond",),
            samples=some.shape[1],
            steps=tuple(Step(index, None, None) for index in range(len(self._steps))),
            layers=layers,
            segments={"cond": ()},
            tokens={"cond": ()},
            words=(),
            truncated={},
            kept=kept,
            identity={"kernels": self._hooks.report},
            shards=(),
            environment={},
            cost={},
            warnings=_say_second(self._second),
        )


def _weak(method: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls a method as long as its object lives."""
    reference = WeakMethod(method)

    def call(*args: Any) -> None:
        living = reference()
        if living is not None:
            living(*args)

    return call


def _outside(path: str) -> str:
    """Say why attention that ran outside of a forward belongs to no step."""
    part = path or "a part of the model"
    if torch._C._current_graph_task_id() != -1:
        return (
            f"{part} ran in a backward pass, which computes it again (gradient checkpointing), so "
            "it belongs to no step; switch that off, or call backward after the block"
        )
    return (
        f"{part} ran outside of a forward of the tapped model, so it belongs to no step; call the "
        "tapped model, or tap what is called"
    )


def _say_second(second: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Say which modules attended twice in one forward, to so many keys first and last."""
    if not second:
        return ()
    path, (first, last) = next(iter(second.items()))
    return (
        f"{len(second)} modules attend twice in one forward, such as {path}: to {first} keys, "
        f"which is recorded, and then to {last} others (an IP-Adapter's picture?), which is not",
    )


def _has_batch(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 1


def _choose(model: nn.Module, layers: str | Sequence[str] | None) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    if layers is None:
        return modules
    chosen: dict[str, nn.Module] = {}
    for pattern in [layers] if isinstance(layers, str) else layers:
        matches = {path: module for path, module in modules.items() if fnmatchcase(path, pattern)}
        if not matches:
            raise UsageError(f"no module of {type(model).__name__} matches '{pattern}'")
        chosen |= matches
    return chosen
