"""`attn.compare` with LoRAs: generate, then compare."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

import attn
from attn.errors import AnalysisError, ModelError, TraceError, UsageError
from attn.verbs.capture.folders import name_folders
from attn.verbs.compare.compare import compare
from attn.verbs.compare.runs import lora_runs
from attn.verbs.compare.runs.lora_runs import infer_backend
from attn.verbs.lora_specs import parse_variants
from tests.helpers.models import lora_demo
from tests.helpers.models.lora_files import write
from tests.helpers.toy_traces import read_csv

SMALL = {"steps": 2, "size": (96, 64), "seed": range(4), "batch": 4, "pictures": False}


@pytest.fixture(scope="module")
def files(opened, tmp_path_factory):
    """Write two LoRAs of the demo SDXL."""
    pipe = opened("sdxl").pipe
    folder = tmp_path_factory.mktemp("loras")
    return [
        lora_demo.kohya(folder / f"{name}.safetensors", lora_demo.changes(pipe, "unet", seed=seed))
        for name, seed in (("a", 3), ("b", 4))
    ]


@pytest.fixture(scope="module")
def sweep(files, tmp_path_factory):
    """Return a comparison of one LoRA at the scales 0 and 1."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    return compare(lora=[f"{files[0]}:0", f"{files[0]}:1"], prompt="a red cat", out=out, **SMALL)


def test_traces(sweep):
    """Baseline and variants are collections in the folder, from the same noise."""
    noise = []
    for name, loras in (("base", 0), ("a-0", 1), ("a-1", 1)):
        manifest = attn.open(sweep.path.parent / name / "0002").manifest
        assert (manifest.request.seed, len(manifest.request.loras)) == (2, loras)
        assert manifest.kept.level == "means"
        noise.append(manifest.identity["noise"])
    assert noise[0] == noise[1] == noise[2]
    index = json.loads((sweep.path / "comparison.json").read_text(encoding="utf-8"))
    assert [item["same_noise"] for item in index["variants"]] == [4, 4]


def test_scale_of_nothing(sweep):
    """At scale 0 nothing changes, at scale 1 something does."""
    table = sweep.tables["mass.csv"]
    nothing = table["variant_name"] == "a:0"
    assert nothing.sum() == 3
    for name in ("change", "low", "high", "effect_size"):
        assert (table[name][nothing] == 0).all()
    assert (table["change"][~nothing] != 0).all()


def test_weights(sweep, files):
    """Layers have what their weights and their attention changed by."""
    rows = read_csv(sweep.path / "tables/lora_weights.csv")
    rows = [row for row in rows if row["variant_name"] == "a:1"]
    assert len(rows) == len(attn.open(sweep.path.parent / "base/0000").layers)
    assert any(float(row["norm"]) > 0 and float(row["relative"]) > 0 for row in rows)
    assert all(float(row["change"]) > 0 for row in rows)


def test_weights_left_out(sweep, files, opened, tmp_path):
    """Modules that do not fit, or come twice, are in no norm; at scale 0 every norm is 0."""
    pairs = lora_demo.changes(opened("sdxl").pipe, "unet", seed=3)
    (stem, whole), *_ = (
        (path, pair) for (_, path), pair in pairs.items() if path.endswith("attn2.to_q")
    )
    layer = stem.removesuffix(".to_q")
    tensors = load_file(files[0])
    tensors[f"unet.{stem}.lora_down.weight"], tensors[f"unet.{stem}.lora_up.weight"] = whole
    tensors[f"unet.{layer}.to_v.lora_down.weight"] = np.ones((3, 997), np.float32)
    tensors[f"unet.{layer}.to_v.lora_up.weight"] = np.ones((991, 3), np.float32)
    bad = write(tmp_path / "bad.safetensors", tensors)
    few = SMALL | {"seed": 0, "steps": 1}
    done = compare(
        lora=[bad, f"{files[0]}:0", f"{files[0]}:-0.5"], prompt="cat", out=tmp_path / "x", **few
    )
    table = done.tables["lora_weights.csv"]
    norms = {
        name: table["norm"][table["variant_name"] == name] for name in set(table["variant_name"])
    }
    of_one = sweep.tables["lora_weights.csv"]
    is_one = of_one["variant_name"] == "a:1"
    np.testing.assert_array_equal(norms["bad"], of_one["norm"][is_one])
    np.testing.assert_array_equal(
        table["modules"][table["variant_name"] == "bad"], of_one["modules"][is_one]
    )
    np.testing.assert_array_equal(norms["a:0"], 0)
    np.testing.assert_array_equal(norms["a:-0.5"], norms["bad"] / 2)


def test_one_model(files, tmp_path, monkeypatch):
    """However many variants there are, the model is opened once."""
    from attn.backends.diffusers.backend import DiffusersBackend

    opened, real = [], DiffusersBackend.open
    monkeypatch.setattr(
        DiffusersBackend,
        "open",
        lambda self, *given, **named: opened.append(given) or real(self, *given, **named),
    )
    few = SMALL | {"seed": 0, "steps": 1}
    done = compare(lora=[str(file) for file in files], prompt="cat", out=tmp_path / "x", **few)
    assert len(opened) == 1
    assert done.variants == {"a": 1, "b": 1}
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        "a", "b", "base", "comparison",
    ]  # fmt: skip


