"""Turn a prompt into what a language model reads, and say which token is which part of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from attn.backends.loading.explain import explained
from attn.backends.loading.templates.filling import fill
from attn.errors import ModelError
from attn.files.outside import read_text
from attn.schema import Token, find_words, word_at
from attn.wording import spell_token

PLACEHOLDER = "\ue000"
"""A character of private use, which stands for the prompt while a template is looked at."""

BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}
"""The byte that each letter of a name stands for, in vocabularies of bytes."""

LONGEST_TEMPLATE = 2**20
"""Bytes; published templates have a few thousand."""
TEMPLATE_HINT = "; give another one (Jinja) by --set chat_template=FILE"
GENERATED = "generated"
"""The segment that a model writes."""
EMPTY_PROMPT = "the prompt is empty: the model is asked nothing"
Template = str | None
"""A Jinja template, or None for the bare prompt."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer that fits the model.

    Attributes:
        tokenizer: a fast tokenizer of transformers.
        specials: ids of all special tokens.
    """

    tokenizer: Any
    specials: frozenset[int]

    @property
    def end(self) -> int | None:
        """Id of the token that ends a text."""
        number: int | None = self.tokenizer.eos_token_id
        return number

    def text(self, number: int) -> str:
        """Return the readable text of a token.

        Models have vectors for more ids than there are tokens, and may write those.
        """
        name = self.tokenizer.convert_ids_to_tokens(number)
        if name is None:
            return f"<{number}>"
        read = str(self.tokenizer.decode([number]))
        return _spell_bytes(name) if "\ufffd" in read else spell_token(read) or str(name)

    def written(self, numbers: Iterable[int], start: int) -> tuple[Token, ...]:
        """Return tokens that a model wrote, from a position on; no prompt has their letters."""
        return tuple(
            Token(
                position=position,
                segment=GENERATED,
                id=number,
                text=self.text(number),
                special=number in self.specials,
                padding=False,
                start=0,
                stop=0,
                word=None,
            )
            for position, number in enumerate(numbers, start)
        )


def _spell_bytes(name: str) -> str:
    """Return part of a character as its bytes, as Llama's tokenizers name those."""
    if not set(name) <= BYTES.keys():
        return name
    return "".join(f"<0x{BYTES[character]:02X}>" for character in name)


def read_template(tokenizer: Any, name: str | None) -> Template:
    """Return the chat template: the tokenizer's own for `model`, or that in a file.

    Raises:
        ModelError: there is none.
    """
    if name is None:
        return None
    if name != "model":
        return read_text(Path(name).expanduser(), limit=LONGEST_TEMPLATE, error=ModelError)
    if not isinstance(tokenizer.chat_template, str):
        raise ModelError(
            "the model's tokenizer has no chat template; give a file with one (Jinja) by "
            "--set chat_template=FILE, or read the bare prompt, as base models do, by "
            "--set chat_template=none"
        )
    return tokenizer.chat_template


def read_prompt(
    vocabulary: Vocabulary, prompt: str, template: Template, lead: str = ""
) -> tuple[Token, ...]:
    """Tokenize a prompt the way the model was taught to read one.

    Args:
        vocabulary: of the model.
        prompt: what the user wrote.
        template: of the chat.
        lead: fixed text that goes before the prompt.

    Returns:
        one token per position of the segment `prompt`, with character offsets into the prompt.
        What the template adds is special: it carries no text of the prompt.

    Raises:
        ModelError: the template fails, or changes the prompt.
    """
    text, begin = render(vocabulary.tokenizer, prompt, template, lead)
    return tokenize(vocabulary, prompt, text, begin, add_special_tokens=template is None)


def tokenize(
    vocabulary: Vocabulary, prompt: str, text: str, begin: int, *, add_special_tokens: bool
) -> tuple[Token, ...]:
    """Tokenize a text in which a prompt stands.

    Args:
        vocabulary: of the model.
        prompt: what the user wrote.
        text: that is read.
        begin: place in it at which the prompt's first character would be.
        add_special_tokens: let the tokenizer put its own around the text.
    """
    with explained("the tokenizer cannot read the prompt"):
        read = vocabulary.tokenizer(
            text,
            add_special_tokens=add_special_tokens,
            return_offsets_mapping=True,
            truncation=False,
            verbose=False,
        )
        names = vocabulary.tokenizer.convert_ids_to_tokens(read["input_ids"])
    words = find_words(prompt)
    tokens = []
    for position, number in enumerate(read["input_ids"]):
        span = read["offset_mapping"][position]
        first, last = (min(max(at - begin, 0), len(prompt)) for at in span)
        special = number in vocabulary.specials or first == last
        tokens.append(
            Token(
                position=position,
                segment="prompt",
                id=number,
                text=spell_token(text[slice(*span)]) or names[position],
                special=special,
                padding=False,
                start=0 if special else first,
                stop=0 if special else last,
                word=None if special else word_at(words, first, last),
            )
        )
    return tuple(tokens)


def render(
    tokenizer: Any, prompt: str, template: Template, lead: str = "", *, with_picture: bool = False
) -> tuple[str, int]:
    """Return the text that is read, and where in it the prompt's first character would be.

    Templates trim what they are given, so the first character may not be there.

    Args:
        tokenizer: knows special tokens by their names.
        prompt: what the user wrote.
        template: of the chat.
        lead: fixed text that goes before the prompt.
        with_picture: the message has a picture, too.

    Raises:
        ModelError: the template fails, or changes the prompt.
    """
    if template is None:
        return lead + prompt, len(lead)
    filled = _fill(tokenizer, PLACEHOLDER, template, with_picture)
    head, separator, tail = filled.partition(PLACEHOLDER)
    text = _fill(tokenizer, lead + prompt, template, with_picture)
    inside = text[len(head) : len(text) - len(tail)]
    at = (lead + prompt).find(inside)
    if not (separator and text.startswith(head) and text.endswith(tail)) or at < 0:
        raise ModelError(
            "the chat template changes the text of the prompt, so its tokens cannot be told; use "
            "one that puts message.content in as it is"
        )
    return text, len(head) - at + len(lead)


def _fill(tokenizer: Any, text: str, template: str, with_picture: bool) -> str:
    parts = [{"type": "image"}, {"type": "text", "text": text}]
    message = [{"role": "user", "content": parts if with_picture else text}]
    with explained("the chat template cannot be used", TEMPLATE_HINT):
        return fill(template, message, tokenizer.special_tokens_map)
