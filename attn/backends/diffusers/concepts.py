"""Words outside the prompt: each is encoded alone, by the pipeline's own text encoders.

Of joint families the states are those of the first token in T5, as ConceptAttention takes them; of
the others those of all tokens of the concept in the first text segment.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

from attn.backends.diffusers.texts.prompts import Prompts
from attn.backends.types import Session
from attn.errors import RequestError
from attn.schema import Layer, LayerKey, Request, Segment

ENCODING = ("clip_skip", "clean_caption", "max_sequence_length")
"""Arguments of pipelines that change how they encode a text."""
STREAM_SEGMENT = "t5"
"""Text segment whose first token begins the stream of a concept."""


class ConceptSession(Session):
    """What a session says of concepts; a family with `concept_modules` takes them."""

    pipe: Any
    concept_stream: ClassVar[str] = ""
    """The stack of blocks in which concepts are a stream beside the picture's; empty where the
    layers read them by cross-attention."""
    concept_states: tuple[torch.Tensor, ...] = ()
    """Those of each concept of the requests that run, (position, channel)."""
    _prompts: Prompts

    @abstractmethod
    def text_segments(self, request: Request) -> tuple[Segment, ...]:
        """Return the segments that text encoders fill."""

    @abstractmethod
    def extra_arguments(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return arguments of the pipeline's call beyond the usual ones."""

    def project_concepts(self, states: torch.Tensor) -> torch.Tensor:
        """Return states of text as the denoiser hands them to the first layer that reads them."""
        return states

    def complete_concepts(self, request: Request) -> tuple[str, ...]:
        """Return the concepts of a request, each of which fits.

        Raises:
            RequestError: the text encoder has no token of one, or not all of them.
        """
        if request.concepts and self.concept_stream:
            self._require_stream()
        for concept in request.concepts:
            segment = self._segment(request)
            read = self._prompts.read(concept, (segment,), "cond")
            if segment.name in read.truncated:
                raise RequestError(
                    f"concepts: '{concept}' has more tokens than the {segment.length} positions "
                    f"of '{segment.name}'; give a word, or a few"
                )
            if not any(token.is_content for token in read.tokens):
                raise RequestError(f"concepts: '{concept}' has no token in '{segment.name}'")
        return request.concepts

    def concept_lengths(self, request: Request) -> tuple[int, ...]:
        """Return how many tokens' states stand for each concept; see `Session`."""
        return tuple(len(self._content(request, concept)) for concept in request.concepts)

    @contextmanager
    def conceiving(self, request: Request) -> Iterator[None]:
        """Have `concept_states` in a block; the LoRAs are in the model by then."""
        if request.concepts:
            self.concept_states = tuple(self._encode_concepts(request))
        try:
            yield
        finally:
            self.concept_states = ()

    def _encode_concepts(self, request: Request) -> Iterator[torch.Tensor]:
        takes = inspect.signature(self.pipe.encode_prompt).parameters
        arguments: dict[str, Any] = {
            "prompt_2": None,
            "prompt_3": None,
            "device": self.pipe._execution_device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": False,
        }
        arguments |= {
            name: value
            for name, value in self.extra_arguments([request]).items()
            if name in ENCODING
        }
        used = {name: value for name, value in arguments.items() if name in takes}
        with torch.no_grad():
            encoded = self.pipe.encode_prompt(prompt=list(request.concepts), **used)[0]
        start = self.text_segments(request)[0].start
        for concept, states in zip(request.concepts, encoded, strict=True):
            rows = [position - start for position in self._content(request, concept)]
            with torch.no_grad():
                yield self.project_concepts(states[rows])

    def _content(self, request: Request, concept: str) -> list[int]:
        """Return the positions of the tokens whose states stand for a concept."""
        tokens = self._prompts.read(concept, (self._segment(request),), "cond").tokens
        content = [token.position for token in tokens if token.is_content]
        return content[: 1 if self.concept_stream else None]

    def _segment(self, request: Request) -> Segment:
        """Return the segment of which a concept's states are."""
        segments = self.text_segments(request)
        named = [of for of in segments if of.name == STREAM_SEGMENT]
        return named[0] if self.concept_stream else segments[0]

    def _require_stream(self) -> None:
        """Refuse concepts where the encoder is not there that begins their stream.

        Raises:
            RequestError: says which.
        """
        endings = getattr(self, "encoders", {}).get(STREAM_SEGMENT, ())
        if any(getattr(self.pipe, f"text_encoder{of}", None) is None for of in endings):
            raise RequestError(
                "concepts: they are read by T5, which is not there; load it (--set t5xxl=PATH)"
            )


def cross_modules(layers: Sequence[Layer]) -> dict[LayerKey, str]:
    """Return the cross-attention of a denoiser, each by its own path."""
    return {
        (layer.tower, layer.path): layer.path
        for layer in layers
        if layer.kind == "cross" and layer.tower == "denoiser"
    }


def block_modules(layers: Sequence[Layer], stack: str) -> dict[LayerKey, str]:
    """Return the joint attention of a stack of blocks, with the path of its block."""
    return {
        (layer.tower, layer.path): layer.path.rpartition(".")[0]
        for layer in layers
        if layer.kind == "joint" and layer.path.startswith(f"{stack}.")
    }
