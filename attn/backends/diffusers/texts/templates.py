"""What chat models read of a prompt: their template around it, and which tokens are of which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attn.backends.diffusers.texts.tokens import special_ids
from attn.backends.loading.explain import explained
from attn.errors import ModelError
from attn.schema import Lengths, Segment, SegmentKind, Token, find_words, word_at

TEMPLATE, TEMPLATE_END = "template", "template_end"
"""Segments of what a template puts before the prompt, and behind it."""
PADDING = "text_padding"
"""Segment of the vectors that fill a text up."""
PROMPT = "\ue000"
"""A character of private use, which stands for the prompt while a template is looked at."""


@dataclass(frozen=True)
class Template:
    """How a pipeline gives a prompt to a chat model.

    Attributes:
        render: makes of a tokenizer and a prompt the text that is tokenized.
        longest: tokens of it that are read, the dropped ones included.
        dropped: tokens at its beginning of which the denoiser is given nothing.
        multiple: learned vectors fill the text up to a multiple of so many positions.
    """

    render: Callable[[Any, str], str]
    longest: int
    dropped: int = 0
    multiple: int = 1


@dataclass(frozen=True)
class TemplatedText:
    """What a chat model reads of one prompt.

    Attributes:
        ids: of every token, without padding.
        tokens: by segment, those that the denoiser is given, at positions from 0 on.
        lengths: how many positions the denoiser is given, by segment.
        truncated: the end of the prompt that did not fit, or None.
    """

    ids: tuple[int, ...]
    tokens: Mapping[str, tuple[Token, ...]]
    lengths: Lengths
    truncated: str | None


def chat(*, thinking: bool) -> Callable[[Any, str], str]:
    """Return what makes a user's turn of a prompt, and begins the model's.

    Args:
        thinking: whether the model is to think before it answers.
    """

    def render(tokenizer: Any, prompt: str) -> str:
        if not tokenizer.chat_template:
            raise ModelError(
                "the tokenizer has no chat template, which this model reads prompts in; take "
                "tokenizer_config.json and chat_template.jinja of the published model beside it"
            )
        with explained("the chat template cannot be used"):
            text: str = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=thinking,
            )
        return text

    return render


def read_templated(tokenizer: Any, prompt: str, segment: str, template: Template) -> TemplatedText:
    """Tokenize a prompt in its template.

    Args:
        tokenizer: a fast tokenizer of transformers.
        prompt: the text.
        segment: name of the prompt's own tokens.
        template: around it.

    Raises:
        ModelError: there is no template, or it changes the prompt.
    """
    head, text = _rendered(tokenizer, prompt, template)
    with explained(f"the tokenizer of {segment} cannot read the prompt"):
        whole = tokenizer(text, return_offsets_mapping=True, truncation=False, verbose=False)
        first = min(len(tokenizer(head)["input_ids"]), template.longest)
    ids, offsets = whole["input_ids"], whole["offset_mapping"]
    begin, end = len(head), len(head) + len(prompt)
    inside = [at for at, (start, _) in enumerate(offsets) if at >= first and start < end]
    last = inside[-1] + 1 if inside else first
    read = min(len(ids), template.longest)
    tokens = _tokens(tokenizer, ids[:read], offsets, text, (begin, prompt))
    parts = {
        TEMPLATE: tokens[template.dropped : first],
        segment: tokens[max(first, template.dropped) : last],
        TEMPLATE_END: tokens[max(last, template.dropped) :],
    }
    cut = prompt[max(offsets[read][0] - begin, 0) :].strip() if read < last else None
    count = {name: len(here) for name, here in parts.items()}
    count[PADDING] = -sum(count.values()) % template.multiple
    return TemplatedText(tuple(ids[:read]), _placed(parts), tuple(count.items()), cut)


def lay_out(readings: Sequence[Lengths], segment: str, start: int) -> tuple[Segment, ...]:
    """Return segments in which each of several texts has room, from a position on.

    Args:
        readings: how many positions each text has, by segment.
        segment: of the prompt's own tokens; it is there even if no prompt has any.
        start: position of the first.
    """
    segments: list[Segment] = []
    for name in (TEMPLATE, segment, TEMPLATE_END, PADDING):
        longest = max(dict(lengths)[name] for lengths in readings)
        longest = max(longest, 1) if name == segment else longest
        if longest:
            kind: SegmentKind = "padding" if name == PADDING else "text"
            segments.append(Segment(name, kind, start, start + longest))
            start += longest
    return tuple(segments)


def filled(reading: TemplatedText, segments: Sequence[Segment]) -> tuple[Token, ...]:
    """Return one token for each position of text segments; what a text lacks there is padding."""
    tokens: list[Token] = []
    for segment in segments:
        here = reading.tokens.get(segment.name, ())
        tokens += [replace(token, position=segment.start + at) for at, token in enumerate(here)]
        tokens += [
            Token(position, segment.name, -1, "<none>", False, True, 0, 0, None)
            for position in range(segment.start + len(here), segment.stop)
        ]
    return tuple(tokens)


def _rendered(tokenizer: Any, prompt: str, template: Template) -> tuple[str, str]:
    """Return what a template puts before the prompt, and the whole text.

    Raises:
        ModelError: the prompt does not stand in it as it was typed.
    """
    head, mark, tail = template.render(tokenizer, PROMPT).partition(PROMPT)
    text = template.render(tokenizer, prompt)
    if not mark or text != head + prompt + tail:
        raise ModelError(
            "the chat template changes the text of the prompt, so its tokens cannot be told; use "
            "one that puts message.content in as it is"
        )
    return head, text


def _tokens(
    tokenizer: Any,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    text: str,
    typed: tuple[int, str],
) -> tuple[Token, ...]:
    """Return tokens with offsets into the prompt; what is none of it is special."""
    (begin, prompt), specials = typed, special_ids(tokenizer)
    words, names = find_words(prompt), tokenizer.convert_ids_to_tokens(list(ids))
    tokens = []
    for at, number in enumerate(ids):
        start, stop = (min(max(edge - begin, 0), len(prompt)) for edge in offsets[at])
        is_astride = offsets[at][0] < begin  # ends of lines of both, which are one token
        special = number in specials or start == stop or is_astride
        shown = _shown(text[slice(*offsets[at])]) or names[at]
        span = (0, 0, None) if special else (start, stop, word_at(words, start, stop))
        tokens.append(Token(at, "", number, shown, special, False, *span, piece=names[at]))
    return tuple(tokens)


def _shown(text: str) -> str:
    """Return a token without the space around it; one that is nothing but space, visibly."""
    return text.strip() or text.encode("unicode_escape").decode().replace(" ", "␣")


def _placed(parts: Mapping[str, Sequence[Token]]) -> dict[str, tuple[Token, ...]]:
    placed, start = {}, 0
    for name, tokens in parts.items():
        placed[name] = tuple(
            replace(token, segment=name, position=start + at) for at, token in enumerate(tokens)
        )
        start += len(tokens)
    return placed
