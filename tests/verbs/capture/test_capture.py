"""Capture from Python: what is written, what stays untouched, and what is refused."""

import json
import re
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import attn
from attn import demo
from attn.backends.families.sd35 import SD35Session
from attn.backends.types import Placement
from attn.errors import AttnError, CaptureError, ModelError, RequestError, TraceError, UsageError
from attn.schema import Request
from attn.verbs.capture import folders
from attn.verbs.capture.capture import capture
from attn.verbs.report import Report
from tests.helpers.models import full_size, layouts

SMALL = {"steps": 2, "size": (96, 64)}
MODELS = [("sdxl", "demo"), ("sd15", "demo"), ("sd35", "demo"), ("sd35", "demo:medium")]
KEEPS = [(keep, keys) for keep in ("mass", "means", "maps", "heads", "factors")
         for keys in ("content", "all")]  # fmt: skip
Usage = namedtuple("Usage", "total used free")
SEEDS = "UsageError: seeds: expected numbers from 0 to 2^32 - 1; got"
DIVISIBLE = "width and height must be divisible by 16; the nearest is"
REFUSED = [
    ({"prompt": None}, "UsageError: no prompt: give one with --prompt TEXT, or several with "),
    (
        {"keep": "map"},
        "UsageError: keep: expected one of mass, means, maps, heads, factors; got 'ma",
    ),
    ({"keys": "some"}, "UsageError: keys: expected one of content, all; got 'some'"),
    ({"mass": "all"}, "UsageError: mass: expected one of text, full; got 'all'"),
    ({"branch": "skip"}, "UsageError: branch: expected one of cond, uncond, both; got 'skip'"),
    ({"dtype": "int8"}, "UsageError: dtype: expected one of auto, float32, bfloat16, float16; got"),
    ({"offload": "disk"}, "UsageError: offload: expected one of none, model; got 'disk'"),
    ({"batch": 0}, "UsageError: batch must be at least 1; got 0"),
    ({"seed": -1}, f"{SEEDS} [-1]"),
    ({"seed": (3, 2**32)}, f"{SEEDS} [4294967296]"),
    ({"seed": ()}, f"{SEEDS} none"),
    ({"budget": "lots"}, "UsageError: budget: expected a size such as 8GB or 500MB; got 'lots'"),
    ({"settings": {"skip": "1"}}, "UsageError: backend sd35 has no option 'skip'."),
    ({"steps": 0}, "UsageError: steps must be at least 1; got 0"),
    ({"images": 0}, "UsageError: images must be at least 1; got 0"),
    ({"size": (100, 64)}, f"RequestError: size 100x64: {DIVISIBLE} 96x64"),
    ({"size": (0, 64)}, f"RequestError: size 0x64: {DIVISIBLE} 16x64"),
    ({"scheduler": "huen"}, "RequestError: no scheduler 'huen' for this model; there are "),
    ({"layers": "99"}, "RequestError: no layer matches '99'; there are 5 layers (0-4), from "),
    ({"blocks": "image.txt"}, "RequestError: no layer has a block 'image.txt'; there are "),
    (
        {"branch": "uncond", "guidance": 1.0},
        "RequestError: branch 'uncond' does not run in this generation; it has cond (guidance is o",
    ),
    (
        {"blocks": " , "},
        "UsageError: blocks: nothing is named; leave the option out for the default",
    ),
    ({"layers": ""}, "UsageError: layers: nothing is named; leave the option out for the default"),
    ({"guidance": float("nan")}, "RequestError: guidance must be a number; got nan"),
    ({"size": (16400, 64)}, "RequestError: size 16400x64: at most 16384 pixels a side"),
    ({"model": "./nowhere"}, "ModelError: no model at './nowhere': expected a diffusers folder, "),
    ({"model": "demo:large"}, "ModelError: no demo model 'demo:large' for sd35; there are demo, "),
    ({"model": "demo", "device": "warp"}, "RequestError: device 'warp' cannot be used: "),
]


