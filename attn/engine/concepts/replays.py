"""Words outside the prompt: modules run once more with them in place of the text.

What the modules return then is thrown away, so the model never reads them. Where a layer reads the
text by cross-attention, it is run with the states of the concepts. Where text and picture are one
sequence, the whole block is: the concepts go through the layers of the text, attend to the picture
and to each other, and what becomes of them goes on to the next block (ConceptAttention).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attn.engine.attention import Attention
from attn.engine.kernels import FUSED, OperatorMode, bind
from attn.engine.layer_plans import ConceptPlan
from attn.engine.plan import Plan
from attn.engine.recorder import Recorder
from attn.errors import CaptureError
from attn.schema import CONCEPT_MEASURES, Call, Layer, LayerKey, Segment

BY_ROW = ("hidden_states", "temb")
"""Arguments of a module that have a row for each of the batch, beside the states of the text."""
TEXT, MASKS, ROTARY = "encoder_hidden_states", ("attention_mask",), "image_rotary_emb"


@dataclass(frozen=True)
class _Kernel:
    """A kernel that ran: tensors are (row, head, position, channel)."""

    query: Tensor
    key: Tensor
    scale: float
    output: Tensor


class _KernelCalls(OperatorMode):
    """Collect the fused kernels that run under this mode."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[_Kernel] = []

    def run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return what an operator returns."""
        result = func(*args, **kwargs)
        if func in FUSED:
            call = bind(func, args, kwargs)
            query, scale = call["query"], call["scale"]
            scale = query.shape[-1] ** -0.5 if scale is None else scale
            self.ran.append(_Kernel(query, call["key"], scale, result[0]))
        return result


class ConceptReplays:
    """Run modules again with concepts while a generation is recorded.

    Args:
        modules: finds a module of a layer's tower by its path.
        plan: of what is kept.
        recorder: takes the maps.
    """

    def __init__(
        self, modules: Callable[[LayerKey], nn.Module], plan: Plan, recorder: Recorder
    ) -> None:
        self._recorder = recorder
        self._layers: dict[LayerKey, tuple[Layer, ConceptPlan]] = {
            (entry.layer.tower, entry.layer.path): (entry.layer, entry.concepts)
            for entry in plan.layers
            if entry.concepts is not None
        }
        self._modules = [
            (key if path == concepts.path else None, modules((key[0], path)))
            for key, (_, concepts) in self._layers.items()
            for path in (*concepts.before, concepts.path)
        ]
        self._call: Call | None = None
        self._stream: Tensor | None = None
        self._outputs: dict[LayerKey, Tensor | None] = {}
        self._runs = False
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> ConceptReplays:
        self._handles = [
            module.register_forward_hook(partial(self._again, key), with_kwargs=True)
            for key, module in self._modules
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def wanted(self) -> bool:
        """Whether the modules run for the model, in a forward that has rows to keep."""
        return not self._runs and self._recorder.wanted()

    def see(self, key: LayerKey, attention: Attention) -> None:
        """Take a kernel call of the model's own; see `Recorder.see`."""
        if key in self._layers and self._layers[key][1].is_stream:
            self._outputs[key] = attention.output
        self._recorder.see(key, attention)

    def _again(
        self,
        key: LayerKey | None,
        module: nn.Module,
        args: Any,
        keywords: Mapping[str, Any],
        _: object,
    ) -> None:
        """Run a module again that has just run for the model; without a key for its states only."""
        if not self.wanted():
            return
        call, rows = self._recorder.running
        if call is not self._call:
            self._call, self._stream = call, self._begin(call, len(rows))
        if self._stream is None:
            raise CaptureError("the concepts end before a block that reads them")
        arguments = _with_concepts(module, args, keywords, rows, self._stream)
        kernels, self._runs = _KernelCalls(), True
        try:
            with torch.no_grad(), kernels:
                returned = module.forward(*arguments.args, **arguments.kwargs)
        finally:
            self._runs = False
        if key is not None:
            self._keep(key, kernels.ran, call, rows)
        if key is None or self._layers[key][1].is_stream:
            self._stream = returned[0]

    def _keep(self, key: LayerKey, ran: Sequence[_Kernel], call: Call, rows: Sequence[int]) -> None:
        """Make the maps of a layer that was run again."""
        layer, concepts = self._layers[key]
        counts = [len(of) for of in call.concepts]
        kernel, spans = _find(layer, concepts, ran, sum(counts))
        maps = [_pointed(kernel, spans, counts)]
        if concepts.is_stream:
            maps.append(_alike(self._outputs.pop(key, None), rows, kernel, spans))
        named = zip(CONCEPT_MEASURES, maps, strict=False)
        tensors = {f"{measure}.image": of.half() for measure, of in named}
        if concepts.keeps_keys:
            tensors["concept_key"] = _keys(kernel, spans, counts)
        self._recorder.see_concepts(key, tensors)

    def _begin(self, call: Call, rows: int) -> Tensor:
        """Return the states of all concepts, one after the other, (row, position, channel).

        Raises:
            CaptureError: the backend does not say them, or others than it laid out.
        """
        expected = list(next(iter(self._layers.values()))[1].lengths)
        announced = [len(of) for of in call.concepts]
        if announced != expected:
            raise CaptureError(
                f"the backend announces states of concepts of {announced} positions, expected "
                f"{expected}: say in Call.concepts those of Request.concepts, and their lengths in "
                "concept_lengths()"
            )
        states: Tensor = torch.cat(list(call.concepts))
        return states.expand(rows, -1, -1)


