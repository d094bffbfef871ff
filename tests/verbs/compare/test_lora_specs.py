"""LoRAs as people type them: what means what, and what is refused."""

import re
from pathlib import Path

import pytest

from attn.demo import shipped
from attn.errors import UsageError
from attn.schema import Lora
from attn.verbs.compare.lora_specs import LoraVariant, parse_stack, parse_variants

SPECS = {
    "a.safetensors": [("a.safetensors", 1.0)],
    "a.safetensors:0.8": [("a.safetensors", 0.8)],
    "a.safetensors:-1": [("a.safetensors", -1.0)],
    "a.safetensors:+.5": [("a.safetensors", 0.5)],
    "a:1e+2": [("a", 100.0)],
    "a:1e-2": [("a", 0.01)],
    "a": [("a", 1.0)],
    "./a": [("a", 1.0)],
    r"C:\loras\a.safetensors": [(r"C:\loras\a.safetensors", 1.0)],
    r"C:\loras\a.safetensors:0.5": [(r"C:\loras\a.safetensors", 0.5)],
    "a:b": [("a:b", 1.0)],
    "a:": [("a:", 1.0)],
    "a:0.5:2": [("a:0.5", 2.0)],
    "a.safetensors:nan": [("a.safetensors:nan", 1.0)],
    "cat+dog.safetensors": [("cat+dog.safetensors", 1.0)],
    "+a.safetensors": [("+a.safetensors", 1.0)],
    "a.safetensors+b.safetensors": [("a.safetensors", 1.0), ("b.safetensors", 1.0)],
    "b.SAFETENSORS+a:2": [("a", 2.0), ("b.SAFETENSORS", 1.0)],
    "b.safetensors:0.8+a.safetensors:0.5": [("a.safetensors", 0.5), ("b.safetensors", 0.8)],
    "a:2+b+c:3": [("a", 2.0), ("b+c", 3.0)],
}


@pytest.mark.parametrize("spec", SPECS)
def test_one_text(spec):
    """The last colon counts only before a number, a plus only after a whole file."""
    assert [(lora.path, lora.scale) for lora in parse_stack(spec)] == SPECS[spec]


def test_the_demo_has_a_lora_of_its_own(tmp_path, monkeypatch):
    """`demo` names the LoRA that ships, in sweeps and stacks too, unless a file has that name."""
    own = str(shipped.LORAS["demo"])
    assert [(lora.path, lora.scale) for lora in parse_stack("demo:0.5")] == [(own, 0.5)]
    assert [one.loras[0].scale for one in parse_variants("demo:0,1")] == [0.0, 1.0]
    assert {lora.path for lora in parse_stack("a.safetensors+demo")} == {"a.safetensors", own}
    other = str(shipped.LORAS["demo:sd35"])
    assert [(lora.path, lora.scale) for lora in parse_stack("demo:sd35:2")] == [(other, 2)]
    assert {lora.path for lora in parse_stack("demo:sd35+demo+b")} == {other, own, "b"}
    for stack in ("a.safetensors+demo", "demo+a.safetensors", "demo+a:1", "a:2+demo"):
        assert own in {lora.path for lora in parse_stack(stack)}
        assert len(parse_stack(stack)) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").touch()
    assert parse_stack("demo")[0].path == "demo"


def test_several():
    """Texts, paths and pairs are added up, and the order of typing is forgotten."""
    typed = ["b:2", Path("d:3"), ("c", 0), (Path("a"), -1)]
    expected = (Lora("a", -1.0), Lora("b", 2.0), Lora("c", 0.0), Lora("d:3"))
    assert parse_stack(typed) == parse_stack(typed[::-1]) == expected
    assert parse_stack(("a", 2)) == (Lora("a", 2.0),)
    assert parse_stack(Path("a:2")) == (Lora("a:2"),)
    assert parse_stack(None) == parse_stack([]) == ()


