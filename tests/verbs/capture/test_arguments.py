"""Arguments of a capture from Python: of the right kind, or refused by name before any work."""

from decimal import Decimal

import numpy as np
import pytest

from attn.errors import UsageError
from attn.verbs import checks as check
from attn.verbs.capture.capture import capture
from tests.helpers.toy_runs import capture_fake, use_fake

WHOLE = "expected a whole number; got"
WRONG = [
    ({"seed": "3"}, "seed: expected a whole number or several; got '3'"),
    ({"seed": (1, 2.5)}, f"seed: {WHOLE} 2.5 (float)"),
    ({"seed": True}, f"seed: {WHOLE} True (bool)"),
    ({"seed": None}, f"seed: {WHOLE} None (NoneType)"),
    ({"size": 512}, "size: expected (width, height) in pixels; got 512 (int)"),
    ({"size": "64x64"}, "size: expected (width, height) in pixels; got '64x64'"),
    ({"size": (64, 64, 3)}, "size: expected (width, height) in pixels; got (64, 64, 3) (tuple)"),
    ({"size": (64, "64")}, f"size: {WHOLE} '64'"),
    ({"prompt": 5}, "prompt: expected a text or several; got 5 (int)"),
    ({"prompt": b"a cat"}, "prompt: expected a text or several; got b'a cat' (bytes)"),
    ({"prompt": ["a cat", None]}, "prompt 1: expected a text; got None (NoneType)"),
    ({"prompt": {"a": 1}}, "prompt: expected a text or several; got {'a': 1} (dict)"),
    ({"negative": ["x"]}, "negative: expected a text; got ['x'] (list)"),
    ({"steps": 2.0}, f"steps: {WHOLE} 2.0 (float)"),
    ({"steps": "9" * 99}, f"steps: {WHOLE} '{'9' * 39}…"),
    ({"images": None}, f"images: {WHOLE} None (NoneType)"),
    ({"batch": "2"}, f"batch: {WHOLE} '2'"),
    ({"batch": 0}, "batch must be at least 1; got 0"),
    ({"guidance": "4"}, "guidance: expected a number; got '4'"),
    ({"guidance": Decimal(4)}, "guidance: expected a number; got Decimal('4') (Decimal)"),
    ({"scheduler": 3}, "scheduler: expected a text; got 3 (int)"),
    ({"keep": 3}, "keep: expected one of mass, means, maps, heads, factors; got '3'"),
    ({"blocks": 3}, "blocks: expected a text or several; got 3 (int)"),
    ({"layers": [3]}, "layers 0: expected a text; got 3 (int)"),
    ({"entropy": "no"}, "entropy: expected True or False; got 'no'"),
    ({"dry_run": "no"}, "dry_run: expected True or False; got 'no'"),
    ({"resume": 1}, "resume: expected True or False; got 1 (int)"),
    ({"device": 0}, "device: expected a text; got 0 (int)"),
    ({"dtype": np.float16}, "dtype: expected one of auto, float32, bfloat16, float16; got '<class"),
    ({"budget": 1e9}, f"budget: {WHOLE} 1000000000.0 (float)"),
    ({"settings": "a=b"}, "settings: expected options as {KEY: VALUE}; got 'a=b'"),
    (
        {"settings": {"skip_scale": 1}},
        "settings, skip_scale: expected a text; got 1 (int)",
    ),
    ({"out": 3}, "out: expected a path; got 3 (int)"),
]


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Capture with the fake family."""
    use_fake(monkeypatch.setattr)


@pytest.mark.parametrize(("argument", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_kinds(tmp_path, argument, message):
    """A wrong kind is an error with the argument's name, and nothing is written for it."""
    with pytest.raises(UsageError) as error:
        capture_fake(**{"out": tmp_path / "run", "prompts": "a cat"} | renamed(argument))
    assert str(error.value).startswith(message)
    assert not (tmp_path / "run").exists()


def renamed(argument):
    return {{"prompt": "prompts"}.get(name, name): value for name, value in argument.items()}


def test_wrong_backend():
    """Also of the first argument."""
    with pytest.raises(UsageError, match=r"^backend: expected a text; got None \(NoneType\)$"):
        capture(None, "a cat")


@pytest.mark.parametrize("seed", [np.int64(3), np.arange(3), range(3), (item for item in (3, 4))])
def test_whole_numbers(tmp_path, seed):
    """Whole numbers of numpy, ranges and generators are seeds, which can be written to files."""
    numbers = check.seeds("seed", seed)
    assert {type(item) for item in numbers} == {int}
    assert check.convert("guidance", np.float32(2.5), float) == 2.5
    assert check.size("size", [np.int64(16), 24]) == (16, 24)


HALF = (
    "is no whole character but half of a pair, or a byte that is not UTF-8; leave it out, or "
    "write it in full"
)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"prompt": "a\ud800 cat"}, f"prompt: character 1 (\\ud800) {HALF}"),
        ({"prompt": ["a cat", "\udcff"]}, f"prompt 1: character 0 (\\udcff) {HALF}"),
        ({"negative": "\udfff"}, f"negative: character 0 (\\udfff) {HALF}"),
    ],
    ids=["pair", "byte", "negative"],
)
def test_half_characters(tmp_path, argument, message):
    """What neither a file nor a tokenizer can take is refused before the model is loaded."""
    with pytest.raises(UsageError) as error:
        capture_fake(**{"out": tmp_path / "run", "prompts": "a cat"} | renamed(argument))
    assert str(error.value) == message


@pytest.mark.parametrize(
    "prompt", ["", "a\0cat", "\x1b[31m", "\U0001f63a", "cat " * 3000, "\u2028"]
)
def test_odd_prompts(tmp_path, prompt):
    """Empty, very long and odd prompts are captured like any other, and come back as they were."""
    done = capture_fake(tmp_path / "run", [prompt, "a dog"])
    assert [entry.status for entry in done.entries] == ["complete"] * 2
    again = capture_fake(tmp_path / "run", [prompt, "a dog"], resume=True)
    assert again.entries == done.entries
    assert again.entries[0].prompt == prompt


def test_common_negative_prompt():
    """`default` stands for the negative prompt of LoRA Attention Analyzer; other texts are kept."""
    common = check.negative("negative", "default")
    assert common.startswith("worst quality, low quality, lowers, low details")
    assert common.endswith("blurry, artist sign, weibo username")
    assert check.negative("negative", "a defaulter") == "a defaulter"
