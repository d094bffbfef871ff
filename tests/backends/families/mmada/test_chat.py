"""Which token of a chat is which part of the prompt."""

import json
import os
import signal
import subprocess
import sys
import warnings

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from attn.backends.chat.prompts import Vocabulary, read_prompt, read_template
from attn.backends.families.mmada.chat import read_vocabulary
from attn.backends.families.mmada.llama import Config
from attn.backends.loading.templates import filling
from attn.demo import language
from attn.demo.tokenizers import MASK, chat_tokenizer
from attn.errors import ModelError
from attn.schema import find_words

TOKENIZER = language.tokenizer()
SPECIALS = frozenset(TOKENIZER.all_special_ids)
MASK_ID = TOKENIZER.convert_tokens_to_ids(MASK)
VOCABULARY = Vocabulary(TOKENIZER, SPECIALS)
OWN = TOKENIZER.chat_template


def read(prompt, template=OWN, lead=""):
    """Return the tokens of a prompt."""
    return read_prompt(VOCABULARY, prompt, template, lead)


def config(**changes):
    """Return the demo model's configuration."""
    held = {name: value for name, value in language.config().items() if name != "architectures"}
    return Config(**(held | changes))


@pytest.mark.parametrize("prompt", ["a red cat", "user", "assistant", "a", "cat, cat"])
def test_ids(prompt):
    """What is read is what the tokenizer's own template gives, and every word is found in it."""
    message = [{"role": "user", "content": prompt}]
    text = TOKENIZER.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    tokens = read(prompt)
    assert [token.id for token in tokens] == TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert [token.position for token in tokens] == list(range(len(tokens)))
    content = [token for token in tokens if token.is_content]
    assert {token.word for token in content} - {None} == {w.index for w in find_words(prompt)}
    assert "".join(prompt[token.start : token.stop] for token in content) == prompt


@given(st.text(max_size=23))
def test_any_prompt(prompt):
    """Content tokens cover all words of the prompt, whatever is in it but special tokens."""
    assume(not any(name in prompt for name in TOKENIZER.all_special_tokens))
    content = [token for token in read(prompt) if token.is_content]
    covered = set()
    for token in content:
        assert 0 <= token.start < token.stop <= len(prompt)
        covered |= set(range(token.start, token.stop))
    words = [word for word in find_words(prompt) if not covered & set(range(word.start, word.stop))]
    assert words == []


def test_template_is_special():
    """Beginning, roles and the turn's end carry no text of the prompt."""
    tokens = read("red cat")
    assert tokens[0].text == "<|startoftext|>"
    assert [token.text for token in tokens if token.is_content] == ["red", "cat"]
    assert tokens[-1].special


def test_special_tokens_in_a_prompt():
    """A special token that somebody types is what the model reads, and no word."""
    token = read(f"red {MASK}")[-6:]
    assert (MASK_ID, True) in [(item.id, item.special) for item in token]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red\n", ["red", r"\n"]),
        (" \t", ["␣", r"\t"]),
        ("é", ["<0xC3>", "<0xA9>"]),
        (MASK, [MASK]),
    ],
)
def test_texts_of_tokens(text, shown):
    """Tokens read as people write, space and parts of characters too."""
    numbers = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert [VOCABULARY.text(number) for number in numbers] == shown
    assert [item.text for item in read("red\n\n\nred")].count(r"\n") >= 3


def test_lead():
    """Text that goes before the prompt is read, and is no part of it."""
    plain, led = read("red cat"), read("red cat", lead="think first\n")
    assert len(led) > len(plain)
    content = [token for token in led if token.is_content]
    assert [(token.start, token.stop, token.word) for token in content] == [(0, 3, 0), (3, 7, 1)]