REFUSED = {
    "nothing": ("", "lora: expected FILE or FILE:SCALE; got nothing for the file"),
    "a lone scale": ([" :2"], "lora: expected FILE or FILE:SCALE; got nothing for the file"),
    "a plus at the end": ("a.safetensors+", "lora: expected FILE or FILE:SCALE; got nothing"),
    "infinity": ("a:1e999", "lora: a scale must be finite; got inf"),
    "not a number": (("a", float("nan")), "lora: a scale must be finite; got nan"),
    "twice": (["a:1", "./a:2"], "lora: a is added to itself; give it once, with the sum as scale"),
    "a sweep": ("a:0,0.5", "lora: one scale for each file; got 2 for a (a sweep over scales is a "),
    "a number": (5, "lora: expected FILE or FILE:SCALE, or several; got 5"),
    "numbers": ([5], "lora: expected a text; got 5 (int)"),
    "a truth": (("a", True), "lora: expected a number; got True (bool)"),
    "half a character": (
        "a\ud800",
        "lora: character 1 (\\ud800) is no whole character but half of",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    """What is no LoRA, or means nothing, is refused with what was expected."""
    specs, message = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        parse_stack(specs)
    assert str(caught.value).startswith(message)


def test_variants():
    """Each text is a variant, a sweep one for each scale, and each has a name of its own."""
    found = parse_variants(["x/a.safetensors:0,0.5,1", "y/b.safetensors", "y/b.safetensors+c:2"])
    a, b = "x/a.safetensors", "y/b.safetensors"
    assert found == (
        LoraVariant("a:0", (Lora(a, 0.0),)),
        LoraVariant("a:0.5", (Lora(a, 0.5),)),
        LoraVariant("a:1", (Lora(a, 1.0),)),
        LoraVariant("b", (Lora(b),)),
        LoraVariant("c:2+b", (Lora("c", 2.0), Lora(b))),
    )


def test_sweeps_of_a_stack():
    """Two sweeps on top of each other are all their combinations."""
    labels = [variant.label for variant in parse_variants("a:0,1+b:2,3,4")]
    assert labels == ["a:0+b:2", "a:0+b:3", "a:0+b:4", "a:1+b:2", "a:1+b:3", "a:1+b:4"]


def test_labels_tell_files_and_scales_apart():
    """Names grow by folders, and scales by digits, until no two are the same."""
    specs = ["one/x/a.safetensors", "two/x/a.safetensors", "b:0.12345678,0.12345679"]
    labels = [variant.label for variant in parse_variants(specs)]
    assert labels == ["one/x/a", "two/x/a", "b:0.12345678", "b:0.12345679"]
    assert [variant.label for variant in parse_variants(["a", "a.safetensors"])] == [
        "a",
        "a.safetensors",
    ]


@pytest.mark.parametrize("specs", [["a", "./a"], ["a:1,1.0"], ["a:1+b", "b:1+a"]])
def test_a_variant_twice(specs):
    """The same LoRAs under another spelling would be compared with themselves."""
    with pytest.raises(UsageError, match="is given twice; leave one out"):
        parse_variants(specs)


PARTS = {
    "a:unet=0.8,te=0.4": ("unet=0.8,te=0.4", {"denoiser": 0.8, "text_encoder_2": 0.4}),
    "a:transformer=2": ("unet=2", {"denoiser": 2, "text_encoder": 1}),
    "a:te=0.5,te2=-1": ("te1=0.5,te2=-1,te3=0.5", {"text_encoder_2": -1, "text_encoder_3": 0.5}),
    "a:scale=0.5,text_encoder=0": ("scale=0.5,te1=0", {"denoiser": 0.5, "text_encoder": 0}),
    "a:unet=+0.8,te=+2": ("unet=0.8,te=2", {"denoiser": 0.8, "text_encoder": 2}),
    "a:adapter=style": ("adapter=style", {"denoiser": 1}),
    "a:scale=3,adapter=style": ("scale=3,adapter=style", {"denoiser": 3, "text_encoder": 3}),
}


@pytest.mark.parametrize("spec", PARTS)
def test_strength_by_part(spec):
    """Each part has its own scale, the narrower name counts, and others have that for all."""
    ((lora,),) = (parse_stack(spec),)
    strength, scales = PARTS[spec]
    assert (lora.path, lora.strength) == ("a", strength)
    assert {part: lora.scale_of(part) for part in scales} == scales
    assert parse_stack(lora) == (lora,)
    assert parse_variants(spec)[0].label == f"a:{strength}"


def test_strength_by_part_in_python():
    """A path with scales by name is what the text says, in stacks of texts too."""
    (lora,) = parse_stack(("a", {"unet": 0.8, "te": 0.4, "adapter": "style"}))
    assert parse_stack("a:unet=0.8,te=0.4,adapter=style") == (lora,)
    stack = parse_stack("b.safetensors+a:unet=0.8,te=0.4,adapter=style+c:adapter=d")
    assert stack == (lora, Lora("b.safetensors"), Lora("c", adapter="d"))


@pytest.mark.parametrize(
    ("strength", "message"),
    [
        ("unte=1", "no part is called 'unte'; the parts are unet, te, te1, te2, te3, beside scale"),
        ("unet=", "expected a number for unet; got ''"),
        ("unet=0,8", "expected PART=SCALE,PART=SCALE; got '8' in 'unet=0,8' (decimals"),
        ("te=one", "expected a number for te; got 'one'"),
        ("te=1,te=2", "te is given twice in 'te=1,te=2'"),
        ("te=1e999", "a scale must be finite; got inf"),
    ],
)
def test_parts_that_are_none(strength, message):
    """A name or number that was typed wrong is refused, not taken for a part of a path."""
    with pytest.raises(UsageError) as caught:
        parse_stack(f"a:{strength}")
    assert str(caught.value).startswith(f"lora: {message}")


@pytest.mark.parametrize("typed", ["0,8", "1,5", "0,05", "1,0", "-0,8", "+1,5"])
def test_a_decimal_comma(typed):
    """Two whole numbers may be one with a comma: which is meant is asked for, but for 0,1."""
    whole, rest = typed.split(",")
    message = f"lora: '{typed}' is the scale {whole}.{rest} or the two scales {whole} and {rest}"
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_variants(f"a:{typed}")
    assert len(parse_variants(f"a:{whole}.0,{rest}")) == 2


def test_folders(tmp_path, monkeypatch):
    """A folder that is there ends a piece of a stack, as a file does, and names the variant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "style").mkdir()
    assert parse_stack("style+b") == (Lora("b"), Lora("style"))


@pytest.mark.parametrize("scale", ["nine", "0,,1", "", "nan", "0.8:0.4", "unet=0.8:te=0.4"])
def test_what_is_no_scale(tmp_path, scale):
    """Behind a file that is there, what is no strength is one that was typed wrong."""
    path = tmp_path / "a.safetensors"
    path.touch()
    message = (
        "lora: expected FILE:SCALE, FILE:SCALE,SCALE or FILE:PART=SCALE,PART=SCALE; got "
        f"'{scale}' for the scale"
    )
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_variants(f"{path}:{scale}")
