"""The text encoders of a diffusers pipeline: which tokens each of them reads of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import nn

from attn.backends.diffusers.texts.emphasis import EncodedPart
from attn.backends.diffusers.texts.encoders import Encoder, labels_checked
from attn.backends.diffusers.texts.templates import (
    Template,
    TemplatedText,
    filled,
    lay_out,
    read_templated,
)
from attn.backends.diffusers.texts.tokens import Convert, decode, learned_tokens, zero_tokens
from attn.errors import ModelError
from attn.schema import UNCOND, Lengths, Segment, Token

REMEMBERED = 128
"""So many texts stay decoded: a capture names the tokens of each, and then checks them."""

READERS: Mapping[str, tuple[Any, str]] = {
    "text_encoder": (nn.Module, "a network that reads the prompt's tokens"),
    "tokenizer": (Callable, "what makes tokens of the prompt"),
}
"""What reads a prompt, by the beginning of the pipeline's attribute: its class, and in words."""


@dataclass(frozen=True)
class EncoderInput:
    """What the text segments of one branch hold.

    Attributes:
        tokens: one for each position.
        truncated: by segment, the end of the prompt that did not fit.
        warnings: what else the user should know of how the text is read.
    """

    tokens: tuple[Token, ...]
    truncated: dict[str, str]
    warnings: tuple[str, ...]


