"""What chat models read of a prompt: their template around it, and which tokens are of which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attn.backends.diffusers.texts.tokens import (
    Convert,
    TypedText,
    converted,
    special_ids,
    typed_span,
)
from attn.backends.loading.explain import explained
from attn.errors import ModelError
from attn.schema import (
    TEMPLATE,
    TEMPLATE_END,
    Lengths,
    Segment,
    SegmentKind,
    Token,
    find_words,
    word_at,
)

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
        kept: of the dropped ones, so many at the very beginning that the denoiser is given.
        room: positions that every text has, where padding, which is masked, fills it up.
        negative: what negative prompts stand in, where that is another.
        fills_inside: whether what fills the text up stands before what follows the prompt, which
            then is there however long the prompt is.
    """

    render: Callable[[Any, str], str]
    longest: int
    dropped: int = 0
    multiple: int = 1
    kept: int = 0
    room: int | None = None
    negative: Template | None = None
    fills_inside: bool = False


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


def read_templated(
    tokenizer: Any,
    prompt: str,
    segment: str,
    template: Template,
    convert: Convert | None = None,
) -> TemplatedText:
    """Tokenize a prompt in its template.

    Args:
        tokenizer: a fast tokenizer of transformers.
        prompt: the text.
        segment: name of the prompt's own tokens.
        template: around it.
        convert: what the pipeline makes of the prompt first; see `decode`.

    Raises:
        ModelError: there is no template, or it changes the prompt.
    """
    typed = converted(prompt, tokenizer, convert)
    head, text = _rendered(tokenizer, str(typed), template)
    with explained(f"the tokenizer of {segment} cannot read the prompt"):
        whole = tokenizer(text, return_offsets_mapping=True, truncation=False, verbose=False)
        first = min(len(tokenizer(head)["input_ids"]), template.longest)
    ids, offsets = whole["input_ids"], whole["offset_mapping"]
    begin, end = len(head), len(head) + len(typed)
    while 0 < first <= len(offsets) and _begins(text, offsets[first - 1], begin):
        first -= 1
    inside = [at for at, (start, _) in enumerate(offsets) if at >= first and start < end]
    last = inside[-1] + 1 if inside else first
    behind = len(ids) - last if template.fills_inside else 0
    read = min(len(ids), template.longest - behind)
    order = list(range(read))
    if template.fills_inside:
        order = [*range(min(read, last)), *range(last, len(ids))]
    ids = [ids[at] for at in order]
    where = (begin, prompt, typed)
    tokens = _tokens(tokenizer, ids, [offsets[at] for at in order], text, where)
    cut = None
    if read < last:
        at = max(offsets[read][0] - begin, 0)
        cut = prompt[typed_span(typed, slice(at, at))[0] :].strip()
    if template.room is not None:
        parts = _in_room(tokenizer, tokens, segment, template)
        return TemplatedText(tuple(ids), _placed(parts), (), cut)
    last = min(read, last)
    parts = {
        TEMPLATE: tokens[template.dropped : first],
        segment: tokens[max(first, template.dropped) : last],
        TEMPLATE_END: tokens[max(last, template.dropped) :],
    }
    count = {name: len(here) for name, here in parts.items()}
    count[PADDING] = -sum(count.values()) % template.multiple
    if template.fills_inside:
        count[TEMPLATE_END] = count.pop(TEMPLATE_END)
    return TemplatedText(tuple(ids), _placed(parts), tuple(count.items()), cut)


def _in_room(
    tokenizer: Any, tokens: Sequence[Token], segment: str, template: Template
) -> dict[str, Sequence[Token]]:
    """Return what is kept of a template, then the prompt's tokens and the padding behind them."""
    kept = template.kept
    shown = tokens[max(template.dropped, kept) :]
    count = (template.room or 0) - kept - len(shown)
    pad = Token(0, "", tokenizer.pad_token_id, tokenizer.pad_token, True, True, 0, 0, None)
    return {TEMPLATE: tokens[:kept], segment: [*shown, *[pad] * count]}


def _begins(text: str, offsets: tuple[int, int], begin: int) -> bool:
    """Whether a token has the template's last spaces and the prompt's first letters."""
    start, stop = offsets
    is_astride = start < begin < stop
    return is_astride and not text[start:begin].strip() and bool(text[begin:stop].strip())


def lay_out(readings: Sequence[Lengths], segment: str, start: int) -> tuple[Segment, ...]:
    """Return segments in which each of several texts has room, from a position on.

    Args:
        readings: how many positions each text has, by segment, in the order of the sequence.
        segment: of the prompt's own tokens; it is there even if no prompt has any.
        start: position of the first.
    """
    segments: list[Segment] = []
    for name, _ in readings[0]:
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
    where: tuple[int, str, TypedText],
) -> list[Token]:
    """Return tokens with offsets into the prompt; what is none of it is special."""
    (begin, prompt, typed), specials = where, special_ids(tokenizer)
    words, names = find_words(prompt), tokenizer.convert_ids_to_tokens(list(ids))
    tokens = []
    for at, number in enumerate(ids):
        start, stop = (min(max(edge - begin, 0), len(typed)) for edge in offsets[at])
        is_astride = offsets[at][0] < begin  # ends of lines of both, which are one token
        is_astride = is_astride and not _begins(text, offsets[at], begin)
        special = number in specials or start == stop or is_astride
        shown = _shown(text[slice(*offsets[at])]) or names[at]
        first, last = (0, 0) if special else typed_span(typed, slice(start, stop))
        word = None if special else word_at(words, first, last)
        tokens.append(Token(at, "", number, shown, special, False, first, last, word, names[at]))
    return tokens


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
