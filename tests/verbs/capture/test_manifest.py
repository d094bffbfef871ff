"""What is known of a trace before it is captured."""

import pytest

from attn.backends.chat.prompts import Vocabulary, read_prompt
from attn.backends.diffusers.texts.tokens import decode
from attn.demo import language
from attn.demo.tokenizers import MASK, clip_tokenizer, t5_tokenizer
from attn.schema import Request, Segment, Sequence
from attn.verbs.capture.manifest import typed_out

CHAT = language.tokenizer()
VOCABULARY = Vocabulary(CHAT, frozenset(CHAT.all_special_ids))


def read(segment, prompt, length=13):
    """Return what one text encoder, or the chat model, reads."""
    if segment == "prompt":
        tokens = read_prompt(VOCABULARY, prompt, CHAT.chat_template)
        return Sequence((Segment(segment, "text", 0, len(tokens)),), tokens)
    tokenizer = clip_tokenizer(pad="!") if segment == "clip" else t5_tokenizer()
    tokens, cut = decode(tokenizer, prompt, segment=segment, start=0, length=length)
    return Sequence((Segment(segment, "text", 0, length),), tokens, {segment: cut} if cut else {})


@pytest.mark.parametrize(
    ("segment", "name"),
    [("clip", "<|endoftext|>"), ("t5", "</s>"), ("t5", "<pad>"), ("prompt", MASK)],
)
def test_special_tokens_that_are_typed_out(segment, name):
    """A model does not read such text as text, so that its words are missing."""
    prompt = f"a {name} red cat"
    (warning,) = typed_out(Request(prompt), {"cond": read(segment, prompt)})
    assert warning == (
        f"the prompt has '{name}', which the model's '{segment}' text reads as that special "
        "token: it belongs to no word"
    )
    (warning,) = typed_out(Request("", prompt), {"uncond": read(segment, prompt)})
    assert warning.startswith(f"the negative prompt has '{name}'")


@pytest.mark.parametrize(
    ("segment", "prompt"),
    [
        ("clip", "a red cat!"),
        ("clip", "</s> a cat"),
        ("t5", "<|endoftext|> a cat"),
        ("clip", f"{'cat ' * 20}<|endoftext|>"),  # cut off
        ("prompt", "user, what is a mask?"),
    ],
)
def test_what_is_read_as_text(segment, prompt):
    """Names of special tokens of another model, and what is not read at all, are no matter."""
    assert not list(typed_out(Request(prompt), {"cond": read(segment, prompt)}))