def pixels(path):
    """Return a picture as an array."""
    return np.asarray(Image.open(path))


def plainly(session, **request):
    """Return the picture that a session makes without capture."""
    requested = session.complete(Request("a red cat", width=96, height=64, **request))
    return np.asarray(session.generate([requested], None)[0].images[0])


def written(folder):
    """Return the bytes of a trace's shards."""
    return sum(path.stat().st_size for path in (folder / "attention").glob("*.safetensors"))


def num_hooks(model):
    """Count the hooks on a model and all its parts."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


class Told(Report):
    """Keeps everything it is told."""

    def __init__(self):
        super().__init__()
        self.notes, self.steps = [], []

    def note(self, text):
        self.notes.append(text)

    def progress(self, done, total, written):
        self.steps.append((done, total, written))


def test_one_trace(run, tmp_path):
    """One prompt and seed leave one folder with a manifest, a shard per step, and the picture."""
    done = run(seed=7)
    files = sorted(
        str(item.relative_to(done.path)) for item in done.path.rglob("*") if item.is_file()
    )
    assert files == [
        "attention/mean.safetensors",
        "attention/shards.jsonl",
        "attention/step-0000.safetensors",
        "attention/step-0001.safetensors",
        "outputs/forming.jpg",
        "outputs/image.png",
        "trace.json",
    ]
    assert done.path == tmp_path / "run"
    assert [(item.folder, item.status, item.seed) for item in done.entries] == [
        (".", "complete", 7)
    ]
    assert (done.failures, done.warnings) == ((), ())


def test_manifest(run):
    """The manifest says what ran: request, tokens, words, steps, kept, cost and environment."""
    manifest = run(seed=7, negative="dog", guidance=3.0).trace.manifest
    assert (manifest.status, manifest.backend, manifest.branches) == ("complete", "sd35", ("cond",))
    assert replace(manifest.request, options={}) == Request(
        *("a red cat", "dog", 7, 2, 3.0, 96, 64, 1, "FlowMatchEulerDiscreteScheduler")
    )
    skipping = {"skip_layers": [], "skip_scale": 2.8, "skip_start": 0.01, "skip_stop": 0.2}
    assert manifest.request.options.items() >= ({"t5_tokens": 256} | skipping).items()
    assert [word.text for word in manifest.words] == ["a", "red", "cat"]
    assert [step.noise for step in manifest.steps] == pytest.approx([1.0, 0.0089], rel=0.01)
    assert set(manifest.cost) == {"seconds", "seconds_per_step", "peak_memory_bytes"}
    assert {"torch", "diffusers", "python", "device"} <= set(manifest.environment)
    assert {kernel["output"] for kernel in manifest.identity["kernels"]} == {"identical"}


def test_noise(run, tmp_path):
    """With which noise a picture began is hashed: that of its seed, whatever is drawn with it."""
    import attn

    run(seed=(1, 2), batch=2, out=tmp_path / "two")
    alone = run("a blue dog", seed=2, images=2, out=tmp_path / "one").trace.manifest
    hashes = [attn.open(tmp_path / "two" / name).manifest for name in ("0000", "0001")]
    (first,), (second,) = (manifest.identity["noise"] for manifest in hashes)
    assert alone.identity["noise"][0] == second
    assert len({first, second, *alone.identity["noise"]}) == 3
    assert len(first) == 64


def test_model_identity(demo_cache, tmp_path):
    """A model that was loaded from files is known by their hash."""
    trace = capture("sd35", "a cat", out=tmp_path / "run", **SMALL).trace
    model = trace.manifest.model
    assert (model["source"], model["dtype"]) == ("demo", "float32")
    assert re.fullmatch("[0-9a-f]{64}", model["sha256"])


def test_png_carries_the_request(run):
    """The picture alone says how it was made."""
    text = Image.open(run(seed=7).trace.image()).text
    assert (text["prompt"], text["seed"]) == ("a red cat", "7")
    request = json.loads(text["attn"])
    assert (request["backend"], request["steps"], request["width"]) == ("sd35", 2, 96)
    assert request["scheduler"] == "FlowMatchEulerDiscreteScheduler"


def test_progress(run):
    """Every finished step of the whole job is told, with the bytes so far."""
    report = Told()
    done = run(["a red cat", "a dog"], report=report)
    share = done.predicted_bytes // 4
    assert [(step, total) for step, total, _ in report.steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [size for *_, size in report.steps] == pytest.approx(
        [share, 2 * share, 3 * share, 4 * share], rel=0.02
    )


@pytest.mark.parametrize("dry_run", [False, True])
def test_warning_of_the_request(run, dry_run):
    """A negative prompt that is not read, because guidance is off, is warned of once."""
    done = run(["a cat", "a dog"], negative="dog", guidance=1.0, steps=1, dry_run=dry_run)
    expected = ("guidance is off, so the negative prompt is not read",)
    assert done.warnings == expected
    if not dry_run:
        assert attn.open(done.path / "0001").manifest.warnings == expected


def test_a_dry_run_warns_of_prompts(run):
    """What a prompt asks for in another program's syntax is warned of before anything is made."""
    (warning,) = run("a (red:1.3) cat", steps=1, dry_run=True).warnings
    assert warning.startswith("'(red:1.3)' in the prompt is read as plain text, like any word: ")


