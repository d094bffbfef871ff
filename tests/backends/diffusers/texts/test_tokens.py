"""What a text encoder reads: tokens with offsets, words, padding, and what was cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn.backends.diffusers.texts.tokens import TypedText, decode
from attn.demo.tokenizers import WORDS, clip_tokenizer, t5_tokenizer
from attn.schema import find_words

TOKENIZERS = {"L": clip_tokenizer(), "G": clip_tokenizer(pad="!"), "T5": t5_tokenizer()}
LENGTHS = {"L": 77, "G": 77, "T5": 256}
START = 100
EOS = "<|endoftext|>"
# one token each for every tokenizer here
ONE = [word for word in WORDS if len(word) > 2]


def read(name, prompt, length=29):
    """Decode a prompt into a segment that begins at position 100."""
    return decode(TOKENIZERS[name], prompt, segment="text", start=START, length=length)


def content(name, prompt):
    """Return (text, word) of the tokens that carry the prompt."""
    return [(token.text, token.word) for token in read(name, prompt)[0] if token.is_content]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red cat", [("a", 0), ("red", 1), ("cat", 2)]),
        ("old rusty-bicycle", [("old", 0), ("rusty", 1), ("-", 1), ("bicycle", 1)]),
        ("cat, dog.", [("cat", 0), (",", None), ("dog", 1), (".", None)]),
        ("  red   cat  ", [("red", 0), ("cat", 1)]),
        ("hello\n\tworld", [("hello", 0), ("world", 1)]),
        ("red,cat!", [("red", 0), (",", None), ("cat", 1), ("!", None)]),
        ("cat and cat", [("cat", 0), ("and", 1), ("cat", 2)]),
    ],
)
def test_words(name, prompt, expected):
    """A token belongs to the word that its characters are in; punctuation belongs to none."""
    assert content(name, prompt) == expected


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("apostrophe", ["'", "’"])
def test_apostrophe(name, apostrophe):
    """A word with an apostrophe is one word of many tokens."""
    prompt = f"a cat{apostrophe}s hat"
    words = [word for _, word in content(name, prompt)]
    assert find_words(prompt)[1].text == f"cat{apostrophe}s"
    assert words == sorted(words)
    assert set(words) == {0, 1, 2}
    assert words.count(1) > 2


@pytest.mark.parametrize("name", ["L", "G"])
def test_upper_case(name):
    """CLIP lowers the prompt; the tokens show it as it was typed, at the same offsets."""
    assert content(name, "A Red  CAT!") == [("A", 0), ("Red", 1), ("CAT", 2), ("!", None)]
    ids = [[token.id for token in read(name, text)[0]] for text in ("A Red  CAT!", "a red cat!")]
    assert ids[0] == ids[1]


def test_upper_case_of_t5():
    """T5 keeps upper case, which here is spelled out; the letters stay with their word."""
    assert [word for _, word in content("T5", "Red CAT")] == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_emoji(name):
    """The bytes of an emoji are tokens of no word, and the words after it keep their places."""
    pieces = content(name, "cat 🐈 dog")
    assert pieces[0] == ("cat", 0)
    assert pieces[-1] == ("dog", 1)
    assert set(pieces[1:-1]) == {("🐈", None)}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_scripts(name):
    """Offsets count characters, not bytes, in any script."""
    prompt = "кот cat 猫"
    assert [word.text for word in find_words(prompt)] == ["кот", "cat", "猫"]
    words = [word for _, word in content(name, prompt)]
    assert words == sorted(words)
    assert [pair for pair in content(name, prompt) if pair[1] == 1] == [("cat", 1)]


@pytest.mark.parametrize(("name", "special"), [("L", EOS), ("G", EOS), ("T5", "</s>")])
def test_special_tokens_that_are_typed_out(name, special):
    """What a model reads as its special token is none of the prompt's words."""
    tokens = read(name, f"a {special} red cat!")[0]
    typed = [token for token in tokens[1:4] if token.text == special]
    assert [(item.special, item.padding, item.word, item.stop) for item in typed] == [
        (True, False, None, 0)
    ]
    assert content(name, f"a {special} red cat!")[-3:] == [("red", 2), ("cat", 3), ("!", None)]


@pytest.mark.parametrize(("name", "specials"), [("L", 2), ("G", 2), ("T5", 1)])
def test_empty_prompt(name, specials):
    """An empty prompt has special tokens and padding only, and fills its segment."""
    tokens, cut = read(name, "")
    assert [token.position for token in tokens] == list(range(START, START + 29))
    assert [token.special for token in tokens[:specials]] == [True] * specials
    assert [token.padding for token in tokens] == [False] * specials + [True] * (29 - specials)
    assert not any(token.is_content or token.stop for token in tokens)
    assert cut is None


