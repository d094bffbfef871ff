"""Model folders of strangers: no code of theirs runs, nothing of them hangs, each error is one."""

import json
import os
import pty
import shutil
import sys
import threading
from contextlib import suppress

import pytest
import torch
from torch import nn

from attn import demo
from attn.backends import find, load
from attn.backends.loading import pipeline as pipeline_module
from attn.backends.loading.weights.unfilled import Unfilled
from attn.backends.types import Placement
from attn.cli import main
from attn.errors import CaptureError, ModelError
from attn.schema import Request
from attn.verbs.analyze.analyze import analyze
from attn.verbs.capture.capture import capture
from attn.verbs.report import Report
from tests.helpers.toy_runs import contents

SHARED = "diffusion_pytorch_model.safetensors"
EVIL = "import pathlib\npathlib.Path({!r}).touch()\n\nclass Evil:\n    pass\n"
AUTO = ["evil.Evil", "evil.Evil"]


def opening(folder, backend="sd15", **arguments):
    """Open a folder with the family's default options."""
    family = load(find(backend))
    return family.open(folder, family.Options(), Placement("cpu", **arguments))


def refusal(folder, backend="sd15", **arguments):
    """Return what opening a folder is refused with, the folder written as FOLDER."""
    with pytest.raises(ModelError) as error:
        opening(folder, backend, **arguments)
    return str(error.value).replace(str(folder), "FOLDER")


def edit(path, **fields):
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


AUTOS = {
    "tokenizer": ("AutoTokenizer", "tokenizer/tokenizer_config.json"),
    "scheduler": ("AutoModel", "scheduler/config.json"),
    "text_encoder": ("AutoModel", "text_encoder/config.json"),
    "vae": ("AutoConfig", "vae/config.json"),
    "unet": ("AutoProcessor", "unet/processor_config.json"),
}


@pytest.fixture
def trap(copied, tmp_path):
    """Make every automatic class of a folder code that leaves a canary; return both."""

    def set_up(component):
        folder, canary = copied("sd15"), tmp_path / "canary"
        name, file = AUTOS[component]
        edit(folder / "model_index.json", **{component: ["transformers", name]})
        for path in (folder / component, folder):
            (path / "evil.py").write_text(EVIL.format(str(canary)))
        path = folder / file
        settings = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(
            json.dumps(settings | {"auto_map": dict.fromkeys((name, "AutoConfig"), AUTO)})
        )
        return folder, canary

    return set_up


@pytest.mark.parametrize("component", AUTOS)
def test_classes_that_run_code_are_refused(trap, component):
    """A class that the pipeline does not take is refused before a file of it is opened."""
    folder, canary = trap(component)
    message = refusal(folder, weights=False)
    assert message.startswith(
        f"model_index.json says that {component} is a {AUTOS[component][0]}; "
    )
    assert not canary.exists()


def test_no_question_on_a_terminal(trap):
    """At a terminal where `y` is typed ahead, no question is asked and no code runs."""
    folder, canary = trap("tokenizer")
    options = ["--backend", "sd15", "--model", str(folder), "--dry-run"]
    child, terminal = pty.fork()
    if not child:
        sys.argv = ["attn", "capture", "--prompt", "a red cat", *options]
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        try:
            main()
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.write(terminal, b"y\ny\ny\n")
    said = b""
    with suppress(OSError):  # how a terminal says that it is closed
        while part := os.read(terminal, 1000):
            said += part
    os.waitpid(child, 0)
    os.close(terminal)
    assert b"Error: model_index.json says that tokenizer is a AutoTokenizer; " in said
    assert b"[y/N]" not in said
    assert not canary.exists()