def test_dry_run(files, tmp_path):
    """A dry run plans baseline and variants, and leaves nothing."""
    plan = {"out": tmp_path / "x", "dry_run": True, **SMALL}
    done = compare(lora=[f"{files[0]}:0", f"{files[0]}:1", files[1]], prompt="a cat", **plan)
    assert (done.base, done.variants) == ("base", {"a:0": 4, "a:1": 4, "b": 4})
    assert [len(item.entries) for item in done.plans] == [4] * 4
    assert done.predicted_bytes == 16 * done.plans[0].plans[0].bytes
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept(files, tmp_path):
    """What a capture can be limited to, a comparison with LoRAs can; what is there is compared."""
    kept = {"branch": "uncond", "layers": "*attn2", "entropy": True, "keys": "all", "mass": "full"}
    few = SMALL | {"seed": 0, "steps": 1, "negative": "a dog"}
    done = compare(lora=files[0], prompt="cat", out=tmp_path / "x", **few, **kept)
    manifest = attn.open(tmp_path / "x/a").manifest
    assert manifest.branches == ("uncond",)
    assert all(layer.path.endswith("attn2") for layer in manifest.layers)
    assert (manifest.kept.entropy, manifest.kept.keys, manifest.kept.mass) == (True, "all", "full")
    assert set(done.tables["mass.csv"]["word"]) == {"a", "dog"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"branch": "uncond"}, "the negative prompt has no words; give one with --negative"),
        (
            {"negative": "a dog", "settings": {"compare.branch": "uncond"}},
            "'uncond' is not captured, only cond",
        ),
        ({"settings": {"compare.layers": "99"}}, "no captured layer matches '99'"),
        ({"settings": {"compare.steps": "9"}}, "no captured step matches '9'; there are 0 to 1"),
        ({"only": ["sketch"]}, "the model is given no drawing to compare with"),
        ({"only": ["maps"], "keep": "mass"}, "the traces will have no maps of image.text"),
        ({"only": ["maps"], "settings": {"compare.steps": "1"}}, "no maps of single steps"),
        ({"blocks": "image.image"}, "the traces will have no image.text"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_refused_before_generating(files, tmp_path, arguments, message, dry_run):
    """What cannot be compared is refused before a picture is made, and nothing is left."""
    with pytest.raises(AnalysisError, match=message):
        compare(
            lora=files[0], prompt="cat", out=tmp_path / "x", dry_run=dry_run, **SMALL, **arguments
        )
    assert list(tmp_path.iterdir()) == []


def test_late_failure(files, tmp_path, monkeypatch):
    """If the comparison fails after all was generated, the message says how to use the traces."""
    from attn.verbs.compare import compare as verb

    def fail(*given, **named):
        raise AnalysisError("no")

    monkeypatch.setattr(verb, "compare_runs", fail)
    few = SMALL | {"seed": 0, "steps": 1}
    out = tmp_path / "x"
    hint = re.escape(f"no (the traces can be used: attn compare {out / 'base'} {out / 'a'})")
    with pytest.raises(AnalysisError, match=hint):
        compare(lora=files[0], prompt="cat", out=out, **few)
    monkeypatch.undo()
    assert compare(out / "base", out / "a", out=tmp_path / "y", pictures=False).variants == {"a": 1}


def test_order(files, tmp_path, sweep):
    """A variant's numbers do not depend on what else is compared."""
    names = [str(file) for file in reversed(files)]
    both = compare(lora=names, prompt="a red cat", out=tmp_path / "x", **SMALL)
    result = []
    for done, label in ((both, "a"), (sweep, "a:1")):
        table = done.tables["mass.csv"]
        result.append(table["change"][table["variant_name"] == label])
    np.testing.assert_array_equal(*result)


def test_two_spellings(files, opened, tmp_path):
    """One LoRA in the names of kohya and of peft gives the same comparison."""
    pairs = lora_demo.changes(opened("sdxl").pipe, "unet", seed=3)  # those of the first file
    peft = lora_demo.peft(tmp_path / "peft.safetensors", pairs)
    few = SMALL | {"steps": 1}
    done = compare(lora=[files[0], peft], prompt="a red cat", out=tmp_path / "x", **few)
    for table in done.tables.values():
        of_kohya, of_peft = (table["variant_name"] == name for name in ("a", "peft"))
        numbers = [column for _, column in table.items() if column.dtype != object]
        for column in numbers:
            np.testing.assert_allclose(column[of_kohya], column[of_peft], rtol=0, atol=1e-5)
    assert np.abs(done.tables["mass.csv"]["change"]).max() > 1e-4


def test_demo(files, tmp_path):
    """Without model, prompt and backend the demo of the LoRA's family draws its example."""
    notes = []

    class Notes(lora_runs.Report):
        def note(self, text):
            notes.append(text)

    few = SMALL | {"seed": 0, "steps": 1}
    compare(lora=files[0], out=tmp_path / "x", report=Notes(), **few)
    manifest = attn.open(tmp_path / "x/a").manifest
    assert (manifest.backend, manifest.model["source"]) == ("sdxl", "demo")
    assert notes[0].startswith("model: the built-in demo")
    assert notes[1].startswith("prompt: ")


def test_full_folder(files, tmp_path):
    """A folder with something in it is refused before the model is loaded."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TraceError, match="is not empty"):
        compare(lora=files[0], prompt="cat", out=tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "..., !!"}, "there is no word to compare in '..., !!'"),
        ({"words": ["dog"]}, "the prompts do not share a word 'dog'. Their words: a, cat."),
        ({"phrases": ["cat a"]}, "the prompts do not share a phrase 'cat a'."),
        ({"resume": True, "out": None}, "resume: say which folder to go on with, with --out DIR"),
        ({"keep": "map"}, "keep: expected one of mass, means, maps, heads, factors; got 'map'"),
        ({"dtype": "int8"}, "dtype: expected one of auto, float32, bfloat16, float16; got 'int8'"),
    ],
)
def test_refused_at_once(files, tmp_path, monkeypatch, arguments, message):
    """What can be known to be wrong costs no loading of the model, and no generation."""
    from attn.backends.diffusers.backend import DiffusersBackend

    monkeypatch.setattr(DiffusersBackend, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises((UsageError, AnalysisError), match=message):
        given = SMALL | {"prompt": "a cat", "out": tmp_path / "x"} | arguments
        compare(lora=files[0], **given)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("runs", "arguments", "message"),
    [
        (["x"], {"lora": "a.safetensors"}, "give runs, --lora or --sketch, not several"),
        (
            ["x", "y"],
            {"prompt": "cat"},
            "prompt is about generating, which only --lora and --sketch do",
        ),
        (["x", "y"], {"steps": 3}, "steps is about generating, which only --lora and --sketch do"),
        ([], {"lora": []}, "lora: nothing is named"),
    ],
)
def test_usage(runs, arguments, message):
    """Runs and LoRAs do not go together, nor do runs and what is about generating."""
    with pytest.raises(UsageError, match=message):
        compare(*runs, **arguments)


def test_a_variant_that_does_not_fit(files, opened, tmp_path, monkeypatch):
    """A later variant that does not fit the model costs no generation of the earlier ones."""
    from attn.backends.diffusers.session import DiffusersSession

    pairs = lora_demo.changes(opened("sdxl").pipe, "unet", seed=5)
    elsewhere = {(part, f"elsewhere.{path}"): pair for (part, path), pair in pairs.items()}
    other = lora_demo.kohya(tmp_path / "other.safetensors", elsewhere)
    monkeypatch.setattr(DiffusersSession, "generate", lambda *_: pytest.fail("generated"))
    with pytest.raises(ModelError, match=r"other\.safetensors does not fit this model"):
        compare(lora=[files[0], other], backend="sdxl", prompt="cat", out=tmp_path / "x", **SMALL)
    assert not (tmp_path / "x").exists()


def test_a_variant_that_fits_in_part(files, opened, tmp_path):
    """What is left out of one variant is a warning of its own traces, and of no others."""
    pairs = lora_demo.changes(opened("sdxl").pipe, "unet", seed=5)
    more = dict(list(pairs.items())[:1])
    pairs |= {(part, f"elsewhere.{path}"): pair for (part, path), pair in more.items()}
    part = lora_demo.kohya(tmp_path / "part.safetensors", pairs)
    few = SMALL | {"seed": 0, "steps": 1}
    done = compare(lora=[files[0], part], backend="sdxl", prompt="cat", out=tmp_path / "x", **few)
    assert [("fit nothing" in warning) for warning in done.warnings] == [True]
    told = [
        any("fit nothing" in item for item in attn.open(tmp_path / "x" / name).manifest.warnings)
        for name in ("base", "a", "part")
    ]
    assert told == [False, False, True]


def test_no_lora(tmp_path):
    """A file that is no LoRA is an error of the file."""
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        compare(lora=tmp_path / "a.safetensors", prompt="cat", out=tmp_path / "x")


def test_families(files, opened, tmp_path):
    """LoRAs of two families do not tell which backend to use."""
    pairs = lora_demo.changes(opened("sd35").pipe, "transformer", seed=3)
    other = lora_demo.kohya(tmp_path / "other.safetensors", pairs)
    assert infer_backend(parse_variants([str(files[0])])) == "sdxl"
    with pytest.raises(UsageError, match="the LoRAs do not tell which backend to use"):
        infer_backend(parse_variants([str(files[0]), str(other)]))


def test_names_of_folders():
    """Folders are legal and different, whatever LoRAs are called."""
    labels = ["style:0.8+eyes", "base", "a/b", "a:b", "猫", "…"]
    expected = ["style-0.8+eyes", "base-2", "a-b", "a-b-2", "猫", "variant"]
    assert name_folders(labels, ["Base"]) == expected
