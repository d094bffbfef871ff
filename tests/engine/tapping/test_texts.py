"""What the positions of a tapped text are called."""

import pytest

from attn.engine.tapping.texts import Row, read_texts
from attn.schema import Segment


@pytest.mark.parametrize(
    ("begin", "end"), [("<|startoftext|>", "<|endoftext|>"), ("<s>", "</s>"), ("[CLS]", "[SEP]")]
)
def test_special_tokens_among_texts(begin, end):
    """A position that is named as tokenizers spell special tokens is one, and no word."""
    names = [begin, "a", "cat", end, end]
    parts = (Segment("text", "text", 0, len(names)),)
    text, _ = read_texts(names, parts, [Row(None, ())])
    assert [token.special for token in text.tokens] == [True, False, False, True, True]
    assert [token.text for token in text.tokens] == names
    assert (text.prompt, [word.text for word in text.words]) == ("a cat", ["a", "cat"])
