"""`attn.compare` with controls of LoRAs: random changes, parts, stacks, no trigger words."""

import json

import pytest

from attn.analysis.compare.pairs import PairOptions
from attn.errors import AnalysisError, UsageError
from attn.verbs.compare.compare import compare
from attn.verbs.compare.controls.control_figures import draw_controls
from attn.verbs.compare.controls.controls import find_controls
from attn.verbs.compare.pairing import open_runs
from attn.verbs.compare.variants import compare_traces
from tests.helpers.models import lora_demo

SMALL = {
    "steps": 1,
    "size": (96, 64),
    "seed": range(4),
    "batch": 4,
    "prompt": "a red cat",
    "backend": "sdxl",
}
BLOCKS = ("down_blocks.1.attentions.0", "up_blocks.1.attentions.1")


@pytest.fixture(scope="module")
def files(opened, tmp_path_factory):
    """Write two LoRAs of the demo SDXL, each of two blocks, and one of zeros."""
    pipe, folder = opened("sdxl").pipe, tmp_path_factory.mktemp("loras")
    made = []
    for name, seed in (("a", 3), ("b", 4)):
        pairs = lora_demo.changes(pipe, "unet", seed=seed)
        two = {key: pair for key, pair in pairs.items() if key[1].startswith(BLOCKS)}
        made.append(lora_demo.kohya(folder / f"{name}.safetensors", two))
    zeros = {key: type(pair)(pair.down, 0 * pair.up) for key, pair in two.items()}
    return [*made, lora_demo.kohya(folder / "zeros.safetensors", zeros)]


@pytest.fixture(scope="module")
def controlled(files, tmp_path_factory):
    """Return a comparison of a LoRA with all controls."""
    out = tmp_path_factory.mktemp("controls") / "out"
    controls = {"null": True, "by_block": True, "leak": True, "trigger": ["cat"]}
    return compare(lora=files[0], out=out, pictures=False, **SMALL, **controls)


def test_controls(controlled):
    """Each control is a variant, which is told by what it is of and has no words of its own."""
    assert controlled.controls == {
        "a:null=0": "null of a",
        "a@down.1.attn.0": "alone down.1.attn.0 of a",
        "a@up.1.attn.1": "alone up.1.attn.1 of a",
        "a@!down.1.attn.0": "without down.1.attn.0 of a",
        "a@!up.1.attn.1": "without up.1.attn.1 of a",
    }
    assert "With a:null=0" not in controlled.answer
    assert "random weights of the same size" in controlled.answer
    assert "Without “cat” in the prompt a changes the image" in controlled.answer
    index = json.loads((controlled.path / "comparison.json").read_text(encoding="utf-8"))
    assert index["controls"] == controlled.controls


def test_one_block_is_what_the_others_leave(controlled):
    """Of two blocks, the one alone is the other one left out: the same numbers, bit for bit."""
    rows = controlled.tables["parts.csv"].to_dict("records")
    numbers = {(row["part"], row["kind"], row["measure"]): row["effect"] for row in rows}
    for measure in ("word", "level"):
        for item, other in (("down.1.attn.0", "up.1.attn.1"), ("up.1.attn.1", "down.1.attn.0")):
            assert numbers[item, "alone", measure] == numbers[other, "without", measure]


def test_files(controlled):
    """There are tables and block weights."""
    assert {"tables/null.csv", "tables/parts.csv", "tables/leak.csv"} <= {*controlled.files}
    lines = (controlled.path / "block_weights_a1111.txt").read_text(encoding="utf-8").split()
    assert "a-only-OUT04:" + ",".join("0" * 10) + ",1,0" in lines
    assert len(lines) == 5


def test_figures(controlled, tmp_path):
    """There are figures of the random control, the parts, and images without trigger words."""
    names = ("base", "a", "a-null-0", "a-down.1.attn.0", "a-not-down.1.attn.0")
    runs = open_runs([controlled.path.parent / name for name in names])
    variants = compare_traces(runs, PairOptions())
    controls = find_controls(runs[0], variants, PairOptions(), None)
    files = draw_controls(runs[0], controls, tmp_path, PairOptions())
    assert files == ["null.png", "parts.png", "leak.png"]
    assert all((tmp_path / file).stat().st_size > 0 for file in files)


def test_without_the_trigger(controlled):
    """The variants are there without the trigger words, and are found again beside the runs."""
    folder = controlled.path.parent / "without"
    facts = json.loads((folder / "leak.json").read_text(encoding="utf-8"))
    assert (facts["triggers"], facts["prompts"]) == (["cat"], {"a red cat": "a red"})
    base, variant = open_runs([folder / "base", folder / "a"])
    assert {member.prompt for member in (*base.members, *variant.members)} == {"a red"}
    runs = [controlled.path.parent / name for name in ("base", "a")]
    again = compare(*runs, out=controlled.path.parent / "again", pictures=False)
    frames = [of.tables["leak.csv"].drop(columns="variant_name") for of in (again, controlled)]
    assert frames[0].equals(frames[1])


def test_zeros(files, tmp_path):
    """A LoRA of zeros changes nothing, which is the answer, and not an error."""
    done = compare(lora=files[2], out=tmp_path / "out", pictures=False, **SMALL)
    assert done.answer.startswith(
        "zeros changes nothing: every word gets the same attention in 4 of 4 images, and these are "
        "the same pictures."
    )
    assert done.tables["images.csv"].set_index("measure")["value"]["ssim"] == 1
    assert any("all modules are zero" in warning for warning in done.warnings)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lora": 0, "trigger": ["cat"]}, UsageError, "add --leak"),
        ({"lora": 0, "leak": True, "trigger": [""]}, UsageError, "trigger: nothing is named"),
        ({"null": True}, UsageError, "null is a control of a LoRA"),
        ({"lora": 0, "leave_one_out": True}, UsageError,
         "leave_one_out takes a stack of LoRAs apart; got a. Give a stack"),
        ({"lora": 0, "leak": True, "trigger": ["dog"]}, AnalysisError, "trigger: 'dog' is not in"),
        ({"lora": 0, "leak": True, "branch": "uncond", "negative": "dog"}, UsageError,
         "leak leaves words out of the prompt"),
        ({"lora": "{}@up.2", "by_block": True}, UsageError, "by_block goes through all blocks"),
        ({"lora": "{}+{}", "by_block": True}, UsageError, "is a stack"),
        ({"lora": "{}@up.7"}, Exception, "no module of the LoRA matches 'up.7'; near it"),
    ],
)  # fmt: skip
def test_refused(files, tmp_path, arguments, error, message):
    """What no control can be made of is refused before anything is generated."""
    spec = arguments.get("lora")
    path = files[spec] if isinstance(spec, int) else spec and spec.format(*files[:2])
    with pytest.raises(error, match=message):
        compare(out=tmp_path / "x", **(SMALL | arguments | {"lora": path}))
    assert list(tmp_path.iterdir()) == []


def test_a_single_block(files, opened, tmp_path):
    """A LoRA of one block has none to compare with."""
    pairs = lora_demo.changes(opened("sdxl").pipe, "unet", seed=3)
    item = {key: pair for key, pair in pairs.items() if key[1].startswith(BLOCKS[:1])}
    tensors = lora_demo.kohya(tmp_path / "one.safetensors", item)
    with pytest.raises(UsageError, match=r"changes nothing outside of down\.1\.attn\.0"):
        compare(lora=tensors, by_block=True, out=tmp_path / "x", **SMALL)
