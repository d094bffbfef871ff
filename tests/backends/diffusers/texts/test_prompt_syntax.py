"""Prompt syntax of other programs is named, and not taken for more than text."""

from time import process_time

import pytest

from attn.backends.diffusers.texts.prompt_syntax import foreign_syntax
from attn.schema import Request
from attn.trace.manifests import MOST_CHARACTERS


@pytest.mark.parametrize(
    ("prompt", "match", "effect"),
    [
        ("a (red:1.3) cat", "(red:1.3)", "; --prompt-syntax a1111 reads it"),
        ("a cat <lora:style>", "<lora:style>", "give --lora style.safetensors, or"),
        ("a (rusty old:.8) cat", "(rusty old:.8)", "no weight"),
        ("a ((red)) cat", "((red))", "no weight"),
        ("a red++ cat", "red++", "no weight"),
        ("a (red cat)1.2", "(red cat)1.2", "no weight"),
        (
            "cat <lora:style:0.8>",
            "<lora:style:0.8>",
            "give --lora style.safetensors:0.8, or --prompt-syntax a1111 with --lora-dir DIR",
        ),
        ("cat <lyco:style>", "<lyco:style>", "adds nothing"),
        ("a [cat:dog:0.5]", "[cat:dog:0.5]", "between steps"),
        ("embedding:easynegative", "embedding:easynegative", "no embedding"),
        ("a cat BREAK a dog", "BREAK", "no new part"),
    ],
)
def test_syntax(prompt, match, effect):
    """Each kind is told with what it does not do."""
    (remark,) = foreign_syntax(prompt)
    assert remark.startswith(f"{match!r} in the prompt is read as plain text")
    assert effect in remark


@pytest.mark.parametrize(
    "prompt",
    [
        *(
            "a red cat (small), a dog",
            "at (12:30)",
            "a [tiny] cat",
            "a <toy> cat",
            "C++ on a shirt",
        ),
        *("a cat -- a dog", "well-known -- red", "scale 1:2 (a:b)", "break the ice", "(John 3:16)"),
    ],
)
def test_plain_text(prompt):
    """Brackets and colons that people write are no syntax."""
    assert list(foreign_syntax(prompt)) == []


@pytest.mark.parametrize("begun", ["(", "a", "(a)9", "[a:b: ", "(1a"])
def test_endless_prompts(begun):
    """The longest prompt that is taken, of what nearly matches, is looked through in no time."""
    began = process_time()
    list(foreign_syntax(begun + begun[-1] * MOST_CHARACTERS))
    assert process_time() - began < 1


@pytest.mark.parametrize("backend", ["sd15", "sdxl", "sd35"])
def test_each_trace_has_its_own_warnings(opened, backend):
    """The prompt and the negative prompt that is read are looked at, whichever row is asked for."""
    session = opened(backend)
    request = session.complete(Request("a (red:1.3) cat", negative="((bad))", guidance=4.0))
    warnings = session.sequence(request, "cond").warnings
    assert [warning.partition(" ")[0] for warning in warnings] == ["'(red:1.3)'", "'((bad))'"]
