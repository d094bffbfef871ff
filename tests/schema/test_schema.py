"""What a trace is: words, parts of sequences, blocks and their columns."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from attn.schema import (
    Column,
    Layer,
    Segment,
    Sequence,
    Token,
    block_columns,
    block_names,
    find_words,
    part,
    positions,
    word_at,
)

IMAGE = Segment("image", "image", 0, 6, (2, 3))
CLIP = Segment("clip", "text", 6, 11)
T5 = Segment("t5", "text", 11, 18)
JOINT = Layer(0, "denoiser", "blocks.0.attn", "joint", 7, (IMAGE, CLIP, T5), (IMAGE, CLIP, T5))
TEXT_FIRST = Layer(
    index=1,
    tower="denoiser",
    path="blocks.1.attn",
    kind="joint",
    num_heads=7,
    queries=(Segment("clip", "text", 0, 5), Segment("image", "image", 5, 11, (2, 3))),
    keys=(Segment("clip", "text", 0, 5), Segment("image", "image", 5, 11, (2, 3))),
)
CROSS = Layer(2, "denoiser", "down.attn2", "cross", 5, (IMAGE,), (Segment("clip", "text", 0, 5),))


def test_words_keep_their_apostrophes_hyphens_and_accents() -> None:
    """A word is what a reader calls a word, so that its map is not split into pieces."""
    words = find_words("Zoë's well-lit café, 3 dogs' dogs")

    assert [word.text for word in words] == ["Zoë's", "well-lit", "café", "3", "dogs", "dogs"]
    assert [word.index for word in words] == list(range(6))


@given(st.text())
def test_words_lie_where_they_say(prompt: str) -> None:
    """Offsets are the bridge from tokens to words: they must point at the word's own characters."""
    words = find_words(prompt)

    assert all(prompt[word.start : word.stop] == word.text for word in words)
    assert all(left.stop <= right.start for left, right in pairwise(words))


def test_a_token_belongs_to_the_word_it_shares_most_characters_with() -> None:
    """Tokenizers put spaces and punctuation into tokens; those must not pull the token away."""
    words = find_words("red fox, jumps")

    assert word_at(words, 0, 3) == 0
    assert word_at(words, 3, 7) == 1
    assert word_at(words, 2, 6) == 1
    assert word_at(words, 2, 5) == 0, "a tie goes to the first word"
    assert word_at(words, 7, 8) is None, "punctuation belongs to no word"
    assert word_at((), 0, 3) is None


def test_a_part_is_a_kind_a_segment_or_everything() -> None:
    """Blocks are named by parts: a wrong part would label the wrong columns."""
    segments = JOINT.keys

    assert part(segments, "text") == (CLIP, T5)
    assert part(segments, "image") == (IMAGE,)
    assert part(segments, "t5") == (T5,)
    assert part(segments, "all") == segments
    assert part(segments, "sketch") == ()
    assert positions(part(segments, "text")) == list(range(6, 18))


def test_block_names_follow_the_layers_own_order() -> None:
    """What can be asked of a layer is listed in messages, widest first and without repeats."""
    assert block_names(CROSS) == (
        "image.text",
        "image.clip",
        "image.all",
        "all.text",
        "all.clip",
        "all.all",
    )
    assert len(block_names(JOINT)) == len(set(block_names(JOINT))) == 25


def test_columns_follow_the_order_of_the_layers_keys() -> None:
    """Text first or image first is data: the columns must follow the layer, not a habit."""
    kept = (Column("clip", 7), Column("clip", None), Column("t5", 12))

    assert block_columns(JOINT, "image.text", kept) == kept
    assert block_columns(JOINT, "image.t5", kept) == (Column("t5", 12),)
    image = tuple(Column("image", position) for position in range(5, 11))
    assert block_columns(TEXT_FIRST, "image.all", kept) == (*kept[:2], *image)


def test_a_layer_has_a_grid_only_with_one_image() -> None:
    """Nothing is laid out on a grid that was guessed."""
    two = Segment("reference", "image", 18, 28, (5, 2))

    assert JOINT.grid == (2, 3)
    assert Layer(0, "d", "p", "joint", 7, (IMAGE, two), (IMAGE,)).grid is None
    assert Layer(0, "d", "p", "self", 7, (T5,), (T5,)).grid is None
    assert (JOINT.num_queries, CROSS.num_queries, CROSS.num_keys) == (18, 6, 5)


def test_content_is_neither_special_nor_padding() -> None:
    """Only content gets a column of its own, so the flags decide what is seen."""

    def token(*, special: bool, padding: bool) -> Token:
        return Token(7, "clip", 3, "fox", special, padding, 0, 3, 0)

    assert token(special=False, padding=False).is_content
    assert not token(special=True, padding=False).is_content
    assert not token(special=False, padding=True).is_content
    assert Sequence((IMAGE, CLIP), ()).segment("clip").length == 5
