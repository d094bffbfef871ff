"""`attn ablate --scan`: a cut for every head, layer, block or step."""

import json

import pytest
from typer.testing import CliRunner

import attn
from attn.cli import build
from attn.errors import UsageError
from attn.schema import CutTarget, Intervention, name_layers
from attn.verbs.ablate.scan import CutVariant, scan_cuts
from tests.helpers.toy_traces import cross_layer

pytestmark = pytest.mark.usefixtures("undrawn")
LAYERS = (cross_layer(1, (3, 5), 2), cross_layer(4, (6, 10), 3))
NAMES = name_layers(LAYERS)
RED = CutVariant("red", (Intervention(CutTarget(words=("red",), branch="cond")),))
SCANS = {
    "heads": ["head block.1.0", "head block.1.1", *(f"head block.4.{head}" for head in range(3))],
    "layers": ["layer block.1", "layer block.4"],
    "blocks": ["block block.1", "block block.4"],
}


@pytest.mark.parametrize("scan", SCANS)
def test_units(scan):
    """Each is skipped as a whole, or red is cut in it alone."""
    alone = scan_cuts(scan, [], LAYERS, 7, NAMES)
    assert [of.name for of in alone] == SCANS[scan]
    assert {of.cut.act for of in alone} == {"skip"}
    red = scan_cuts(scan, [RED], LAYERS, 7, NAMES)
    assert [of.name for of in red] == [f"red in {name}" for name in SCANS[scan]]
    assert {(of.cut.act, of.cut.target.words) for of in red} == {("mask", ("red",))}
    assert red[-1].cut.target.layers == ("4",)
    assert red[-1].cut.target.heads == ((2,) if scan == "heads" else ())


def test_steps():
    """A cut is done in one step at a time; a step by itself is no part of the model."""
    red = scan_cuts("steps", [RED], LAYERS, 3, NAMES)
    assert [(of.name, of.cut.target.steps) for of in red] == [
        ("red in step 0", (0, 0)),
        ("red in step 1", (1, 1)),
        ("red in step 2", (2, 2)),
    ]
    with pytest.raises(UsageError, match="scan: steps needs a --cut"):
        scan_cuts("steps", [], LAYERS, 3, NAMES)


def test_cut_that_is_limited_already():
    """Two limits of one kind would be one of them in silence."""
    limited = CutVariant("red", (Intervention(CutTarget(words=("red",), layers=("4",))),))
    with pytest.raises(UsageError, match="red is limited already; leave that out, or --scan"):
        scan_cuts("heads", [limited], LAYERS, 3, NAMES)


@pytest.fixture(scope="module")
def scanned(demo_cache, tmp_path_factory):
    """Cut a word in each of five steps of a small model."""
    out = tmp_path_factory.mktemp("scan") / "out"
    options = {"seed": range(4), "batch": 4, "steps": 5, "size": (48, 80)}
    limits = {"scan": "steps", "layers": "up_blocks.2*"}
    return attn.ablate("sd15", "a red cat", cut="red", out=out, **limits, **options)


@pytest.mark.slow
def test_scan(scanned):
    """A variant per unit without controls, sorted by effect, a figure of all, and the answer."""
    assert list(scanned.variants) == [f"red in step {step} cut" for step in range(5)]
    table = scanned.tables["cuts.csv"]
    levels = table[table["measure"] == "level"]["change"].tolist()
    assert levels == sorted(levels, reverse=True)
    assert set(table["controls"]) == {0}
    most = table["cut"].iloc[0].removesuffix(" cut")
    assert scanned.answer.startswith(f"Of 5 cuts {most} changes the image most, by ")
    assert "cuts.png" in scanned.files


@pytest.mark.slow
@pytest.mark.usefixtures("demo_cache")
def test_plan(tmp_path, monkeypatch):
    """What a scan would make, with its bytes, is known before anything is made."""
    monkeypatch.chdir(tmp_path)
    arguments = ["-p", "a red cat", "--scan", "blocks", "--steps", "2", "--dry-run", "--json"]
    result = CliRunner().invoke(build(), ["ablate", "-b", "sd15", *arguments])
    answer = json.loads(result.stdout)
    names = [variant["name"] for variant in answer["variants"]]
    assert names[0] == "block down.0 cut"
    assert "block mid cut" in names
    assert answer["predicted_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_names_can_be_typed_back(demo_cache, tmp_path):
    """A scan of a few layers names them as the whole model does, so that each can be cut again."""
    options = {"steps": 1, "size": (48, 80), "dry_run": True, "out": tmp_path / "out"}
    planned = attn.ablate("sd15", "a cat", scan="heads", layers="up_blocks.2.*.1.*", **options)
    names = [name.removesuffix(" cut") for name in planned.variants]
    assert names and all(name.startswith("head up.2.attn.1.") for name in names)
    again = attn.ablate("sd15", "a cat", cut=names, random=0, **options)
    assert list(again.variants) == list(planned.variants)