def test_default_folder(run, tmp_path, monkeypatch):
    """Without a place to go, a trace goes to attn-runs, under date, family and prompt."""
    monkeypatch.chdir(tmp_path)
    done = run("A red CAT, on a mat!", out=None, steps=1)
    assert done.path.parent == Path("attn-runs")
    assert re.fullmatch(r"\d{8}-\d{6}-sd35-a-red-cat-on-a-mat", done.path.name)


def test_example_prompt(demo_cache, tmp_path):
    """The demo model needs no prompt; which one it took is told."""
    report = Told()
    done = capture("sd35", out=tmp_path / "run", report=report, **SMALL)
    assert done.entries[0].prompt == demo.EXAMPLE_CAPTION
    assert report.notes == [
        "model: the built-in demo (tiny and untrained: real attention, random weights)",
        f"prompt: {demo.EXAMPLE_CAPTION}",
    ]


@pytest.mark.parametrize("guidance", [None, 1.0], ids=["guided", "unguided"])
@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_picture(opened, run, backend, model, guidance):
    """The picture is, bit for bit, the one that is made without capture."""
    plain = plainly(opened(backend, model), steps=2, seed=5, guidance=guidance)
    trace = run(backend=backend, variant=model, seed=5, guidance=guidance, mass="full").trace
    assert np.array_equal(pixels(trace.image()), plain)


@pytest.mark.parametrize("arguments", [{}, {"offload": "model"}], ids=["plain", "offload"])
@pytest.mark.parametrize("backend", ["sdxl", "sd35"])
def test_picture_of_a_loaded_model(opened, demo_cache, tmp_path, backend, arguments):
    """Also where the parts wait in main memory until they are used."""
    done = capture(backend, "a red cat", out=tmp_path / "run", device="cpu", **SMALL, **arguments)
    assert np.array_equal(pixels(done.trace.image()), plainly(opened(backend), steps=2))


def test_picture_in_bfloat16(demo_cache, tmp_path):
    """Also in half precision, where the picture differs from the one in float32."""
    from attn.backends import find, load

    family = load(find("sd35"))
    session = family.open("demo", family.Options(), Placement(dtype="bfloat16"))
    done = capture("sd35", "a red cat", out=tmp_path / "run", dtype="bfloat16", **SMALL)
    assert done.trace.manifest.model["dtype"] == "bfloat16"
    assert np.array_equal(pixels(done.trace.image()), plainly(session, steps=2))


def test_nothing_stays_on_the_model(opened, run):
    """After a capture the model has the hooks and the sampler that it had before."""
    pipe = opened("sd35").pipe
    before = num_hooks(pipe.transformer), pipe.scheduler
    run(scheduler="flowmatchheun")
    assert (num_hooks(pipe.transformer), pipe.scheduler) == before
    assert num_hooks(pipe.vae) == 0
    assert _get_current_dispatch_mode_stack() == []


