"""The text encoders of a diffusers pipeline: which tokens each of them reads of a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from attn.backends.diffusers.encoders import Encoder, labels_checked
from attn.backends.diffusers.tokens import Convert, decode, token_ids, zero_tokens
from attn.errors import ModelError
from attn.schema import Segment, Token


@dataclass(frozen=True)
class Reading:
    """What the text segments of one branch hold.

    Attributes:
        tokens: one for each position.
        truncated: by segment, the end of the prompt that did not fit.
        warnings: of encoders that split the prompt differently.
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
        convert: see `decode`.
    """

    def __init__(
        self, pipe: Any, encoders: Mapping[str, Sequence[str]], convert: Convert | None
    ) -> None:
        self._pipe = pipe
        self._encoders = encoders
        self._convert = convert

    def read(self, text: str | None, segments: Sequence[Segment]) -> Reading:
        """Return the tokens of text segments; None is no text, but zeros, which have none.

        Raises:
            RequestError: the pipeline changes the prompt in a way that cannot be followed.
        """
        if text is None:
            return Reading((), {}, ())
        tokens: tuple[Token, ...] = ()
        truncated: dict[str, str] = {}
        warnings: list[str] = []
        for segment in segments:
            endings = self._endings(segment)
            if not endings:
                tokens += zero_tokens(segment)
                continue
            first, cut = self._decode(endings[0], text, segment)
            tokens += first
            truncated |= {segment.name: cut} if cut else {}
            for ending in endings[1:]:
                warnings += _split_apart(first, self._decode(ending, text, segment)[0])
        return Reading(tokens, truncated, tuple(warnings))

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
                    branch: [self._ids(ending, text, segment) for text in dict.fromkeys(own)]
                    for branch, own in texts.items()
                },
            )
            for segment in segments
            for ending in self._endings(segment)
        ]
        with labels_checked(encoders, denoiser) as unknown:
            yield unknown

    def require(self, segment: str) -> None:
        """Refuse a pipeline that has a tokenizer, but not the encoder that reads its tokens.

        Raises:
            ModelError: names the encoder.
        """
        for ending in self._encoders[segment]:
            tokenizer, encoder = (
                getattr(self._pipe, f"{part}{ending}", None)
                for part in ("tokenizer", "text_encoder")
            )
            if tokenizer is not None and not isinstance(encoder, nn.Module):
                found = "none" if encoder is None else f"a {type(encoder).__name__}"
                raise ModelError(
                    f"text_encoder{ending}: expected a network that reads the prompt's tokens, got "
                    f"{found}; prompts are given as text here, so load the pipeline with its text "
                    "encoders"
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

    def _ids(self, ending: str, text: str, segment: Segment) -> tuple[int, ...]:
        tokenizer = getattr(self._pipe, f"tokenizer{ending}")
        return token_ids(tokenizer, text, length=segment.length, convert=self._convert)

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
    """Say where a segment's second encoder reads other tokens at the same positions ("!!")."""
    for one, other in zip(first, second, strict=True):
        spans = (one.start, one.stop), (other.start, other.stop)
        if spans[0] != spans[1] and not (one.padding and other.padding):
            return [
                "the two text encoders split the prompt differently from position "
                f"{one.position} on ({one.text!r} and {other.text!r}); "
                "positions are labelled by the first"
            ]
    return []