@pytest.mark.parametrize("name", ["w.bin", "../outside.safetensors", "/w.safetensors", "a\0b"])
def test_weight_maps_stay_inside(copied, monkeypatch, name):
    """An index of weights that names a pickle, or a file elsewhere, is refused, and not opened."""
    folder = copied("sd15")
    unet = folder / "unet"
    (unet / SHARED).rename(folder / "outside.safetensors")
    (unet / "x.safetensors").touch()
    (unet / "w.bin").write_bytes(b"\x80\x02")
    index = {"weight_map": {"conv_in.weight": name}}
    (unet / f"{SHARED}.index.json").write_text(json.dumps(index))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    assert refusal(folder) == (
        f"FOLDER/unet/{SHARED}.index.json lists {name!a}; expected names of .safetensors files in "
        "its own folder: nothing else is read"
    )


FIELDS = [
    ("unet/config.json", {"layers_per_block": 10**5}, "network of more than 5000 tensors"),
    ("text_encoder/config.json", {"num_hidden_layers": 10**6}, "network of more than 5000 "),
    ("text_encoder/config.json", {"max_position_embeddings": 10**12}, "max_position_embeddings"),
    ("text_encoder/config.json", {"num_attention_heads": 0}, "text_encoder"),
    ("text_encoder/config.json", {"attn_implementation": "a/b"}, "attn_implementation is 'a/b'"),
    ("text_encoder/config.json", {"hidden_size": "x"}, "hidden_size"),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}, "num_train_timesteps is"),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": 0}, "num_train_timesteps is 0"),
    ("scheduler/scheduler_config.json", {"beta_start": "x"}, 'look at beta_start is "x"'),
    ("unet/config.json", {"sample_size": "x"}, "sample_size is 'x'"),
    ("vae/config.json", {"scaling_factor": None}, "scaling_factor is None"),
    ("vae/config.json", {"block_out_channels": []}, "vae"),
    ("tokenizer/tokenizer_config.json", {"model_max_length": 10**9}, "model_max_length is 1"),
    ("tokenizer/tokenizer_config.json", {"pad_token": None}, "pad_token is missing"),
    ("tokenizer/tokenizer_config.json", {"unk_token": ""}, "unk_token is '', which is not in"),
    ("tokenizer/tokenizer_config.json", {"pad_token": "new"}, "tokenizer has a token"),
    ("model_index.json", {"scheduler": True}, "model_index.json says of scheduler: true"),
    ("model_index.json", {"tokenizer": True}, "model_index.json says of tokenizer: true"),
    ("model_index.json", {"unet": ["transformers", "pipeline"]}, "needs transformers.pipeline"),
    ("model_index.json", {"vae": ["diffusers", "__version__"]}, "vae needs diffusers.__version__"),
    ("model_index.json", {"tokenizer": ["transformers", "GenerationConfig"]}, "is a Gen"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "fields", "message"), FIELDS)
def test_fields_that_cannot_be(copied, file, fields, message):
    """A field that crashes, fills or stops a library is one error, which names it."""
    folder = copied("sd15")
    edit(folder / file, **fields)
    assert message in refusal(folder, weights=False)