LAST_LAYERS = [
    ("sdxl", "vae.decoder.conv_out", "33.3 % of the VAE's pixels", "VAE"),
    ("sd15", "unet.conv_out", "100 % of the numbers that the denoiser answers", "denoiser"),
    ("sd35", "transformer.proj_out", "100 % of the numbers that the denoiser answers", "denoiser"),
]


@pytest.mark.parametrize("case", LAST_LAYERS)
def test_picture_of_no_numbers(opened, run, tmp_path, monkeypatch, case):
    """Weights that are not numbers, which no attention shows, end in an error, not in black."""
    backend, layer, result, whose = case
    pipe = opened(backend).pipe
    part, _, path = layer.partition(".")
    bias = getattr(pipe, part).get_submodule(path).bias
    broken = bias.data.clone()
    broken[0 if whose == "VAE" else slice(None)] = torch.nan
    monkeypatch.setattr(bias, "data", broken)
    with pytest.raises(ModelError) as error:
        run(backend=backend, steps=1)
    assert str(error.value) == (
        f"the picture is not numbers: {result} are NaN or infinite, computed in float32; the "
        f"weights of the {whose} are broken, or --dtype is too narrow: try --dtype float32"
    )
    assert num_hooks(pipe.vae) == 0
    assert attn.open(tmp_path / "run").manifest.status == "partial"


def test_given_pipeline_keeps_its_own_sampler(run, tmp_path):
    """A second capture with the same pipeline does not inherit the first one's sampler."""
    run(scheduler="flowmatchheun", out=tmp_path / "first")
    request = run(out=tmp_path / "second").trace.manifest.request
    assert request.scheduler == "FlowMatchEulerDiscreteScheduler"


def test_given_pipeline(demo_cache, tmp_path):
    """A pipeline that was loaded with diffusers itself gives what its folder gives."""
    folder = demo.checkpoint("sdxl")
    pipe = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    given = capture("sdxl", "a red cat", model=pipe, out=tmp_path / "given", **SMALL).trace
    opened = capture("sdxl", "a red cat", model=folder, out=tmp_path / "opened", **SMALL).trace
    assert given.manifest.model["source"] == str(folder)
    assert np.array_equal(pixels(given.image()), pixels(opened.image()))
    np.testing.assert_array_equal(given.maps(1), opened.maps(1))


def test_images(run, tmp_path):
    """Two images are two samples with pictures of their own; the first is that of one image."""
    two, item = run(images=2, out=tmp_path / "two").trace, run(out=tmp_path / "one").trace
    files = [f"outputs/{name}" for name in ("image-0.png", "image-1.png")]
    files += [f"outputs/forming-{sample}.jpg" for sample in (0, 1)]
    assert list(two.manifest.outputs) == files
    assert two.maps(0).sizes["sample"] == 2
    first, second = (pixels(two.image(sample)).astype(int) for sample in (0, 1))
    assert np.abs(first - pixels(item.image())).max() <= 1
    assert np.abs(first - second).max() > 20
    np.testing.assert_allclose(two.maps(0).sel(sample=0), item.maps(0).sel(sample=0), atol=1e-3)
    assert np.abs(two.maps(0)[:, :, 0] - two.maps(0)[:, :, 1]).max() > 0.01


@pytest.mark.parametrize(("backend", "layer"), [("sd35", 1), ("sdxl", 3)])
def test_both_branches(run, tmp_path, backend, layer):
    """Both guidance rows are kept, each with its own tokens, and equal to those kept alone."""
    arguments = {"backend": backend, "negative": "dog", "steps": 1}
    both = run(branch="both", out=tmp_path / "both", **arguments).trace
    assert both.branches == ("cond", "uncond")
    assert next(token.text for token in both.tokens("uncond") if token.is_content) == "dog"
    for branch in both.branches:
        alone = run(branch=branch, out=tmp_path / branch, **arguments).trace
        np.testing.assert_array_equal(
            both.mass(layer).sel(branch=branch), alone.mass(layer).sel(branch=branch)
        )
    masses = both.mass(layer)
    assert np.abs(masses.sel(branch="cond") - masses.sel(branch="uncond")).max() > 0.01