class Prompts:
    """What a pipeline's text encoders read.

    Args:
        pipe: of diffusers.
        encoders: by text segment, the endings of the attributes `tokenizer…` and `text_encoder…`
            that fill it; positions are labelled by the first. What a pipeline lacks is left out.
            A segment without endings holds learned vectors, which are no words.
        convert: see `decode`.
        templates: of the segments whose encoder is a chat model.
    """

    def __init__(
        self,
        pipe: Any,
        encoders: Mapping[str, Sequence[str]],
        convert: Convert | None,
        templates: Mapping[str, Template],
    ) -> None:
        self._pipe = pipe
        self._encoders = encoders
        self._convert = convert
        self._templates = templates
        self._decoded = lru_cache(REMEMBERED)(self._decode)
        self._templated = lru_cache(REMEMBERED)(self._read_templated)

    def read(self, text: str | None, segments: Sequence[Segment], branch: str) -> EncoderInput:
        """Return the tokens of a branch's text; None is no text, but zeros, which have none.

        Raises:
            RequestError: the pipeline changes the prompt in a way that cannot be followed.
        """
        if text is None:
            return EncoderInput((), {}, ())
        tokens: tuple[Token, ...] = ()
        truncated: dict[str, str] = {}
        warnings: list[str] = []
        for name in self._templates:
            reading = self._templated(name, text, branch)
            tokens += filled(reading, segments)
            truncated |= {name: reading.truncated} if reading.truncated else {}
        for segment in segments if not self._templates else ():
            endings = self._endings(segment)
            if not endings:
                is_learned = not self._encoders[segment.name]
                tokens += learned_tokens(segment) if is_learned else zero_tokens(segment)
                continue
            first, cut = self._decoded(endings[0], text, segment)
            tokens += first
            truncated |= {segment.name: cut} if cut else {}
            for ending in endings[1:]:
                warnings += _split_apart(first, self._decoded(ending, text, segment)[0])
        return EncoderInput(tokens, truncated, tuple(warnings))

    def row_lengths(
        self, texts: Mapping[str, Sequence[str]], images: int
    ) -> dict[str, list[Lengths]]:
        """Return how long the text of every row is; see `Call.lengths`. Empty where all are alike.

        Args:
            texts: by branch, of every request.
            images: of each request.
        """
        return {
            branch: [
                self._templated(name, text, branch).lengths
                for text in of_branch
                for _ in range(images)
            ]
            for name, template in self._templates.items()
            if template.room is None
            for branch, of_branch in texts.items()
        }

    def room(self, texts: Mapping[str, Sequence[str]], start: int) -> tuple[Segment, ...]:
        """Return segments with room for the text of every branch in its template; see `lay_out`."""
        (name,) = self._templates
        rows = self.row_lengths(texts, 1)
        return lay_out([lengths for of in rows.values() for lengths in of], name, start)

    @contextmanager
    def checked(
        self,
        texts: Mapping[str, Sequence[str]],
        segments: Sequence[Segment],
        denoiser: nn.Module,
    ) -> Iterator[set[tuple[str, str]]]:
        """Compare what the encoders are given with what `read` says; see `labels_checked`.

        Args:
            texts: by branch, in the order in which they are encoded, the text of every prompt of
                the batch; branches that read zeros are left out.
            segments: that hold text.
            denoiser: runs after the encoders.
        """
        encoders = [
            Encoder(
                name=f"text_encoder{ending}",
                module=getattr(self._pipe, f"text_encoder{ending}"),
                segment=segment.name,
                tokenizer=getattr(self._pipe, f"tokenizer{ending}"),
                ids={
                    branch: [
                        self._ids(ending, text, segment, branch)
                        for text in dict.fromkeys(branch_texts)
                    ]
                    for branch, branch_texts in texts.items()
                },
                is_padded=segment.name not in self._templates,
            )
            for segment in segments
            if segment.name in self._encoders
            for ending in self._endings(segment)
        ]
        with labels_checked(encoders, denoiser) as unknown:
            yield unknown

    def parts(self, segments: Sequence[Segment]) -> list[EncodedPart]:
        """Return where the states of each encoder lie in the embeddings of a prompt.

        Segments follow one another; the encoders of one have its channels side by side.
        """
        parts, start = [], 0
        for segment in segments:
            positions, channel = slice(start, start + segment.length), 0
            for ending in self._endings(segment):
                width = getattr(self._pipe, f"text_encoder{ending}").config.hidden_size
                parts.append(EncodedPart(positions, slice(channel, channel + width)))
                channel += width
            start += segment.length
        return parts

    def require(self, segment: str) -> None:
        """Refuse a pipeline without the parts that read the prompt for a segment.

        Raises:
            ModelError: names the first part that is not there.
        """
        for ending in self._encoders[segment]:
            for part, (kind, what) in READERS.items():
                name = f"{part}{ending}"
                reader = getattr(self._pipe, name, None)
                if not hasattr(self._pipe, name) or isinstance(reader, kind):
                    continue
                got = "none" if reader is None else f"a {type(reader).__name__}"
                raise ModelError(
                    f"{name}: expected {what}, got {got}; prompts are given as text here, so load "
                    "the pipeline with its tokenizers and text encoders, or call it yourself, with "
                    "embeddings, and record its attention with attn.tap"
                )

    def _endings(self, segment: Segment) -> tuple[str, ...]:
        """Return the endings whose tokenizer and encoder are there."""
        return tuple(
            ending
            for ending in self._encoders[segment.name]
            if None
            not in (
                getattr(self._pipe, f"tokenizer{ending}", None),
                getattr(self._pipe, f"text_encoder{ending}", None),
            )
        )

    def _ids(self, ending: str, text: str, segment: Segment, branch: str) -> tuple[int, ...]:
        if segment.name in self._templates:
            return self._templated(segment.name, text, branch).ids
        tokens, _ = self._decoded(ending, text, segment)
        return tuple(token.id for token in tokens)

    def _read_templated(self, name: str, text: str, branch: str) -> TemplatedText:
        tokenizer = getattr(self._pipe, f"tokenizer{self._encoders[name][0]}")
        template = self._templates[name]
        if branch == UNCOND and template.negative is not None:
            template = template.negative
        return read_templated(tokenizer, text, name, template, self._convert)

    def _decode(
        self, ending: str, text: str, segment: Segment
    ) -> tuple[tuple[Token, ...], str | None]:
        return decode(
            getattr(self._pipe, f"tokenizer{ending}"),
            text,
            segment=segment.name,
            start=segment.start,
            length=segment.length,
            convert=self._convert,
        )


def _split_apart(first: Sequence[Token], second: Sequence[Token]) -> list[str]:
    """Describe positions where a segment's second encoder reads other tokens ("!!")."""
    for token, other in zip(first, second, strict=True):
        spans = (token.start, token.stop), (other.start, other.stop)
        if spans[0] != spans[1] and not (token.padding and other.padding):
            return [
                "the two text encoders split the prompt differently from position "
                f"{token.position} on ({token.text!r} and {other.text!r}); "
                "positions are labelled by the first"
            ]
    return []