@pytest.mark.parametrize("file", ["tokenizer/tokenizer_config.json", "unet/config.json"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_files_without_end(copied, file, kind):
    """A pipe is not waited for, and a device does not fill the memory."""
    folder = copied("sd15")
    (folder / file).unlink()
    os.mkfifo(folder / file) if kind == "pipe" else (folder / file).symlink_to("/dev/zero")
    message = refusal(folder)
    assert message.startswith(f"cannot read FOLDER/{file}: this is no regular file; ") or (
        message == "FOLDER/unet holds no network: expected config.json and .safetensors files"
    )


def test_tokenizer_of_noise(copied):
    """What the tokenizers' library raises for a damaged file is an expected error."""
    folder = copied("sd15")
    edit(folder / "tokenizer" / "tokenizer.json", model={"type": "BPE", "vocab": 3})
    assert refusal(folder, weights=False).startswith("cannot load FOLDER/tokenizer: ")


def together(*functions):
    """Run functions in threads that start at once; return what each raised, or None."""
    barrier, raised = threading.Barrier(len(functions)), [None] * len(functions)

    def run(place):
        barrier.wait()
        try:
            functions[place]()
        except Exception as error:  # noqa: BLE001 - told by the test
            raised[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_building_stays_in_its_thread():
    """While a network is built without weights, layers of other threads have theirs."""
    layers = []
    with Unfilled():
        assert nn.Linear(3, 5).weight.is_meta
        assert together(lambda: layers.append(nn.Linear(3, 5))) == [None]
    layers.append(nn.Linear(3, 5))
    assert [layer.weight.is_meta for layer in layers] == [False, False]


@pytest.mark.slow
def test_opening_in_threads(demo_cache):
    """Two threads that open and draw at once, and a third one's own layers, end as if alone."""
    request, pictures, layers = Request("a red cat", steps=1, width=64, height=96), [], []

    def draw():
        session = opening("demo")
        pictures.append(session.generate([session.complete(request)], None)[0].images[0])

    def build():
        layers.extend(nn.Linear(2, 3) for _ in range(2000))

    assert together(draw, draw, build) == [None] * 3
    draw()
    assert len({picture.tobytes() for picture in pictures}) == 1
    assert not any(layer.weight.is_meta for layer in [*layers, nn.Linear(2, 3)])


def test_captures_in_threads(demo_cache, tmp_path):
    """Two captures, an analysis and layers, each in its own thread, end as each does alone."""
    given = {"steps": 1, "size": (64, 96), "guidance": 1.0, "device": "cpu"}
    layers = []

    def record(name):
        model = shutil.copytree(demo.checkpoint("sd15"), tmp_path / f"{name} model")
        capture("sd15", "a red cat", model=model, out=tmp_path / name, report=Report(), **given)
        return contents(tmp_path / name / "attention")

    def study(name):
        analyze(tmp_path / "alone", out=tmp_path / name, pictures=False, report=Report())
        return contents(tmp_path / name)

    def build():
        layers.extend(nn.Linear(2, 2) for _ in range(2000))

    recorded, studied = record("alone"), study("quiet")
    ends = together(lambda: record("left"), lambda: record("right"), lambda: study("busy"), build)
    assert ends == [None] * 4
    assert contents(tmp_path / "left" / "attention") == recorded
    assert contents(tmp_path / "right" / "attention") == recorded
    assert contents(tmp_path / "busy") == studied
    assert {layer.weight.device.type for layer in [*layers, nn.Linear(2, 2)]} == {"cpu"}


def test_a_pipeline_that_draws_already(opened):
    """A pipeline that draws in one thread is refused to another, which would change its steps."""
    session = opened("sd15")
    request = session.complete(Request("a red cat", steps=1, width=64, height=96))
    raised = []

    def interrupt(call):
        raised.extend(together(lambda: session.generate([request], None)))

    session.generate([request], interrupt)
    assert isinstance(raised[0], CaptureError)
    assert (
        str(raised[0]) == "this pipeline draws in another thread; load a pipeline for each thread"
    )


def test_a_pipeline_that_the_user_draws_with(opened):
    """A call of the pipeline in another thread leaves the steps of a capture as they are."""
    session = opened("sd15")
    request = session.complete(Request("a red cat", steps=3, width=64, height=96))
    told, expected, raised = [], [], []

    def interrupt(call):
        told.append(call)
        if len(told) == 2:
            raised.extend(together(lambda: session.pipe("a cat", num_inference_steps=5)))

    (alone,) = session.generate([request], expected.append)
    (output,) = session.generate([request], interrupt)
    assert str(raised[0]) == (
        "this pipeline draws in another thread; load a pipeline for each thread"
    )
    assert told == expected
    assert output.images[0].tobytes() == alone.images[0].tobytes()


def test_every_class_is_checked_against_the_signature(demo_cache):
    """The pipelines of diffusers still annotate what they take, on which the check relies."""
    for backend in ("sd15", "sdxl", "sd35"):
        for pipeline in load(find(backend)).pipelines:
            hints = pipeline_module.get_type_hints(pipeline.__init__)
            assert hints.keys() >= {"vae", "scheduler", "tokenizer", "text_encoder"}