def _with_concepts(
    module: nn.Module,
    args: Sequence[Any],
    keywords: Mapping[str, Any],
    rows: Sequence[int],
    states: Tensor,
) -> Any:
    """Return the arguments of a module with concepts in place of the text, of some rows only."""
    bound = signature(module.forward).bind(*args, **keywords)
    given = bound.arguments
    text = given[TEXT].shape[1]
    given[TEXT] = states.to(given[TEXT])
    given |= {name: given[name][list(rows)] for name in BY_ROW if name in given}
    given |= {name: None for name in MASKS if name in given}
    if given.get(ROTARY) is not None:  # all positions of a text are turned alike
        count = states.shape[1]
        given[ROTARY] = tuple(torch.cat([of[:count], of[text:]]) for of in given[ROTARY])
    return bound


Spans = tuple[Mapping[str, slice], Mapping[str, slice]]
"""Where picture and concepts are, by their kind, among queries and among keys."""


def _find(
    layer: Layer, concepts: ConceptPlan, ran: Sequence[_Kernel], count: int
) -> tuple[_Kernel, Spans]:
    """Return the kernel of a layer among those that ran, and where is what in it.

    Raises:
        CaptureError: there is none.
    """
    queries, keys = _spans(layer.queries, count), _spans(layer.keys, count)
    lengths = [max(span.stop for span in side.values()) for side in (queries, keys)]
    fitting = [of for of in ran if [of.query.shape[2], of.key.shape[2]] == lengths]
    if len(fitting) != 1:
        raise CaptureError(
            f"{concepts.path} ran {len(fitting)} attention kernels with {count} positions of "
            f"concepts, expected one of {lengths[0]} queries and {lengths[1]} keys; load the model "
            "with torch's scaled_dot_product_attention"
        )
    return fitting[0], (queries, keys)


def _spans(segments: Sequence[Segment], count: int) -> dict[str, slice]:
    """Return where each kind is if concepts take the place of all segments of text."""
    spans: dict[str, slice] = {}
    start = 0
    for segment in segments:
        if segment.kind not in spans:
            length = count if segment.kind == "text" else segment.length
            spans[segment.kind] = slice(start, start + length)
            start += length
    return spans


def _pointed(kernel: _Kernel, spans: Spans, counts: Sequence[int]) -> Tensor:
    """Return which concepts the picture's logits point to: (row, query, concept), mean over heads.

    Of several positions of a concept the mean of exp(logit) counts, so that long ones have no
    advantage.
    """
    query = kernel.query[:, :, spans[0]["image"]].float()
    key = kernel.key[:, :, spans[1]["text"]].float()
    parts = ((query @ key.mT) * kernel.scale).split(list(counts), -1)
    logits = torch.stack([part.logsumexp(-1) - log(part.shape[-1]) for part in parts], -1)
    return logits.softmax(-1).mean(1)


def _keys(kernel: _Kernel, spans: Spans, counts: Sequence[int]) -> Tensor:
    """Return keys by concept, (row, head, concept, position, channel); NaN after the shorter."""
    key = kernel.key[:, :, spans[1]["text"]]
    shape = (*key.shape[:2], len(counts), max(counts), key.shape[-1])
    keys = torch.full(shape, torch.nan, dtype=key.dtype, device=key.device)
    for concept, part in enumerate(key.split(list(counts), 2)):
        keys[:, :, concept, : part.shape[2]] = part
    return keys


def _alike(own: Tensor | None, rows: Sequence[int], kernel: _Kernel, spans: Spans) -> Tensor:
    """Return which concepts' output vectors the picture's are like: (row, query, concept).

    Raises:
        CaptureError: those of the model's own run were not seen.
    """
    if own is None:
        raise CaptureError(
            f"{kernel.query.shape[2]} queries ran with concepts, but the model's own attention "
            "gave no output; load the model with torch's scaled_dot_product_attention"
        )
    image = own[list(rows)][:, :, spans[0]["image"]]
    concept = kernel.output[:, :, spans[0]["text"]]
    return torch.einsum("rhqc,rhnc->rqn", image.float(), concept.float()).softmax(-1)
