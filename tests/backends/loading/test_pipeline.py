"""Open a diffusers folder: every weight arrives or it is an error, and no network is touched."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionImg2ImgPipeline
from safetensors.torch import load_file, save_file
from torch import nn

from attn import demo
from attn.backends import find, load
from attn.backends.types import Placement
from attn.errors import CaptureError, ModelError
from attn.schema import Request

DENOISER = "transformer/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
SMALL = {"steps": 2, "width": 96, "height": 64}
MODELS = [("sdxl", "demo"), ("sd15", "demo"), ("sd35", "demo"), ("sd35", "demo:medium")]


def opening(folder, backend="sd35", **arguments):
    """Open a folder with the family's default options."""
    family = load(find(backend))
    return family.open(folder, family.Options(), Placement(**arguments))


def refusal(folder, **arguments):
    """Return what opening a folder is refused with, the folder written as FOLDER."""
    with pytest.raises(ModelError) as error:
        opening(folder, **arguments)
    return str(error.value).replace(str(folder), "FOLDER")


def edit(path, change):
    """Change the tensors of a safetensors file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def index(folder, **entries):
    """Change entries of model_index.json."""
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def picture(session, **request):
    """Generate one small picture without capture."""
    requested = Request("a red cat", negative="dog", **SMALL, **request)
    return np.asarray(session.generate([session.complete(requested)], None)[0].images[0])


DAMAGED = (
    "; they are of another model than its config.json, or damaged: save or download the folder "
    "again"
)
DROPPED = {
    DENOISER: "proj_out.bias",
    TEXT: "text_model.embeddings.position_embedding.weight",
    "vae/diffusion_pytorch_model.safetensors": "decoder.conv_out.bias",
    "text_encoder_3/model.safetensors": "encoder.final_layer_norm.weight",
}


@pytest.mark.parametrize(("file", "key"), DROPPED.items())
def test_missing_weight(copied, file, key):
    """A weight that is not in the file is an error, never a random number."""
    folder = copied("sd35")
    edit(folder / file, lambda tensors: tensors.pop(key))
    expected = f"the weights in FOLDER/{file.partition('/')[0]} do not fit "
    message = refusal(folder)
    assert message.startswith(expected)
    assert message.endswith(f": 1 missing ({key} …){DAMAGED}")


@pytest.mark.parametrize("file", DROPPED)
def test_unexpected_weight(copied, file):
    """A weight that the model has no place for is an error, never left out."""
    folder = copied("sd35")
    edit(folder / file, lambda tensors: tensors.update({"extra.weight": torch.zeros(3, 5)}))
    assert refusal(folder).endswith(f": 1 unexpected (extra.weight …){DAMAGED}")


@pytest.mark.parametrize(
    ("file", "key", "message"),
    [
        (
            DENOISER,
            "proj_out.bias",
            "the weights in FOLDER/transformer do not fit SD3Transformer2DModel: 1 of another "
            "shape (proj_out.bias: [7, 5], expected [64] …)",
        ),
        (
            TEXT,
            "text_model.embeddings.position_embedding.weight",
            "the weights in FOLDER/text_encoder do not fit CLIPTextModelWithProjection: 1 of "
            "another shape (text_model.embeddings.position_embedding.weight: [7, 5], "
            "expected [77, 32] …)",
        ),
    ],
)
def test_wrong_shape(copied, file, key, message):
    """A weight of another shape is an error that names it and both shapes."""
    folder = copied("sd35")
    edit(folder / file, lambda tensors: tensors.update({key: torch.zeros(7, 5)}))
    assert refusal(folder) == message + DAMAGED


def test_other_weights_entirely(copied):
    """Where nothing fits, the message counts, and names the first few."""
    folder = copied("sd35")
    shutil.copy(folder / "vae/diffusion_pytorch_model.safetensors", folder / DENOISER)
    assert re.search(r": \d\d+ missing \(\S+, \S+, \S+ …\); 180 unexpected \(", refusal(folder))


@pytest.mark.parametrize("file", [DENOISER, TEXT])
def test_pickled_weights(copied, file):
    """Weights in pickled files only are refused, and the file is not opened."""
    folder = copied("sd35")
    (folder / file).rename((folder / file).with_suffix(".bin"))
    assert refusal(folder) == (
        f"FOLDER/{file.partition('/')[0]} has its weights in pickled files only (.bin), which "
        "could run any code when opened; convert them to .safetensors with a tool that you trust"
    )


def test_no_weights(copied):
    """A part without any weights says so."""
    folder = copied("sd35")
    (folder / DENOISER).unlink()
    assert refusal(folder) == "FOLDER/transformer has no weights: expected a .safetensors file"


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("transformer", "diffusers.SD3Transformer2DModel"),
        ("text_encoder_2", "transformers.CLIPTextModelWithProjection"),
        ("tokenizer_3", "transformers.T5Tokenizer"),
        ("scheduler", "diffusers.FlowMatchEulerDiscreteScheduler"),
    ],
)
def test_missing_folder(copied, offline, part, kind):
    """A part that model_index.json lists but that is not there is named; the hub is not asked."""
    folder = copied("sd35")
    shutil.rmtree(folder / part)
    assert refusal(folder) == (
        f"FOLDER/{part} is missing: model_index.json lists it as {kind}; "
        "download or save the model again"
    )


def test_tokenizer_without_vocabulary(copied):
    """A tokenizer without its files is an error; the library would read every prompt as nothing."""
    folder = copied("sd35")
    (folder / "tokenizer_2" / "tokenizer.json").unlink()
    expected = "FOLDER/tokenizer_2 has no vocabulary: expected tokenizer.json, or vocab.json and "
    assert refusal(folder) == f"{expected}merges.txt"


def test_damaged_weights(copied):
    """A file that is no safetensors file is an error that says what it is instead."""
    folder = copied("sd35")
    (folder / DENOISER).write_bytes(b"garbage")
    assert refusal(folder).startswith(f"FOLDER/{DENOISER}: this is a text file, ")


def test_a_folder_of_another_architecture(tmp_path):
    """A folder of a language model that no backend reads is named as what it is."""
    (tmp_path / "config.json").write_text('{"model_type": "Dream"}')
    assert refusal(tmp_path).startswith(
        "FOLDER holds a model of type 'Dream', for which no backend"
    )


def test_no_index(tmp_path):
    """A folder without model_index.json is no diffusers folder."""
    assert refusal(tmp_path) == (
        "FOLDER is not a diffusers folder: it has no model_index.json; "
        "give the folder that the model was saved to"
    )
    (tmp_path / "model.safetensors").touch()
    assert refusal(tmp_path).endswith("; give the file itself: FOLDER/model.safetensors")
    (tmp_path / "clip_g.safetensors").touch()
    hint = "; give the file of the denoiser itself, one of clip_g.safetensors, model.safetensors"
    assert refusal(tmp_path).endswith(hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{oops", "FOLDER/model_index.json is not a JSON object: JSON is malformed"),
        ("[]", "FOLDER/model_index.json is not a JSON object: Expected `object`, got `array`."),
        ("{}", "FOLDER/model_index.json does not say which pipeline it is (no _class_name)"),
    ],
)
def test_invalid_index(tmp_path, text, message):
    """A model_index.json that cannot be understood is an error with its place."""
    (tmp_path / "model_index.json").write_text(text)
    assert refusal(tmp_path).startswith(message)


PIPELINES = {
    "sdxl": "StableDiffusionXLPipeline",
    "sd15": "StableDiffusionPipeline",
    "sd35": "StableDiffusion3Pipeline",
}
EXPECTED = PIPELINES | {
    "sdxl": "StableDiffusionXLPipeline or StableDiffusionXLInpaintPipeline",
    "sd15": "StableDiffusionPipeline or StableDiffusionInpaintPipeline",
}


@pytest.mark.parametrize(
    ("backend", "name"), [("sdxl", "sd35"), ("sd35", "sd15"), ("sd15", "sdxl")]
)
def test_another_family(demo_cache, backend, name):
    """A model of another family is refused with the backend that takes it."""
    folder = demo.checkpoint(name)
    message = f"this is a {PIPELINES[name]}, not a {EXPECTED[backend]}; use --backend {name}"
    assert refusal(folder, backend=backend) == f"FOLDER: {message}"
    with pytest.raises(ModelError, match=f"^{message}$"):
        opening(DiffusionPipeline.from_pretrained(folder, local_files_only=True), backend)


def test_loaded_pipelines_of_another_task(demo_cache):
    """A loaded pipeline that no backend runs is refused with how to record it all the same."""
    pipe = DiffusionPipeline.from_pretrained(demo.checkpoint("sd15"), local_files_only=True)
    from_picture = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    with pytest.raises(ModelError) as error:
        opening(from_picture, "sd15")
    assert str(error.value) == (
        f"this is a StableDiffusionImg2ImgPipeline, not a {EXPECTED['sd15']}; run it yourself "
        "to record it: with attn.tap(pipe.unet, '*.attn2') as tapped: pipe(…), then tapped.trace"
    )


def test_unknown_family(copied):
    """A pipeline that no backend takes is refused without a guess."""
    folder = copied("sd35")
    index(folder, _class_name="StableCascadeCombinedPipeline")
    assert (
        refusal(folder)
        == "FOLDER: this is a StableCascadeCombinedPipeline, not a StableDiffusion3Pipeline"
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (["my_code", "Net"], "transformer needs code of 'my_code.Net', which is not run"),
        (
            ["diffusers", "Net"],
            "transformer needs diffusers.Net, which this diffusers does not have",
        ),
        (
            [None, None],
            "FOLDER/model_index.json lists no transformer, which a StableDiffusion3Pipeline needs",
        ),
        (
            "mine",
            'model_index.json says of transformer: "mine"; expected [library, class]',
        ),
    ],
)
def test_entries(copied, entry, message):
    """Code of strangers is never imported, and an unusable entry is named."""
    folder = copied("sd35")
    index(folder, transformer=entry)
    assert refusal(folder) == message


def test_missing_entry(copied):
    """A part that is not even listed is an error, not a crash of the pipeline."""
    folder = copied("sd35")
    path = folder / "model_index.json"
    entries = json.loads(path.read_text())
    del entries["vae"]
    path.write_text(json.dumps(entries))
    assert refusal(folder).startswith("FOLDER/model_index.json lists no vae, which ")


def test_settings_of_the_index(copied):
    """Plain settings in model_index.json reach the pipeline."""
    folder = copied("sdxl")
    index(folder, force_zeros_for_empty_prompt=False)
    assert opening(folder, "sdxl").pipe.config.force_zeros_for_empty_prompt is False


def rename(folder, variant):
    """Put a variant into the name of every file of weights."""
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_name(f"{path.stem}.{variant}.safetensors"))


def test_variant(copied):
    """Where only fp16 files are there, they are taken."""
    folder = copied("sd35")
    plain = picture(opening(folder))
    rename(folder, "fp16")
    assert np.array_equal(picture(opening(folder)), plain)


def test_plain_weights_before_variants(copied):
    """Where plain files are there too, variants are left alone."""
    folder = copied("sd35")
    plain = picture(opening(folder))
    (folder / DENOISER).with_suffix(".non_ema.safetensors").write_bytes(b"not read")
    assert np.array_equal(picture(opening(folder)), plain)


def test_shards(copied):
    """Weights in several files are put together."""
    folder = copied("sd35")
    plain = opening(folder)
    shutil.rmtree(folder / "transformer")
    plain.pipe.transformer.save_pretrained(folder / "transformer", max_shard_size="500KB")
    assert len(list((folder / "transformer").glob("*-of-*.safetensors"))) > 1
    assert np.array_equal(picture(opening(folder)), picture(plain))


@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_same_as_diffusers(opened, backend, model):
    """The picture is, bit for bit, that of the library's own pipeline from the same folder."""
    session = opened(backend, model)
    folder = demo.checkpoint(model.replace("demo", backend))
    pipe = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    own = pipe(
        "a red cat",
        negative_prompt="dog",
        num_inference_steps=2,
        guidance_scale=session.default_guidance,
        width=96,
        height=64,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    assert np.array_equal(picture(session, seed=3), np.asarray(own))


@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_no_network(demo_cache, offline, backend, model):
    """A model on this machine is opened and run without one attempt to reach the network."""
    folder = demo.checkpoint(model.replace("demo", backend))
    assert picture(opening(folder, backend)).shape == (64, 96, 3)


@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_eval_mode(opened, backend, model):
    """Every part runs without dropout."""
    parts = opened(backend, model).pipe.components.values()
    modules = [part for part in parts if isinstance(part, nn.Module)]
    assert len(modules) >= 3
    assert not any(module.training for part in modules for module in part.modules())


def test_eval_mode_of_a_given_pipeline(demo_cache):
    """Also of a pipeline that was loaded elsewhere and left in training mode."""
    pipe = DiffusionPipeline.from_pretrained(demo.checkpoint("sd15"), local_files_only=True)
    pipe.unet.train()
    pipe.text_encoder.train()
    opening(pipe, "sd15")
    assert not pipe.unet.training
    assert not pipe.text_encoder.training


@pytest.mark.parametrize(("asked", "got"), [("auto", "float32"), ("bfloat16", "bfloat16")])
def test_dtype(demo_cache, asked, got):
    """All weights have the dtype that was asked for; on the CPU float32 by default."""
    session = opening("demo", device="cpu", dtype=asked)
    parts = [part for part in session.pipe.components.values() if isinstance(part, nn.Module)]
    dtypes = {parameter.dtype for part in parts for parameter in part.parameters()}
    assert dtypes == {getattr(torch, got)}
    assert session.info.dtype == got
    assert picture(session).shape == (64, 96, 3)


@pytest.mark.parametrize(("backend", "model"), MODELS)
def test_without_weights(copied, opened, backend, model):
    """To plan, no file of weights is read: sizes, layers and tokens come from configurations."""
    folder = copied(model.replace("demo", backend))
    for path in folder.rglob("*.safetensors"):
        path.write_bytes(b"garbage")
    session, whole = opening(folder, backend, weights=False), opened(backend, model)
    request = session.complete(Request("a red cat", **SMALL))
    assert request == whole.complete(Request("a red cat", **SMALL))
    assert session.layers(request) == whole.layers(request)
    assert session.sequence(request, "cond") == whole.sequence(request, "cond")
    assert session.info.parameters == whole.info.parameters
    assert session.info.identity() == {}


def test_without_weights_nothing_is_generated(demo_cache):
    """A session that was opened to plan refuses to generate."""
    with pytest.raises(CaptureError) as error:
        opening("demo", weights=False).check()
    expected = "this session was opened without weights; it can plan, not generate"
    assert str(error.value) == expected


def test_own_path_in_the_manifest(demo_cache):
    """The model's source is what was asked for, also of a pipeline that was loaded elsewhere."""
    folder = demo.checkpoint("sd15")
    assert opening(Path(folder), "sd15").info.source == str(folder)
    pipe = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert opening(pipe, "sd15").info.source == str(folder)
