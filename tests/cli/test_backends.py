"""`attn backends`."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace

import pytest
from typer.testing import CliRunner

from attn.backends import Backend, BackendSpec
from attn.backends.plugins.registry import Failure, Installed, Registered
from attn.cli import build
from tests.helpers.mutations import JOINT, SMALL, checkpoint, mutations


@dataclass(frozen=True)
class ToyOptions:
    vae: str | None = field(default=None, metadata={"help": "another decoder"})
    rows: int = field(default=3, metadata={"help": "rows of shapes"})


class Toy(Backend):
    Options = ToyOptions
    example_prompt = "a cat"

    def open(self, source, options, **rest):
        raise NotImplementedError


@dataclass(frozen=True)
class NoOptions:
    pass


class Plain(Toy):
    Options = NoOptions


BROKEN = Failure("bad", "attn-bad", "import", "SystemExit: 3", "uninstall attn-bad")
TOY = Registered(BackendSpec("toy", "A toy", Toy, ("t", "tiny")), "toy", "attn-toy", "1.2")
PLAIN = Registered(BackendSpec("plain", "Without options", Plain), "toy", "attn-toy", "1.2")


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Put two backends and a broken plugin in place of what is installed here."""
    result = Installed((PLAIN, TOY), (BROKEN,))
    monkeypatch.setattr("attn.backends.plugins.registry.installed", lambda: result)


def run(*arguments):
    """Return exit code, stdout and stderr of a command."""
    result = CliRunner().invoke(build(), arguments)
    return result.exit_code, result.stdout, result.stderr


def test_list():
    """The list shows what can be used, from where, and what could not be loaded and why."""
    expected = """\
BACKEND  ALIASES  SUMMARY          FROM
plain             Without options  attn-toy 1.2
toy      t, tiny  A toy            attn-toy 1.2

not usable:
  attn-bad (plugin 'bad'): import: SystemExit: 3; uninstall attn-bad
"""
    assert run("backends") == (0, expected, "")


def test_list_without_failures(monkeypatch):
    """Where every plugin loads, nothing is said of failures."""
    monkeypatch.setattr("attn.backends.plugins.registry.installed", lambda: Installed((PLAIN,), ()))
    expected = """\
BACKEND  ALIASES  SUMMARY          FROM
plain             Without options  attn-toy 1.2
"""
    assert run("backends") == (0, expected, "")


def test_plugins_with_threads(monkeypatch):
    """A plugin that leaves a thread running is named, since it runs beside every command."""
    threaded = Installed((replace(TOY, threads=1),), ())
    monkeypatch.setattr("attn.backends.plugins.registry.installed", lambda: threaded)
    assert run("backends")[1].splitlines()[-1] == (
        "  attn-toy 1.2: leaves a thread running beside every command; its author should start it "
        "in BackendSpec.load"
    )


def test_list_of_slow_plugins(monkeypatch):
    """A plugin whose import takes long is named, once, however many backends it has."""
    slow = [replace(item, seconds=0.83) for item in (PLAIN, TOY)]
    monkeypatch.setattr(
        "attn.backends.plugins.registry.installed", lambda: Installed(tuple(slow), ())
    )
    remark = "attn-toy 1.2: 0.8 s; its author should move imports and work into BackendSpec.load"
    assert run("backends")[1].splitlines()[-3:] == ["", "slow to load:", f"  {remark}"]
    assert json.loads(run("backends", "--json")[1])["warnings"] == [remark]


def test_list_with_remarks(monkeypatch):
    """What is disabled but not there stands at the end, and among the warnings of --json."""
    result = Installed((PLAIN,), (), ("ATTN_DISABLE_PLUGINS: no plugin 'toi' is installed.",))
    monkeypatch.setattr("attn.backends.plugins.registry.installed", lambda: result)
    assert run("backends")[1].splitlines()[-2:] == ["", *result.remarks]
    assert json.loads(run("backends", "--json")[1])["warnings"] == list(result.remarks)