def test_bare_prompt():
    """Without a template nothing is added."""
    assert [token.text for token in read("a red cat", template=None)] == ["a", "red", "cat"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['content'] | upper }}", "changes the text of the prompt"),
        ("hello", "changes the text of the prompt"),
        ("{% for %}", "the chat template cannot be used"),
    ],
)
def test_bad_templates(template, message):
    """A template in which the prompt cannot be found would mislabel every token."""
    with pytest.raises(ModelError, match=message):
        read("a cat", template=template)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "it runs for more than 5 seconds",
        ),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError|it runs for"),
        ("{{ 'x' * 10**11 }}", "it takes more than 537 MB of memory"),
        ("{{ 'x' | center(10**9) }}", "it takes more than 537 MB of memory"),
        ("{{ '%9999999999d' % 1 }}", "it takes more than 537 MB of memory"),
        ("{{ ('x\\n' * 99999) | indent(99999) }}", "it takes more than 537 MB of memory"),
        ("{{ range(10**9) | list }}", "it takes more than|OverflowError"),
        ("{{ 'x' * 5000000 }}", "it makes a text of more than 4194304 characters"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_templates_that_exhaust(template, reason):
    """A template that loops, or fills the memory, is stopped, and so is one that only fails."""
    with pytest.raises(
        ModelError, match=f"the chat template cannot be used: .*({reason})"
    ) as error:
        read("a cat", template=template)
    assert str(error.value).endswith("; give another one (Jinja) by --set chat_template=FILE")
    assert read("a cat")[-1].special


def test_no_template(tmp_path):
    """A tokenizer without a chat template is refused with the two ways out."""
    bare = chat_tokenizer(("red",))
    bare.chat_template = None
    with pytest.raises(ModelError, match=r"--set chat_template=FILE.*--set chat_template=none"):
        read_template(bare, "model")
    (tmp_path / "chat.jinja").write_text(OWN)
    assert read_template(bare, str(tmp_path / "chat.jinja")) == OWN
    assert read_template(bare, None) is None
    with pytest.raises(
        ModelError, match=r"cannot read .*none.jinja: the file or its folder does not exist"
    ):
        read_template(bare, str(tmp_path / "none.jinja"))


def test_special_ids(tmp_path):
    """Ids come from tokenizer and configuration."""
    TOKENIZER.save_pretrained(tmp_path)
    read = read_vocabulary(tmp_path, config())
    assert (read.mask, read.end) == (MASK_ID, TOKENIZER.eos_token_id)
    assert read_vocabulary(tmp_path, config(mask_token_id=None)).mask == MASK_ID


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_size": 97}, r"of another model: it has \d+ tokens, the model has vectors for"),
        ({"eos_token_id": 300}, r"says eos_token_id 300, which is the token '.*' there"),
        ({"mask_token_id": 10**6}, "says mask_token_id 1000000, which is no token there"),
        ({"mask_token_id": TOKENIZER.eos_token_id}, r"its mask is token \d+, config.json says"),
    ],
)
def test_another_models_tokenizer(changes, message, tmp_path):
    """A tokenizer that does not fit would give words that the model never wrote."""
    TOKENIZER.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=message):
        read_vocabulary(tmp_path, config(**changes))


def test_no_tokenizer(tmp_path):
    """A folder without tokenizer.json says where one can be given."""
    with pytest.raises(ModelError, match="--set tokenizer=DIR"):
        read_vocabulary(tmp_path, config())


def test_texts():
    """Every id that a model can write has a text that can be shown."""
    texts = [VOCABULARY.text(number) for number in range(len(TOKENIZER) + 3)]
    assert all(texts)
    assert texts[-1] == f"<{len(TOKENIZER) + 2}>"
    assert not set("ĊĠ\ufffd\n") & set("".join(texts))


def test_what_fills_templates_is_started_again():
    """If it was killed, as by a system out of memory, the next prompt is read all the same."""
    tokens = read("a cat")
    (process,) = filling._RUNNING
    process.kill()
    process.wait()
    assert read("a cat") == tokens
    assert filling._RUNNING[0] is not process


def test_a_template_is_ended_by_the_clock():
    """On a busy machine a loop gets little of the processor, and would be waited for long."""
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    asked = json.dumps({"template": loop, "messages": [], "words": {}})
    code = "from attn.backends.loading.templates import process as t; t.ELAPSED = 0.1; t.main()"
    done = subprocess.run([sys.executable, "-c", code], input=asked, text=True, check=False)
    assert done.returncode == -signal.SIGALRM


def test_a_fork_has_another():
    """Two processes that wrote into one pipe would read each other's texts."""
    read("a cat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which none goes on
        child = os.fork()
    if not child:
        os._exit(len(filling._RUNNING))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(filling._RUNNING) == 1
