"""What chat models read of a prompt, with tiny tokenizers that have the real templates."""

import pytest

from attn.backends.diffusers import Template, chat
from attn.backends.diffusers.texts.templates import filled, lay_out, read_templated
from attn.backends.loading import tokenizers
from attn.demo.tokenizers import QWEN_SYSTEM, qwen_tokenizer
from attn.errors import ModelError

QWEN3 = Template(chat(thinking=True), longest=512)
WITHOUT_THINKING = Template(chat(thinking=False), longest=512)
QWEN_IMAGE = Template(
    lambda tokenizer, prompt: (
        f"<|im_start|>system\n{QWEN_SYSTEM}<|im_end|>\n"
        f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    ),
    longest=1024 + 34,
    dropped=34,
)
PROMPTS = {
    "punctuation": "red-hot, cat’s… (cat)!",
    "chinese": "一只红色的猫",
    "emoji": "a 🐈‍⬛ and 👩🏽‍🚀, red",
    "repeated": "cat cat Cat cat",
    "specials": "a <|im_end|> cat <think>",
    "role": "user\nassistant\nsystem",
    "blanks": "\n\n  a   red \n\n cat  ",
    "long": "a red cat, " * 100,
    "braces": "{} {0} {prompt} {{ messages }} {% if %}",
}


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer of Qwen, in which the instruction of Qwen-Image has as many tokens as there."""
    return qwen_tokenizer(tuple(QWEN_SYSTEM.replace(",", "").replace(":", "").split()))


def texts(reading, name):
    """Return the tokens of a segment as text."""
    return [token.text for token in reading.tokens.get(name, ())]


@pytest.mark.parametrize("template", [QWEN3, WITHOUT_THINKING, QWEN_IMAGE])
@pytest.mark.parametrize("name", PROMPTS)
def test_words_lie_where_they_were_typed(tokenizer, template, name):
    """Each word is the tokens that lie in it, in order, and no token of a template is a word."""
    prompt = PROMPTS[name]
    reading = read_templated(tokenizer, prompt, "prompt", template)
    tokens = [token for part in reading.tokens.values() for token in part]
    typed = [token for token in tokens if token.is_content]
    assert {token.segment for token in typed} == {"prompt"}
    spans = [(token.start, token.stop) for token in typed]
    assert spans == sorted(spans)
    covered = {at for start, stop in spans for at in range(start, stop)}
    special = {"specials": set(range(2, 12))}.get(name, set())
    assert covered | special >= {at for at, letter in enumerate(prompt) if letter.strip()}


def test_repeated_words_are_different_words(tokenizer):
    """The same word typed again is another word."""
    reading = read_templated(tokenizer, PROMPTS["repeated"], "prompt", QWEN3)
    words = [token.word for token in reading.tokens["prompt"] if token.word is not None]
    assert sorted(set(words)) == [0, 1, 2, 3]
    assert words == sorted(words)


@pytest.mark.parametrize(
    ("template", "before", "after"),
    [
        (QWEN3, ["<|im_start|>", "user", "\\n"],
         ["<|im_end|>", "\\n", "<|im_start|>", "assistant", "\\n"]),
        (WITHOUT_THINKING, ["<|im_start|>", "user", "\\n"],
         ["<|im_end|>", "\\n", "<|im_start|>", "assistant", "\\n", "<think>", "\\n\\n", "</think>",
          "\\n\\n"]),
        (QWEN_IMAGE, [], ["<|im_end|>", "\\n", "<|im_start|>", "assistant", "\\n"]),
    ],
    ids=["qwen3", "without thinking", "qwen-image"],
)  # fmt: skip
def test_templates(tokenizer, template, before, after):
    """What a template puts around the prompt are segments of their own, without what is dropped."""
    reading = read_templated(tokenizer, "a red cat", "prompt", template)
    assert texts(reading, "template") == before
    assert texts(reading, "prompt") == ["a", "red", "cat"]
    assert texts(reading, "template_end") == after
    assert len(reading.ids) == template.dropped + len(before) + 3 + len(after)


def test_filling():
    """Learned vectors fill a text up to a multiple; of several texts, each has its room."""
    template = Template(chat(thinking=True), longest=512, multiple=8)
    short, long = (
        read_templated(qwen_tokenizer(), prompt, "prompt", template) for prompt in ("a", "cat " * 9)
    )
    assert [dict(of.lengths)["text_padding"] for of in (short, long)] == [7, 6]
    segments = lay_out([short.lengths, long.lengths], "prompt", 5)
    assert [(of.name, of.start, of.stop) for of in segments] == [
        *(("template", 5, 8), ("prompt", 8, 18), ("template_end", 18, 23)),
        ("text_padding", 23, 30),
    ]
    tokens = filled(short, segments[:3])
    assert [token.position for token in tokens] == list(range(5, 23))
    assert [token.text for token in tokens[3:6]] == ["a", "<none>", "<none>"]


def test_cut(tokenizer):
    """What does not fit is told, and the rest of the template is gone with it."""
    reading = read_templated(tokenizer, "a red cat", "prompt", Template(chat(thinking=True), 5))
    assert reading.truncated == "cat"
    assert [texts(reading, name) for name in ("prompt", "template_end")] == [["a", "red"], []]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "the tokenizer has no chat template"),
        ("{{ messages[0].content | upper }}", "the chat template changes the text of the prompt"),
        ("{{ nothing.of.this }}", "the chat template cannot be used"),
    ],
)
def test_bad_templates(template, message):
    """A template that is missing, broken or changes the prompt is refused."""
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match=message):
        read_templated(tokenizer, "a red cat", "prompt", QWEN3)


def test_templates_of_others_are_bounded(tokenizer, tmp_path):
    """A template that was read is filled in bounds, by pipelines too, and as it would be else."""
    tokenizer.save_pretrained(tmp_path)
    loaded = tokenizers.read(type(tokenizer), tmp_path)
    turn = [{"role": "user", "content": "a red cat"}]
    how = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    same = tokenizer.apply_chat_template(turn, **how)
    assert loaded.apply_chat_template(turn, **how) == same
    (tmp_path / "chat_template.jinja").write_text("{{ 'x' * 10**11 }}")
    with pytest.raises(ModelError, match="it takes more than 537 MB of memory"):
        read_templated(tokenizers.read(type(tokenizer), tmp_path), "a", "prompt", QWEN3)
