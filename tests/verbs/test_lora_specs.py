"""LoRAs as people type them: what means what, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pytest

from attn.demo import shipped
from attn.errors import ModelError, UsageError
from attn.schema import Lora
from attn.verbs.lora_specs import (
    LoraVariant,
    lone_scales,
    parse_stack,
    parse_variants,
    tell_idle,
)
from tests.helpers.models.lora_files import pair, write

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
    assert [variant.loras[0].scale for variant in parse_variants("demo:0,0.5,1")] == [
        0.5,
        1.0,
    ]
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
    """Each text is a variant, a sweep one for each scale but 0, and each has its own name."""
    result = parse_variants(["x/a.safetensors:0,0.5,1", "y/b.safetensors", "y/b.safetensors+c:2"])
    a, b = "x/a.safetensors", "y/b.safetensors"
    assert result == (
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
    acting = [scale for scale in (f"{whole}.0", rest) if float(scale)]
    assert len(parse_variants(f"a:{whole}.0,{rest}")) == len(acting)


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


MODULES = {
    "a.safetensors@up.2": ("a.safetensors", ("up.2",), 1.0),
    "a.safetensors@up.2,!te:0.5": ("a.safetensors", ("up.2", "!te"), 0.5),
    "a@mid:scale=2,null=7": ("a", ("mid",), 2.0),
    "demo@text_encoder": (str(shipped.LORAS["demo"]), ("text_encoder",), 1.0),
    "me@home/a.safetensors": ("me@home/a.safetensors", (), 1.0),
    "a@2x.safetensors": ("a@2x.safetensors", (), 1.0),
    "@up.2": ("@up.2", (), 1.0),
}


@pytest.mark.parametrize("spec", MODULES)
def test_modules(spec):
    """What follows a file and an `@` are modules, unless it goes on as a path does."""
    ((lora,),) = (parse_stack(spec),)
    assert (lora.path, lora.modules, lora.scale) == MODULES[spec]
    assert lora.null == (7 if "null" in spec else None)


def test_modules_in_stacks_and_labels():
    """A file may be there once for each choice of modules; labels name them, and controls."""
    stack = parse_stack("a.safetensors@up.1:0.5+a.safetensors@mid")
    assert [(lora.modules, lora.scale) for lora in stack] == [(("up.1",), 0.5), (("mid",), 1.0)]
    given = ["a.safetensors@up.1:0.5,1", ("a.safetensors", {"null": 3, "modules": "mid,te"})]
    labels = [variant.label for variant in parse_variants(given)]
    assert labels == ["a@up.1:0.5", "a@up.1:1", "a@mid,te:null=3"]


WRONG_MODULES = {
    "a@up,,mid": "lora: expected FILE@MODULE,MODULE; got '@up,,mid'",
    "a@!": "lora: expected FILE@MODULE,MODULE; got '@!'",
    "a:null=x": "null: expected a whole number; got 'x'",
    "a:null=-1": "null: expected a whole number; got '-1'",
}


@pytest.mark.parametrize("spec", WRONG_MODULES)
def test_modules_that_are_refused(spec):
    """Nothing between commas, and a seed that is none, are refused."""
    with pytest.raises(UsageError) as caught:
        parse_stack(spec)
    assert str(caught.value) == WRONG_MODULES[spec]


EPOCHS = ["style-000002", "style-000010", "style"]


@pytest.fixture
def epochs(tmp_path, monkeypatch):
    """A folder of three LoRAs and of what is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "epochs").mkdir()
    tensors = pair(np.random.default_rng(3)).named("lora_unet_conv_in")
    for name in EPOCHS:
        write(tmp_path / "epochs" / f"{name}.safetensors", tensors)
    write(tmp_path / "epochs" / "vae.safetensors", {"decoder.weight": np.ones(3, np.float32)})
    (tmp_path / "epochs" / "notes.txt").touch()
    return "epochs"


@pytest.mark.parametrize("spec", ["epochs", "epochs/*.safetensors", "epochs/style*"])
def test_a_folder_of_epochs(epochs, spec):
    """Each LoRA of a folder or glob is a variant, in the order of training, the end last."""
    assert [variant.label for variant in parse_variants(spec)] == EPOCHS
    labels = [variant.label for variant in parse_variants(f"{spec}@mid:0.5")]
    assert labels == [f"{name}@mid:0.5" for name in EPOCHS]


def test_folders_of_peft_in_a_folder(tmp_path):
    """The checkpoints of a training are in natural order, each a folder of its own."""
    tensors = pair(np.random.default_rng(3), "lora_A", "lora_B").named("base_model.model.conv_in")
    for step in (1000, 500):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        write(folder / "adapter_model.safetensors", tensors)
    labels = [variant.label for variant in parse_variants(tmp_path)]
    assert labels == ["checkpoint-500", "checkpoint-1000"]


def test_a_folder_without_loras(epochs, tmp_path):
    """It is refused with what is in it, as is a glob that matches nothing."""
    (tmp_path / "none").mkdir()
    write(tmp_path / "none" / "vae.safetensors", {"decoder.weight": np.ones(3, np.float32)})
    for spec, message in {
        "none": "none holds no LoRA; there is vae.safetensors. Give a folder of .safetensors files",
        "epochs/x*": "no LoRA matches epochs/x*; epochs holds notes.txt, style-000002.safetensors",
    }.items():
        with pytest.raises(ModelError) as caught:
            parse_variants(spec)
        assert str(caught.value).startswith(message)
    with pytest.raises(UsageError, match=r"epochs/style\* stands for 3 LoRAs \(style-000002"):
        parse_stack("epochs/style*")


def test_a_sweep_of_one_scale():
    """Several scales of which one acts are no sweep, which can be said; others are or are none."""
    assert lone_scales(["demo:0,0.5", "demo:0,0.5,1", "demo:0.5", "demo:0"]) == ["demo:0,0.5"]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("a.safetensors:0", ["a.safetensors:0"]),
        ("a.safetensors:unet=0,te=0", ["a.safetensors:unet=0,te=0"]),
        ("a.safetensors:0+b.safetensors:0.5", ["a.safetensors:0"]),
        ("a.safetensors:unet=0,te=0.4", []),
        ("a.safetensors", []),
    ],
)
def test_what_changes_nothing(typed, told):
    """A LoRA that acts nowhere is named, also in a stack; one that acts in a part is not."""
    ending = " changes nothing at this scale; give another one, or leave it out"
    assert [text.removesuffix(ending) for text in tell_idle(parse_stack(typed))] == told