@pytest.mark.parametrize(("backend", "layer"), [("sd35", 1), ("sdxl", 3), ("sd15", 5)])
def test_rows_are_what_they_are_called(run, tmp_path, backend, layer):
    """A guided row is what its prompt has alone: `cond` the prompt, `uncond` the negative one."""
    guided = run("a red cat", backend=backend, negative="dog", branch="both", steps=1).trace
    for branch, prompt in (("cond", "a red cat"), ("uncond", "dog")):
        out = tmp_path / branch
        alone = run(prompt, backend=backend, guidance=1.0, steps=1, out=out).trace
        row = guided.mass(layer).sel(branch=branch)
        np.testing.assert_allclose(row, alone.mass(layer).sel(branch="cond"), atol=1e-4)


@pytest.mark.parametrize(("backend", "layers"), [("sd35", [0, 4]), ("sdxl", [1, 33])])
def test_means(run, tmp_path, backend, layers):
    """The level `means` keeps the mean over the steps of the maps that `maps` keeps."""
    arguments = {"backend": backend, "steps": 3}
    means = run(keep="means", out=tmp_path / "means", **arguments).trace
    maps = run(keep="maps", out=tmp_path / "maps", **arguments).trace
    for layer in layers:
        expected = maps.maps(layer).astype(np.float64).mean("step")
        np.testing.assert_allclose(means.maps(layer), expected, rtol=2**-11, atol=6e-8)
        np.testing.assert_array_equal(means.mass(layer), maps.mass(layer))


@pytest.mark.parametrize(("keep", "keys"), KEEPS)
@pytest.mark.parametrize(
    ("backend", "arguments"),
    [
        ("sdxl", {"scheduler": "heun", "steps": 2}),
        ("sd15", {"steps": 3}),
        ("sd35", {"scheduler": "flowmatchheun", "steps": 2, "branch": "both"}),
    ],
    ids=["heun", "pndm", "flow-heun"],
)
def test_bytes(run, backend, arguments, keep, keys):
    """The bytes that a plan predicts are, to the byte, those that are written."""
    arguments = {"backend": backend, "size": (80, 48), "keep": keep, "keys": keys} | arguments
    done = run(**arguments)
    assert done.predicted_bytes == written(done.path) > 0
    assert len(done.trace.steps) == arguments["steps"]


@pytest.mark.parametrize(
    ("backend", "model", "arguments"),
    [
        ("sdxl", "demo", {"scheduler": "pndm", "steps": 4, "entropy": True, "mass": "full"}),
        ("sd35", "demo:medium", {"blocks": "image.image,text.image", "images": 2}),
        ("sd35", "demo", {"keep": "means", "layers": "1-3", "guidance": 1.0}),
    ],
    ids=["runge-kutta", "blocks", "layers"],
)
def test_bytes_of_other_plans(run, backend, model, arguments):
    """Also with more measures, other blocks, two samples, some layers."""
    done = run(backend=backend, variant=model, **arguments)
    assert done.predicted_bytes == written(done.path) > 0


def test_several_calls_of_a_step(run, tmp_path):
    """Of a step with two calls the first is kept: Heun's first call is Euler's."""
    heun = run(scheduler="flowmatchheun", out=tmp_path / "heun").trace.mass(2)
    euler = run(out=tmp_path / "euler").trace.mass(2)
    np.testing.assert_array_equal(heun.sel(step=0), euler.sel(step=0))
    assert np.abs(heun - euler).sel(step=1).max() > 0