@pytest.mark.parametrize("name", ["toy", "tiny"])
def test_details(name):
    """One backend, by name or alias, is shown with every option that `--set` takes."""
    expected = """\
backend  toy
aliases  t, tiny
summary  A toy
from     attn-toy 1.2

OPTION  TYPE         DEFAULT  MEANING
vae     str or none  none     another decoder
rows    int          3        rows of shapes

Set one with --set OPTION=VALUE.
"""
    assert run("backends", name) == (0, expected, "importing toy ...\n")


def test_details_without_options():
    """A backend without options says so."""
    expected = """\
backend  plain
aliases  none
summary  Without options
from     attn-toy 1.2
options  none
"""
    assert run("backends", "plain") == (0, expected, "importing plain ...\n")


def test_json_list():
    """With --json stdout is one object, failures included."""
    code, stdout, _ = run("backends", "--json")
    assert code == 0
    toy = {"distribution": "attn-toy", "version": "1.2"}
    assert json.loads(stdout) == {
        "command": "backends",
        "status": "done",
        "path": None,
        "warnings": ["attn-bad (plugin 'bad'): import: SystemExit: 3; uninstall attn-bad"],
        "backends": [
            {"name": "plain", "aliases": [], "summary": "Without options", **toy},
            {"name": "toy", "aliases": ["t", "tiny"], "summary": "A toy", **toy},
        ],
        "failures": [
            {
                "plugin": "bad",
                "distribution": "attn-bad",
                "stage": "import",
                "cause": "SystemExit: 3",
                "fix": "uninstall attn-bad",
                "names": [],
            }
        ],
    }


def test_json_details():
    """With --json one backend comes with its options as data."""
    _, stdout, _ = run("backends", "toy", "--json")
    (toy,) = json.loads(stdout)["backends"]
    assert toy["name"] == "toy"
    assert toy["options"] == [
        {"name": "vae", "type": "str or none", "default": "none", "help": "another decoder"},
        {"name": "rows", "type": "int", "default": "3", "help": "rows of shapes"},
    ]


def test_unknown_name():
    """A mistyped name is a usage error with a suggestion, and prints nothing on stdout."""
    message = """\
Error: no backend 'ty'. Did you mean 'toy'? Installed: plain, t, tiny, toy. \
What these have is not known, because they cannot be used:
  attn-bad (plugin 'bad'): import: SystemExit: 3; uninstall attn-bad
"""
    assert run("backends", "ty") == (2, "", message)


SDXL = Registered(BackendSpec("sdxl", "XL", Toy, ("sdxl-lora",)), "builtin", "attn", "1.2")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A working folder with two checkpoints, and the backend `sdxl`."""
    monkeypatch.setattr(
        "attn.backends.plugins.registry.installed", lambda: Installed((SDXL, TOY), ())
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xl.safetensors").write_bytes(checkpoint(SMALL))
    (tmp_path / "sd3.safetensors").write_bytes(checkpoint(JOINT, "BF16"))
    return tmp_path


@pytest.mark.parametrize("name", ["sdxl", "sdxl-lora", None])
def test_model(folder, name):
    """A file is described: what it is, what is in it, what is missing; nothing is imported."""
    expected = """\
model       xl.safetensors
this is     a model like Stable Diffusion XL, of 5 tensors and width 8
backend     sdxl
layout      LDM
prediction  v

PART    PREFIX                  TENSORS  PARAMETERS  DTYPE
unet    model.diffusion_model.  5        701         F16
vae     first_stage_model.      1        108         F16
clip_l  not here
clip_g  not here

unused: 1 (v_pred)

unknown: 1 (scale)
"""
    assert run("backends", *filter(None, [name]), "--model", "xl.safetensors") == (0, expected, "")


def test_model_of_another_family(folder):
    """A file of another family says which backend takes it; T5 may be missing."""
    expected = """\
model    sd3.safetensors
this is  a model like Stable Diffusion 3.5, of 1 blocks and width 4
backend  sd35, not sdxl: use --backend sd35
layout   SAI

