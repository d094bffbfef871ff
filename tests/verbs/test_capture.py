"""Capture from Python: what is written, what stays untouched, and what is refused."""

import json
import re
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from diffusers import DiffusionPipeline
from PIL import Image
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import attn
from attn import demo
from attn.errors import CaptureError, ModelError, RequestError, TraceError, UsageError
from attn.schema import Request
from attn.verbs.capture import capture
from attn.verbs.report import Report

SMALL = {"steps": 2, "size": (96, 64)}
MODELS = [("sdxl", "demo"), ("sd15", "demo"), ("sd35", "demo"), ("sd35", "demo:medium")]
KEEPS = [(keep, keys) for keep in ("mass", "means", "maps", "heads", "factors")
         for keys in ("content", "all")]  # fmt: skip
Usage = namedtuple("Usage", "total used free")


def pixels(path):
    """Return a picture as an array."""
    return np.asarray(Image.open(path))


def plainly(session, **request):
    """Return the picture that a session makes without capture."""
    asked = session.complete(Request("a red cat", width=96, height=64, **request))
    return np.asarray(session.generate([asked], None)[0].images[0])


def written(folder):
    """Return the bytes of a trace's shards."""
    return sum(path.stat().st_size for path in (folder / "attention").glob("*.safetensors"))


def num_hooks(model):
    """Count the hooks on a model and all its parts."""
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules())


class Told(Report):
    """Keeps everything it is told."""

    def __init__(self):
        super().__init__()
        self.notes, self.steps = [], []

    def note(self, text):
        self.notes.append(text)

    def progress(self, done, total, written):
        self.steps.append((done, total, written))


# ---- one trace


def test_one_trace(run, tmp_path):
    """One prompt and seed leave one folder with a manifest, a shard per step, and the picture."""
    done = run(seed=7)
    files = sorted(str(one.relative_to(done.path)) for one in done.path.rglob("*") if one.is_file())
    assert files == [
        "attention/shards.jsonl",
        "attention/step-0000.safetensors",
        "attention/step-0001.safetensors",
        "outputs/image.png",
        "trace.json",
    ]
    assert done.path == tmp_path / "run"
    assert [(one.folder, one.status, one.seed) for one in done.entries] == [(".", "complete", 7)]
    assert (done.failures, done.warnings) == ((), ())


def test_manifest(run):
    """The manifest says what ran: request, tokens, words, steps, kept, cost and environment."""
    manifest = run(seed=7, negative="dog", guidance=3.0).trace.manifest
    assert (manifest.status, manifest.backend, manifest.branches) == ("complete", "sd35", ("cond",))
    assert manifest.request == Request(
        *("a red cat", "dog", 7, 2, 3.0, 96, 64, 1, "FlowMatchEulerDiscreteScheduler"),
        options={
            "t5_tokens": 256,
            "skip_layers": [],
            "skip_scale": 2.8,
            "skip_start": 0.01,
            "skip_stop": 0.2,
        },
    )
    assert [word.text for word in manifest.words] == ["a", "red", "cat"]
    assert [step.noise for step in manifest.steps] == pytest.approx([1.0, 0.0089], rel=0.01)
    assert set(manifest.cost) == {"seconds", "seconds_per_step", "peak_memory_bytes"}
    assert {"torch", "diffusers", "python", "device"} <= set(manifest.environment)
    assert {kernel["output"] for kernel in manifest.identity["kernels"]} == {"identical"}


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
        [share, 2 * share, 3 * share, 4 * share], rel=0.01
    )


def test_default_folder(run, tmp_path, monkeypatch):
    """Without a place to go a trace goes to attn-runs, under date, family and prompt."""
    monkeypatch.chdir(tmp_path)
    done = run("A red CAT, on a mat!", out=None, steps=1)
    assert done.path.parent == Path("attn-runs")
    assert re.fullmatch(r"\d{8}-\d{6}-sd35-a-red-cat-on-a-mat", done.path.name)


def test_example_prompt(demo_cache, tmp_path):
    """The demo model needs no prompt; which one it took is told."""
    report = Told()
    done = capture("sd35", out=tmp_path / "run", report=report, **SMALL)
    assert done.entries[0].prompt == demo.EXAMPLE_PROMPT
    assert report.notes == [
        "model: the built-in demo (tiny and untrained: real attention, random weights)",
        f"prompt: {demo.EXAMPLE_PROMPT}",
    ]


# ---- the picture is untouched


@pytest.mark.parametrize("guidance", [None, 1.0], ids=["guided", "unguided"])
@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_picture(opened, run, backend, model, guidance):
    """The picture is, bit for bit, the one that is made without capture."""
    plain = plainly(opened(backend, model), steps=2, seed=5, guidance=guidance)
    trace = run(backend=backend, model=model, seed=5, guidance=guidance, mass="full").trace
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
    session = family.open("demo", family.Options(), dtype="bfloat16")
    done = capture("sd35", "a red cat", out=tmp_path / "run", dtype="bfloat16", **SMALL)
    assert done.trace.manifest.model["dtype"] == "bfloat16"
    assert np.array_equal(pixels(done.trace.image()), plainly(session, steps=2))


def test_nothing_stays_on_the_model(opened, run):
    """After a capture the model has the hooks and the sampler that it had before."""
    pipe = opened("sd35").pipe
    before = num_hooks(pipe.transformer), pipe.scheduler
    run(scheduler="flowmatchheun")
    assert (num_hooks(pipe.transformer), pipe.scheduler) == before
    assert _get_current_dispatch_mode_stack() == []


def test_given_pipeline_keeps_its_own_sampler(run):
    """A second capture with the same pipeline does not inherit the first one's sampler."""
    names = [
        run(scheduler=name, out=None, dry_run=True).plans and run_scheduler(run, name)
        for name in ("flowmatchheun", None)
    ]
    assert names == ["FlowMatchHeunDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"]


def run_scheduler(run, name):
    """Return the sampler that a capture ran."""
    folder = f"with-{name}"
    return run(scheduler=name, out=Path(folder).absolute()).trace.manifest.request.scheduler