def test_dry_run(copied_sd35, tmp_path):
    """A dry run writes nothing and reads no weights; its plan is the real one."""
    plan = {"out": tmp_path / "run", "model": copied_sd35, **SMALL}
    real = capture("sd35", "a red cat", **plan | {"out": tmp_path / "real"})
    for path in copied_sd35.rglob("*.safetensors"):
        path.write_bytes(b"garbage")
    dry = capture("sd35", "a red cat", dry_run=True, **plan)
    assert dry.plans == real.plans
    assert [entry.status for entry in dry.entries] == ["pending"]
    assert not (tmp_path / "run").exists()


def test_small_measures_of_a_large_model(tmp_path, demo_cache):
    """All that text keys need of SD3.5 Large, 1024x1024, 15 steps, is below 30 MB a prompt."""
    state = layouts.sai(full_size.pipeline("sd35-large"))
    file = full_size.write(full_size.shapes(state), tmp_path / "large.safetensors")
    tokenizers = {"tokenizers": str(demo.checkpoint("sd35"))}
    size = {"size": (1024, 1024), "steps": 15, "keep": "mass"}
    dry = capture("sd35", "a cat", model=file, settings=tokenizers, dry_run=True, **size)
    [plan] = dry.plans
    assert [(layer.layer.num_heads, layer.layer.num_keys) for layer in plan.layers] == [
        (38, 4429)
    ] * 38
    numbers = 38 * 15 * (38 * 333 + 333 + 38)  # of masses, shares and the picture's total
    assert 4 * numbers < dry.predicted_bytes < 30e6


def test_plans_are_shared(run):
    """Prompts of as many words have one plan, so that long lists of prompts cost little."""
    prompts = ["a red cat", "a blue dog", "a dog"]
    plans = run(prompts, backend="sdxl", dry_run=True, **SMALL).plans
    assert plans[0] is plans[1] is not plans[2]
    assert len(plans[0].kept.columns) == len(plans[2].kept.columns) + 1


@pytest.fixture
def copied_sd35(demo_cache, tmp_path):
    """A copy of the demo model that the test may break."""
    return shutil.copytree(demo.checkpoint("sd35"), tmp_path / "model")


def test_dry_run_leaves_an_empty_folder(run, tmp_path):
    """A folder that was there before is still there afterwards."""
    (tmp_path / "run").mkdir()
    run(dry_run=True)
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_refusals(run, tmp_path, arguments, message):
    """What cannot be done is said in one line, with its class, and leaves nothing behind."""
    with pytest.raises(AttnError) as error:
        run(**arguments)
    text = f"{type(error.value).__name__}: {error.value}"
    assert text.startswith(message)
    assert len(text.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_unknown_backend():
    """A misspelt family gets a suggestion."""
    with pytest.raises(UsageError, match=r"^no backend 'sdxk'\. Did you mean 'sdxl'\? Installed: "):
        capture("sdxk", "a cat")


def test_options_are_checked_before_the_model(monkeypatch):
    """What is wrong whatever the model is told before minutes are spent on loading it."""
    monkeypatch.setattr(
        "attn.backends.loading.pipeline.load_pipeline", lambda *_, **__: pytest.fail("loaded")
    )
    for arguments in ({"budget": "lots"}, {"keep": "map"}, {"seed": -1}, {"batch": 0}):
        with pytest.raises(UsageError):
            capture("sd35", "a cat", **arguments)


@pytest.mark.parametrize(
    ("budget", "shown"), [("20KB", "20.0 kB"), (20_000, "20.0 kB"), ("1", "1 byte"), (0, "0 bytes")]
)
def test_budget(run, tmp_path, budget, shown):
    """More bytes than the budget are refused before anything runs, with what would help."""
    with pytest.raises(RequestError) as error:
        run(budget=budget)
    assert str(error.value) == (
        f"this capture would write 93.4 kB, more than the budget of {shown}; keep less "
        "(--keep means, fewer --layers or --blocks, --keys content), or raise --budget"
    )
    assert not (tmp_path / "run").exists()


def test_budget_of_a_dry_run(run):
    """A dry run shows the bytes even where they are too many."""
    assert run(budget=0, dry_run=True).predicted_bytes > 80_000


def test_full_disk(run, tmp_path, monkeypatch):
    """More bytes than are free are refused before anything runs."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 5000, 5000))
    with pytest.raises(TraceError) as error:
        run()
    assert str(error.value) == (
        f"this capture would write 93.4 kB, but only 5.0 kB are free at {tmp_path / 'run'}; "
        "free some space, or choose another --out"
    )
    assert not (tmp_path / "run").exists()


def test_folder_in_use(run, tmp_path):
    """A folder with anything in it is left alone."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(TraceError) as error:
        run()
    expected = f"{tmp_path / 'run'} is not empty; choose another folder with --out, or remove it"
    assert str(error.value) == expected
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_file_in_place_of_a_folder(run, tmp_path):
    """A file is no folder, and neither is a place below one."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TraceError, match="file is a file; choose another folder with --out"):
        run(out=tmp_path / "file")
    below = tmp_path / "file" / "run"
    with pytest.raises(TraceError) as error:
        run(out=below)
    assert str(error.value) == f"cannot write into {below}: Not a directory; choose another --out"


def test_folder_that_cannot_be_written(run, tmp_path, monkeypatch):
    """A read-only place is told before the model is loaded, and a new folder is not left there."""

    def refuse(path, *arguments, **keywords):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folders, "open_in_place", refuse)
    with pytest.raises(TraceError) as error:
        run()
    expected = f"cannot write into {tmp_path / 'run'}: Permission denied; choose another --out"
    assert str(error.value) == expected
    assert not (tmp_path / "run").exists()


class Interrupting(Report):
    """Presses Ctrl-C after some steps."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def progress(self, done, total, written):
        if done == self.after:
            raise KeyboardInterrupt


def test_interrupt(opened, run, tmp_path):
    """Ctrl-C between two steps leaves a partial trace that opens, and a clean model."""
    with pytest.raises(KeyboardInterrupt):
        run(steps=4, report=Interrupting(after=2))
    trace = attn.open(tmp_path / "run")
    assert trace.manifest.status == "partial"
    assert [step.index for step in trace.steps] == [0, 1]
    assert trace.maps(0).sizes["step"] == 2
    assert num_hooks(opened("sd35").model) == 0


def test_interrupt_inside_attention(opened, run, tmp_path):
    """Ctrl-C while a watched layer runs, where torch calls no hook, leaves nothing switched on."""
    model, forwards = opened("sd35").model, []

    def interrupt(module, args):
        forwards.append(1)
        if len(forwards) == 3:
            raise KeyboardInterrupt

    handle = model.transformer_blocks[3].attn.to_k.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(steps=4)
    handle.remove()
    assert len(attn.open(tmp_path / "run").steps) == 2
    assert (num_hooks(model), _get_current_dispatch_mode_stack()) == (0, [])


def test_interrupted_collection(run, tmp_path):
    """What was finished before Ctrl-C is complete, and the index says what is missing."""
    with pytest.raises(KeyboardInterrupt):
        run(["a red cat", "a dog"], report=Interrupting(after=3))
    index = json.loads((tmp_path / "run" / "index.json").read_text())
    assert [item["status"] for item in index["traces"]] == ["complete", "pending"]
    statuses = [attn.open(tmp_path / "run" / name).manifest.status for name in ("0000", "0001")]
    assert statuses == ["complete", "partial"]


class Clumsy(Interrupting):
    """Presses Ctrl-C where what is to be closed then fails to."""

    def progress(self, done, total, written):
        try:
            super().progress(done, total, written)
        finally:
            if done == self.after:
                [].pop()


def test_interrupt_that_became_an_error(run, tmp_path):
    """Ctrl-C that an error of a library covers ends a collection, not only its trace."""
    with pytest.raises(KeyboardInterrupt):
        run(["a red cat", "a dog"], report=Clumsy(after=1))
    index = json.loads((tmp_path / "run" / "index.json").read_text())
    assert [item["status"] for item in index["traces"]] == ["pending", "pending"]


def test_interrupt_of_the_first_trace(run, tmp_path):
    """A collection is one from the start: its index is there before its first trace is."""
    with pytest.raises(KeyboardInterrupt):
        run(["a red cat", "a dog"], report=Interrupting(after=1))
    index = json.loads((tmp_path / "run" / "index.json").read_text())
    assert [item["status"] for item in index["traces"]] == ["pending", "pending"]


@pytest.fixture
def failing(monkeypatch):
    """Make every generation fail before its first forward."""

    def fail(*arguments):
        raise CaptureError("the dog ate it")

    monkeypatch.setattr(SD35Session, "generate", fail)


@pytest.mark.parametrize("is_there", [False, True])
def test_failure_before_the_first_step(run, failing, tmp_path, is_there):
    """A capture without one step leaves nothing, but for the folder that was there before."""
    if is_there:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CaptureError, match=r"^the dog ate it$"):
        run()
    assert (tmp_path / "run").is_dir() == is_there
    assert list(tmp_path.rglob("*.json")) == []