PART    PREFIX                             TENSORS  PARAMETERS  DTYPE
dit     none                               4        306         BF16
clip_l  text_encoders.clip_l.transformer.  1        33          BF16
vae     not here
clip_g  not here
t5xxl   not here; the model runs without
"""
    assert run("backends", "sdxl", "-m", "sd3.safetensors") == (0, expected, "")


def test_model_that_no_backend_takes(folder):
    """A file that is known and refused says why, and what to give instead."""
    name = "lora_unet_mid_block.lora_down.weight"
    (folder / "lora.safetensors").write_bytes(checkpoint({name: (4, 8)}))
    expected = """\
model    lora.safetensors
this is  a LoRA or LyCORIS file
backend  none by itself
layout   unknown

no parts of a model

unknown: 1 (lora_unet_mid_block.lora_down.weight)

Note: it holds changes to a model, not a model; give the model that it was made for as --model.
"""
    assert run("backends", "-m", "lora.safetensors") == (0, expected, "")


def test_model_in_a_folder(folder):
    """A diffusers folder is described by its pipeline and parts, shards of a part together."""
    index = {"_class_name": "StableDiffusionXLPipeline", "unet": ["diffusers", "UNet2DModel"]}
    index |= {"vae": ["diffusers", "AutoencoderKL"], "image_encoder": [None, None], "x": True}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "unet").mkdir()
    for shard, name in {"1-of-2": "a", "2-of-2": "b"}.items():
        content = checkpoint({name: (3, 7), "conv_in.bias": (5,)}, "F32")
        (folder / "unet" / f"diffusion_pytorch_model-{shard}.safetensors").write_bytes(content)
    expected = """\
model    .
this is  a diffusers folder of a StableDiffusionXLPipeline
backend  sdxl, not toy: use --backend sdxl
layout   diffusers

PART  CLASS        TENSORS  PARAMETERS  DTYPE
unet  UNet2DModel  3        47          F32
vae   not here
"""
    assert run("backends", "toy", "-m", ".") == (0, expected, "")


def test_scribble_diffusion_in_a_folder(folder):
    """A checkpoint of ScribbleDiffusion is known by its files, with or without its base model."""
    (folder / "unet.safetensors").write_bytes(checkpoint({"conv_in.weight": (3, 7)}, "F32"))
    (folder / "sketch_encoder.safetensors").write_bytes(checkpoint({"to_tokens.0.bias": (5,)}))
    expected = """\
model    .
this is  a checkpoint of ScribbleDiffusion, which reads a text and a drawing
backend  scribble
layout   ScribbleDiffusion

PART                  FILE OR CLASS               TENSORS  PARAMETERS  DTYPE
unet                  unet.safetensors            1        21          F32
sketch_encoder        sketch_encoder.safetensors  1        5           F16
sketch_text_combiner  not here
"""
    advice = "it lacks the Stable Diffusion 1.x that it was made of: --set base=FOLDER names one"
    assert run("backends", "-m", ".") == (0, f"{expected}\nNote: {advice}.\n", "")
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DModel"]}
    index |= {"vae": ["diffusers", "AutoencoderKL"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert run("backends", "-m", ".") == (0, f"{expected}vae                   not here\n", "")


def test_language_model_in_a_folder(folder):
    """A folder of MMaDA or LLaDA is known by its configuration, its shards counted together."""
    config = {"d_model": 48, "n_heads": 3, "n_layers": 5, "architectures": ["LLaDAModelLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    for shard, name in {"1": "wte", "2": "ff_out"}.items():
        content = checkpoint({f"model.transformer.{name}.weight": (3, 7)}, "F32")
        (folder / "llm").mkdir(exist_ok=True)
        (folder / "llm" / f"model-{shard}.safetensors").write_bytes(content)
    (folder / "config.json").rename(folder / "llm/config.json")
    expected = """\
model    llm
this is  a language model of 5 layers of 3 heads, width 48
backend  mmada, not toy: use --backend mmada
layout   MMaDA and LLaDA