@pytest.mark.parametrize(
    ("name", "pads"), [("L", {EOS}), ("G", {"!"}), ("T5", {"<pad>"})], ids=["L", "G", "T5"]
)
def test_padding(name, pads):
    """Padding is told from what it looks like: CLIP-L pads with the end token, CLIP-G with "!"."""
    tokens, _ = read(name, "cat!")
    read_until = next(index for index, token in enumerate(tokens) if token.padding)
    assert {token.text for token in tokens[read_until:]} == pads
    assert all(token.padding for token in tokens[read_until:])
    assert tokens[read_until - 1].special
    assert [(token.text, token.word) for token in tokens if token.is_content][-1] == ("!", None)


@pytest.mark.parametrize(("name", "names"), [("L", ("<|startoftext|>", EOS)), ("T5", ("</s>",))])
def test_specials(name, names):
    """Special tokens show their own names, and no characters of the prompt."""
    tokens, _ = read(name, "a cat")
    specials = [token for token in tokens if token.special and not token.padding]
    assert tuple(token.text for token in specials) == names
    assert {(token.start, token.stop, token.word) for token in specials} == {(0, 0, None)}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_exact_fit(name):
    """A prompt that just fits is not truncated, and its last token is there."""
    room = LENGTHS[name] - (1 if name == "T5" else 2)
    tokens, cut = read(name, " ".join((ONE * 3)[:room]), LENGTHS[name])
    assert cut is None
    assert not any(token.padding for token in tokens)
    assert [token.word for token in tokens if token.is_content] == list(range(room))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_truncation(name):
    """What does not fit is given back as it was typed, from the first character not read."""
    room = LENGTHS[name] - (1 if name == "T5" else 2)
    prompt = " ".join([*(ONE * 3)[:room], "Blue", "BIRD ,", "hat"])
    tokens, cut = read(name, prompt, LENGTHS[name])
    assert cut == "Blue BIRD , hat"
    assert len(tokens) == LENGTHS[name]
    assert [token.word for token in tokens if token.is_content] == list(range(room))
    assert tokens[-1].special


def test_truncation_inside_a_word():
    """A word that was cut in two shows its second half as not read."""
    tokens, cut = read("L", "big rusty-bicycle", 5)
    assert [token.text for token in tokens if token.is_content] == ["big", "rusty", "-"]
    assert cut == "bicycle"


@pytest.mark.parametrize("name", TOKENIZERS)
@given(prompt=st.text(st.sampled_from("Aacot'-,.! \t\n🐈猫é"), max_size=24))
def test_any_prompt(name, prompt):
    """Content tokens run through the prompt in order; each shows its slice and the word there."""
    tokens, _ = read(name, prompt, 77)
    words = find_words(prompt)
    carrying = [token for token in tokens if token.is_content]
    assert [token.start for token in carrying] == sorted(token.start for token in carrying)
    for token in carrying:
        assert token.text == prompt[token.start : token.stop].strip()
        if token.word is not None:
            word = words[token.word]
            assert max(word.start, token.start) < min(word.stop, token.stop)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(prompt=st.text(st.sampled_from("abcot ,'"), max_size=40))
def test_nothing_is_lost(name, prompt):
    """Every character but blanks is in a token, and every word has at least one."""
    tokens, cut = read(name, prompt, 77)
    covered = {index for token in tokens for index in range(token.start, token.stop)}
    assert cut is None
    assert {index for index, character in enumerate(prompt) if character != " "} <= covered
    assert {word.index for word in find_words(prompt)} == {
        token.word for token in tokens if token.word is not None
    }


@pytest.mark.parametrize("prompt", ["a red cat", "", "kitten’s 🐈 toy", "cat " * 99])
def test_ids_are_those_of_the_pipeline(opened, prompt):
    """The ids are exactly what StableDiffusion3Pipeline feeds its three encoders."""
    pipe = opened("sd35").pipe
    parts = ((pipe.tokenizer, 77), (pipe.tokenizer_2, 77), (pipe.tokenizer_3, 256))
    for tokenizer, length in parts:
        fed = tokenizer(prompt, padding="max_length", max_length=length, truncation=True)
        tokens, _ = decode(tokenizer, prompt, segment="x", start=0, length=length)
        assert [token.id for token in tokens] == fed["input_ids"]


@given(prompt=st.text("ab", max_size=9), old=st.text("ab", max_size=3), new=st.text("bc"))
def test_typed_text(prompt, old, new):
    """A replacement is that of `str`; each character knows the part of the prompt it is from."""
    text = TypedText(prompt).replace(old, new)
    assert text == prompt.replace(old, new)
    for character, (start, stop) in zip(text, text.spans, strict=True) if old else ():
        assert prompt[start:stop] == (
            old if stop - start > 1 or character == "c" else prompt[start]
        )
        assert character in new + prompt[start:stop]