def test_failure_before_the_first_step_of_a_collection(run, failing, tmp_path):
    """Of a collection the index stays, which says what happened."""
    done = run(["a cat", "a dog"])
    assert [failure.error for failure in done.failures] == ["the dog ate it"] * 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["index.json"]


def test_unobservable_model(demo_cache, tmp_path):
    """A model whose attention hides from hooks is refused before anything is written."""
    pipe = DiffusionPipeline.from_pretrained(demo.checkpoint("sdxl"), local_files_only=True)
    pipe.enable_attention_slicing()
    with pytest.raises(CaptureError) as error:
        capture("sdxl", "a cat", model=pipe, out=tmp_path / "run", **SMALL)
    assert "call pipe.disable_attention_slicing()" in str(error.value)
    assert not (tmp_path / "run" / "attention" / "step-0000.safetensors").exists()


def test_wrong_number_of_steps(run, monkeypatch):
    """A sampler that runs other steps than were asked for is an error, not a short trace."""
    monkeypatch.setattr("attn.backends.diffusers.schedules.call_steps", lambda scheduler: [0] * 2)
    with pytest.raises(CaptureError, match=r"^the sampler ran 1 steps; expected 2: announce"):
        run()


def test_kept_layers(run):
    """Ranges, numbers and globs choose layers; what is not kept is still described."""
    trace = run(layers=["0-1,3", "transformer_blocks.4.*"]).trace
    assert trace.manifest.kept.layers == (0, 1, 3, 4)
    assert set(trace.maps(4).dims) > {"row", "column", "key"}
    with pytest.raises(TraceError):
        trace.maps(2)


def test_resume_of_an_encoded_empty_text(demo_cache, tmp_path):
    """A run whose row `uncond` read an empty text is not mixed with one whose row reads zeros."""
    requested = {"prompt": "a red cat", "steps": 1, "size": (64, 72), "out": tmp_path / "run"}
    attn.capture("sdxl", **requested, negative="", keep="mass")
    with pytest.raises(UsageError, match=r"\(was → now\): negative: '' → none\. Nothing was"):
        attn.capture("sdxl", **requested, keep="mass", resume=True)
    attn.capture("sdxl", **requested, negative="", keep="mass", resume=True)


def test_row_of_zeros(demo_cache, tmp_path):
    """A kept row that reads zeros has one column for all of it, and the trace says why."""
    requested = {"prompt": "a red cat", "steps": 1, "size": (64, 72), "branch": "both"}
    captured = attn.capture("sdxl", **requested, out=tmp_path / "run")
    assert captured.warnings == (
        "the row uncond reads zeros in place of a text, so it has no tokens",
    )
    assert captured.trace.manifest.request.negative is None
    assert captured.trace.tokens("uncond") == ()
    maps = captured.trace.maps(layer=5).sel(branch="uncond").sum("key")
    np.testing.assert_allclose(maps, 1, atol=2e-3)