PART  CLASS         TENSORS  PARAMETERS  DTYPE
llm   LLaDAModelLM  2        42          F32

Note: it has no tokenizer.json: --set tokenizer=DIR names one.
"""
    assert run("backends", "toy", "-m", "llm") == (0, expected, "")


def test_shard_of_a_language_model(folder):
    """One shard alone is named, and where it belongs."""
    content = checkpoint({"model.transformer.blocks.0.q_proj.weight": (3, 7)}, "F32")
    (folder / "part.safetensors").write_bytes(content)
    code, stdout, _ = run("backends", "-m", "part.safetensors")
    assert code == 0
    assert "weights of a language model in the layout of MMaDA and LLaDA" in stdout
    assert "give the folder that it lies in, with its config.json, to --backend mmada" in stdout


def test_model_as_json(folder):
    """With --json the same facts come as data."""
    code, stdout, _ = run("backends", "sdxl", "-m", "xl.safetensors", "--json")
    answer = json.loads(stdout)
    assert (code, answer["path"]) == (0, "xl.safetensors")
    assert [item["name"] for item in answer["backends"]] == ["sdxl"]
    assert answer["model"] == {
        "path": "xl.safetensors",
        "kind": "file",
        "title": "a model like Stable Diffusion XL, of 5 tensors and width 8",
        "family": "sdxl",
        "layout": "LDM",
        "config": None,
        "prediction": "v",
        "zero_snr": False,
        "parts": [
            {
                "part": "unet",
                "prefix": "model.diffusion_model.",
                "tensors": 5,
                "parameters": 701,
                "dtypes": ["F16"],
            },
            {
                "part": "vae",
                "prefix": "first_stage_model.",
                "tensors": 1,
                "parameters": 108,
                "dtypes": ["F16"],
            },
        ],
        "missing": ["clip_l", "clip_g"],
        "unused": ["v_pred"],
        "unknown": ["scale"],
        "advice": None,
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.safetensors", "model=none.safetensors: there is no such file or folder"),
        (
            "old.ckpt",
            "old.ckpt is a pickled checkpoint, which could run any code when opened; "
            "convert it to .safetensors with a tool that you trust",
        ),
        ("page.safetensors", "page.safetensors: this is an HTML page saved under this name, "),
        (".", ". is not a diffusers folder: it has no model_index.json; "),
    ],
)
def test_model_that_cannot_be_read(folder, name, message):
    """What cannot be read is one message and exit code 1."""
    (folder / "old.ckpt").touch()
    (folder / "page.safetensors").write_text("<!DOCTYPE html>")
    code, stdout, stderr = run("backends", "sdxl", "-m", name)
    assert (code, stdout, stderr.count("\n")) == (1, "", 1)
    assert stderr.startswith(f"Error: {message}")


def test_unknown_name_beside_a_model(folder):
    """A mistyped backend is wrong usage, also where a file is asked about."""
    assert run("backends", "sdx", "-m", "xl.safetensors")[0] == 2


def test_mutated_models(folder):
    """Broken files end in one message and exit code 1, the others in a description."""
    codes = []
    for _, content in mutations(60, seed=1):
        (folder / "broken.safetensors").write_bytes(content)
        code, stdout, stderr = run("backends", "sdxl", "-m", "broken.safetensors")
        codes.append(code)
        if code:
            assert (code, stdout, stderr.count("\n")) == (1, "", 1)
            assert stderr.startswith("Error: broken.safetensors: ")
        else:
            assert stdout.startswith("model  ")
    assert 30 < sum(codes) < 55


def test_looking_into_a_file_is_light(folder):
    """No heavy library is imported to say what a file is."""
    heavy = ("torch", "diffusers", "transformers", "numpy", "safetensors")
    code = (
        "import sys\nfrom attn.cli import main\ntry:\n    main()\nexcept SystemExit:\n"
        f"    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "backends", "sdxl", "-m", "xl.safetensors"],
        env=os.environ | {"ATTN_DISABLE_PLUGINS": "all"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("model  ")
    assert done.stderr == "[]\n"
