"""`attn ablate`, from the command line to the numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import attn
from attn.analysis.compare.paired import paired_interval
from attn.cli import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("demo_cache")]
PROMPT, SEEDS = "a red cat", range(4)
OPTIONS = {"prompt": PROMPT, "seed": SEEDS, "batch": 4, "steps": 2, "size": (80, 112)}


@pytest.fixture(scope="module")
def ablated(demo_cache, tmp_path_factory):
    """Cut a word and the padding of a small model."""
    out = tmp_path_factory.mktemp("ablate") / "out"
    return attn.ablate("sd15", cut=["red", "padding"], out=out, pictures=False, **OPTIONS)


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), ["ablate", "-b", "sd15", *arguments])
    return result.exit_code, result.stdout, result.stderr


def picture(out, variant, seed):
    with Image.open(next((out / variant / f"{seed:04d}").glob("outputs/image*.png"))) as image:
        return np.asarray(image.convert("RGB"), np.float64)


def test_variants_and_their_controls(ablated):
    """Each cut is a run with a random control, as far as as much can be cut beside it."""
    assert list(ablated.variants) == ["red cut", "random 0 like red", "padding cut"]
    assert dict(ablated.controls) == {"random 0 like red": "random of red cut"}
    assert "padding has no random control: cut: 72 keys of clip are cut" in ablated.warnings[-1]


def test_baseline_is_not_changed(ablated, tmp_path):
    """The baseline's picture and attention are those of a plain capture."""
    attn.capture("sd15", out=tmp_path / "plain", **OPTIONS)
    plain = attn.open(tmp_path / "plain" / "0003")
    base = attn.open(ablated.path.parent / "base" / "0003")
    assert Path(plain.image()).read_bytes() == Path(base.image()).read_bytes()
    assert base.manifest.request.interventions == ()


def test_forming_pictures_are_left_out(ablated):
    """What no comparison reads is not made, of no variant, and nothing warns of it."""
    outputs = {file.name for file in ablated.path.parent.glob("*/*/outputs/*")}
    assert outputs == {"image.png"}
    assert not any("forming" in warning for warning in ablated.warnings)


def test_effects_are_those_of_the_pictures(ablated):
    """Level, control and the difference of both are means over pictures, with their interval."""
    out, table = ablated.path.parent, ablated.tables["cuts.csv"]
    level = table[(table["cut"] == "red cut") & (table["measure"] == "level")].iloc[0]
    values = np.array(
        [
            [
                np.abs(picture(out, name, seed) - picture(out, "base", seed)).mean()
                for name in ("red-cut", "random-0-like-red")
            ]
            for seed in SEEDS
        ]
    )
    cut, random = values.T
    low, high, _ = paired_interval((cut - random)[:, None])
    expected = [cut.mean(), random.mean(), (cut - random).mean(), low[0], high[0], len(SEEDS)]
    names = ["change", "random_change", "difference_change", "difference_low", "difference_high"]
    np.testing.assert_allclose(level[[*names, "n"]].astype(float), expected, rtol=1e-6)


def test_inside_and_outside_of_the_map(ablated):
    """Both sides, weighted by their area, make the level on the map's grid."""
    table = ablated.tables["cuts.csv"]
    assert set(table[table["cut"] == "red cut"]["measure"]) == {
        "level",
        "inside",
        "outside",
        "aimed",
    }
    assert set(table[table["cut"] != "red cut"]["measure"]) == {"level"}
    change = table[table["cut"] == "red cut"].set_index("measure")["change"]
    assert change["aimed"] == pytest.approx(change["inside"] - change["outside"], abs=1e-6)
    low, high = sorted([change["inside"], change["outside"]])
    assert low - 0.5 <= change["level"] <= high + 0.5  # the grid's last row is cut off


def test_answer_comes_first(ablated):
    """The report begins with whether the cut does what its map says."""
    assert ablated.answer.startswith("Cutting red ")
    assert "Cutting padding " in ablated.answer


def test_folders_can_be_compared_again(ablated, tmp_path):
    """Cuts and controls are told from the traces, so that the same table comes out."""
    out = ablated.path.parent
    runs = [out / name for name in ("base", "red-cut", "random-0-like-red")]
    done = attn.compare(*runs, out=tmp_path / "again", pictures=False)
    table, again = (of.tables["cuts.csv"] for of in (ablated, done))
    names = ["measure", "change", "random_change", "difference_low"]
    first = table[table["cut"] == "red cut"][names].reset_index(drop=True)
    assert first.equals(again[names])


def test_trace_says_what_was_changed(ablated):
    """A treated trace cannot be taken for one of the model itself."""
    manifest = attn.open(ablated.path.parent / "red-cut" / "0000").manifest
    assert [cut.text for cut in manifest.request.interventions] == ["mask red@branch=cond"]
    assert manifest.identity["changed"] == {"calls": 33, "layers": 11}


def test_plan(tmp_path, monkeypatch):
    """A dry run says what would be generated, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    arguments = ("-p", PROMPT, "--seed", "0-1", "--steps", "2", "--cut", "red", "--dry-run")
    code, stdout, _ = run(*arguments, "--json")
    answer = json.loads(stdout)
    assert (code, answer["command"], answer["status"]) == (0, "ablate", "planned")
    assert [variant["name"] for variant in answer["variants"]] == ["red cut", "random 0 like red"]
    assert list(tmp_path.iterdir()) == []


WRONG = {
    ("--cut", "blue"): (1, "cut: 'blue' is not in 'a red cat'. It has: a, red, cat"),
    ("--cut", "segment t5"): (
        1,
        "cut: no key matches; the keys of these layers are of image, clip, and are ",
    ),
    ("--cut", "layer up.9"): (1, "cut: no layer matches 'up.9'; there are "),
    ("--cut", "text"): (1, "cut: these are all keys of layer 1 "),
    ("--cut", "red", "--cut", "red@mask"): (2, "cut: red@mask is named twice; leave one out"),
    ("--cut", "red@stps=3"): (2, "cut: unknown 'stps'. Did you mean 'steps'? There are: "),
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_cut(arguments, tmp_path, monkeypatch):
    """A cut that matches nothing, or everything, is one line before anything is written."""
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = run("-p", PROMPT, *arguments)
    expected, message = WRONG[arguments]
    assert (code, stdout) == (expected, "")
    assert message in stderr
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []
