"""A1111's prompts: which words have which weight, and which LoRAs are named."""

from pathlib import Path

import pytest

from attn.errors import UsageError
from attn.schema import Lora
from attn.verbs.capture.prompt_syntax import parse_a1111, shared_loras

PARSED = {
    "normal text": [("normal text", 1.0)],
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "(unbalanced": [("unbalanced", 1.1)],
    r"\(literal\]": [("(literal]", 1.0)],
    "(unnecessary)(parens)": [("unnecessaryparens", 1.1)],
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        *(("a ", 1.0), ("house", 1.5730000000000004), (" ", 1.1), ("on", 1.0), (" a ", 1.1)),
        *(("hill", 0.55), (", sun, ", 1.1), ("sky", 1.4641000000000006), (".", 1.1)),
    ],
}
"""The examples of A1111's own documentation of `parse_prompt_attention`."""


@pytest.mark.parametrize("prompt", PARSED)
def test_weights_are_those_of_a1111(prompt):
    """Each character has the weight that A1111 gives it, and the brackets are gone."""
    parsed = parse_a1111(prompt, None)
    expected = [(letter, weight) for text, weight in PARSED[prompt] for letter in text]
    weights = [1.0] * len(parsed.text)
    for start, stop, weight in parsed.emphasis:
        weights[start:stop] = [weight] * (stop - start)
    assert parsed.text == "".join(letter for letter, _ in expected)
    assert weights == pytest.approx([weight for _, weight in expected], rel=1e-12)


@pytest.fixture
def folder(tmp_path):
    """A folder with a LoRA in it, and one in a folder of it."""
    for name in ("style", "more/eyes"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.safetensors").touch()
    return tmp_path


def test_loras_by_name(folder):
    """Tags leave the prompt, and name a file in the folder with its scales by part."""
    parsed = parse_a1111("a (cat:1.2) <lora:style:0.8><lyco:eyes:0.5:2>", folder)
    style, eyes = parsed.loras
    assert (parsed.text, parsed.emphasis) == ("a cat", ((2, 5, 1.2),))
    assert style == Lora(str(folder / "style.safetensors"), 0.8)
    assert (eyes.scale_of("denoiser"), eyes.scale_of("text_encoder_2")) == (2.0, 0.5)
    (named,) = parse_a1111("<lora:style:unet=0.3:te=0>", folder).loras
    assert (named.scale, named.scale_of("text_encoder")) == (0.3, 0.0)
    assert parse_a1111("<lora:style>", folder).loras == (Lora(style.path),)


REFUSED = {
    "<lora:stile:1>": "no LoRA is called 'stile' in {}, which holds eyes, style. Did you mean",
    "<lora:style:x>": "expected a number in '<lora:style:x>'; got 'x'",
    "<lora:style:1:2:3>": "'<lora:style:1:2:3>': expected <lora:NAME:SCALE>, or NAME:te=SCALE:",
    "<hypernet:a:1>": "'<hypernet:a:1>' in the prompt is not applied; leave it out",
    "a (cat:1.2.3)": "expected a number in 'a (cat:1.2.3)'; got '1.2.3'",
    "a [cat:dog:0.5]": "'[cat:dog:0.5]' in the prompt is not applied by --prompt-syntax a1111 (it ",
    "a [cat|dog]": "'[cat|dog]' in the prompt is not applied by --prompt-syntax a1111 (it would al",
    "a cat AND a dog": "'AND' in the prompt is not applied by --prompt-syntax a1111 (it would comp",
    "a BREAK b": "'BREAK' in the prompt is not applied by --prompt-syntax a1111 (it would begin",
}


@pytest.mark.parametrize("prompt", REFUSED)
def test_what_is_not_applied(prompt, folder):
    """What would mean something else in A1111 is refused, not read as words."""
    with pytest.raises(UsageError) as caught:
        parse_a1111(prompt, folder)
    assert REFUSED[prompt].format(folder) in str(caught.value)


def test_a_lora_without_a_folder():
    """A tag needs to be told where LoRAs are."""
    with pytest.raises(UsageError, match="say where it is with --lora-dir DIR"):
        parse_a1111("<lora:style:1>", None)


def test_prompts_of_one_run_share_their_loras(folder: Path):
    """One run has the same LoRAs throughout, in whatever order prompts name them."""
    texts = ["a <lora:style:1> <lora:eyes:1>", "b <lora:eyes:1> <lora:style:1>", "c"]
    first, second, other = (parse_a1111(text, folder) for text in texts)
    assert shared_loras([first, second]) == first.loras
    with pytest.raises(UsageError, match="the prompts 'a' and 'c' name different LoRAs"):
        shared_loras([first, other])
