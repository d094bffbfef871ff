"""Krea 2, in its published configuration and as a tiny model in its real format."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import attn
from attn.demo.untrained import krea2 as untrained
from attn.engine.plan import Keep, make_plan
from attn.errors import RequestError
from attn.lora.base.fit import fit
from attn.lora.base.weights import open_base
from attn.lora.reader import read
from attn.schema import Request
from tests.helpers.models import full_size, layouts, lora_spellings
from tests.helpers.models.every_option import capture_everything
from tests.helpers.models.opening import differing, lay_out, opening, refusal
from tests.helpers.models.written import check_refused, write_files
from tests.helpers.toy_attention import record_session
from tests.helpers.toy_sessions import remarks, shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
SMALL = {"steps": 2, "width": 96, "height": 64}
UNUSUAL = "猫 🐈, red-hot cat’s… cat cat!"
ENDED = ["<|im_end|>", "\\n", "<|im_start|>", "assistant", "\\n"]
BLOCK, HEADS, KEYED = "transformer_blocks.1.attn", untrained.HEADS, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as diffusers saves it."""
    target = tmp_path_factory.mktemp("krea2") / "model"
    untrained.build(torch.float32).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def published(folder, tmp_path_factory):
    """Krea 2 Turbo in full size, without weights."""
    target = tmp_path_factory.mktemp("published") / "model"
    lay_out(target, "krea2", folder / "tokenizer")
    return opening("krea2", target, weights=False)


def session(**options):
    """Return the tiny model."""
    return shared_session("krea2", **options)


def sequence(prompt, branch="cond", **more):
    """Return what the tiny model reads."""
    return session().sequence(session().complete(Request(prompt, **SMALL | more)), branch)


def test_full_size(published):
    """Parameters, layers, heads, gates, sequence and defaults are those of the published model."""
    request = published.complete(Request("a red cat", width=1344, height=768))
    refiners, blocks = (published.layers(request)[part] for part in (slice(2), slice(2, None)))
    assert published.info.parameters == 12_820_073_036
    assert [layer.path for layer in (*refiners, *blocks)] == [
        *(f"text_fusion.refiner_blocks.{number}.attn" for number in range(2)),
        *(f"transformer_blocks.{number}.attn" for number in range(28)),
    ]
    assert {(layer.num_heads, layer.head_dim, layer.kind) for layer in refiners} == {
        (20, 128, "self")
    }
    assert {(layer.num_heads, layer.head_dim, layer.kind) for layer in blocks} == {
        (48, 128, "joint")
    }
    assert [len(layer.gates) for layer in (*refiners, *blocks)] == [1] * 2 + [2] * 28
    text = [
        ("qwen3vl", 0, 3, None),
        ("text_padding", 3, 507, None),
        ("template_end", 507, 512, None),
    ]
    image = ("image", 512, 512 + 48 * 84, (48, 84))
    for layer, expected in ((refiners[0], text), (blocks[-1], [*text, image])):
        assert [(key.name, key.start, key.stop, key.grid) for key in layer.keys] == expected
    assert (request.steps, request.guidance, published.branches(request)) == (8, 0.0, ("cond",))
    assert published.complete(Request("a")).width == 1024


def test_planned_bytes(published):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    pixels, text, columns = 48 * 84, 3 + 5, 3 + 1  # a, red, cat and the template's rest
    request = published.complete(Request("a red cat", steps=7, width=1344, height=768))
    sequences = {"cond": published.sequence(request, "cond")}
    plan = make_plan(published.layers(request), sequences, Keep(), samples=1, steps=7, dtype="BF16")
    gates = 4 * 4 * (2 * 28 * 48 + 2 * 20)
    item = 2 * pixels * columns + 4 * (48 * text + 48 * 4 + 3 * text)
    mean = 28 * 4 * pixels * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (7 * (28 * item + gates) + mean) <= 1.02


# texts


def test_tokens():
    """Padding stands between the prompt and what ends its turn; the instruction is not there."""
    reading = sequence("user: a red cat, think", guidance=0.0)
    assert [(part.name, part.start, part.stop) for part in reading.segments] == [
        ("qwen3vl", 0, 7),
        ("text_padding", 7, 507),
        ("template_end", 507, 512),
        ("image", 512, 512 + 4 * 6),
    ]
    prompt, end = (
        [token for token in reading.tokens if token.segment == name]
        for name in ("qwen3vl", "template_end")
    )
    assert [token.text for token in prompt] == ["user", ":", "a", "red", "cat", ",", "think"]
    assert [token.word for token in prompt] == [0, None, 1, 2, 3, None, 4]
    assert [token.text for token in end] == ENDED
    assert {token.word for token in end} == {None}


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        (UNUSUAL, 5),
        ("cat cat cat", 3),
        ("cat " * 300, 300),
        ("{} {red}", 1),
        ("<|im_end|> cat", 1),
        ("", 0),
    ],
)
def test_words(prompt, count):
    """Words lie where they were typed, whatever they are, and the encoder reads just them."""
    request = session().complete(Request(prompt, **SMALL | {"steps": 1, "guidance": 0.0}))
    reading = session().sequence(request, "cond")
    words = {token.word for token in reading.tokens if token.word is not None}
    assert (len(words), reading.truncated) == (count, {})
    for token in reading.tokens:
        if token.is_content and token.text.isascii():
            assert prompt[token.start : token.stop].strip() in (token.text, "")
    (output,) = session().generate([request], lambda call: None)
    assert output.unknown == frozenset()


def test_too_long_a_prompt():
    """What the encoder did not read is told; what ends the turn is read however long it is."""
    reading = sequence("cat " * 600, guidance=0.0)
    assert reading.truncated == {"qwen3vl": ("cat " * 93).strip()}
    assert [(part.name, part.length) for part in reading.segments[:-1]] == [
        ("qwen3vl", 507),
        ("template_end", 5),
    ]
    assert [token.text for token in reading.tokens[-5:]] == ENDED
    request = session().complete(Request("cat " * 600, **SMALL | {"steps": 1, "guidance": 0.0}))
    (output,) = session().generate([request], lambda call: None)
    assert output.unknown == frozenset()


def test_length_of_the_text_changes_nothing():
    """Padding is masked and has no position, so that less of it gives the same attention."""
    masses = []
    for tokens in (29, 53):
        model = session(qwen3vl_tokens=tokens)
        request = model.complete(Request("a red cat", **SMALL))
        masses.append(record_step(model, request)["2/mass.image.text"])
    np.testing.assert_allclose(*masses, rtol=1e-4)


@pytest.mark.parametrize("tokens", [15, 513])
def test_impossible_option(tokens):
    """A length that has no room for a prompt, or that the model was not trained with."""
    with pytest.raises(RequestError) as error:
        session(qwen3vl_tokens=tokens).complete(Request("a cat"))
    assert str(error.value) == f"qwen3vl_tokens must be 16 to 512; got {tokens}"


# guidance


def test_guidance():
    """It begins above 0, not 1, and runs a forward for each row; a negative prompt is read."""
    request = session().complete(Request("a red cat", negative="a", guidance=0.5, **SMALL))
    assert session().branches(request) == ("cond", "uncond")
    calls = []
    session().generate([request], calls.append)
    assert [call.rows for call in calls[:2]] == [(("cond", 0),), (("uncond", 0),)]
    uncond = session().sequence(request, "uncond").tokens
    assert [token.text for token in uncond[:4]] == ["a", "<none>", "<none>", "<|im_end|>"]
    off = session().complete(Request("a", negative="b", guidance=0.0, **SMALL))
    assert session().branches(off) == ("cond",)
    assert remarks(session(), Request("a", negative="b", guidance=0.0, **SMALL)) == (
        "guidance is off, so the negative prompt is not read",
    )


def test_defaults_of_raw():
    """The release that is not distilled draws in more steps, with guidance."""
    request = session().complete(Request("a"))
    assert (request.steps, request.guidance, request.width) == (28, 4.5, 1024)


# gates


def record_step(model, *requests, branch="cond"):
    """Record the last step of a batch; return the tensors of the last request."""
    _, tensors, _ = record_session(model, requests, Keep(branches=(branch,)))
    last = tensors[len(requests) - 1, 1]
    return {name: np.asarray(value)[0, 0] for name, value in last.items()}


def expected_gates(model, request, path, branch):
    """Return what the gate of a layer says in the last step, from its input, in float64."""
    calls, seen = [], {}

    def look(module, args):
        weight = module.weight.detach().double().numpy()
        logits = args[0][-1].double().numpy() @ weight.T
        seen[calls[-1].rows[-1][0]] = 1 / (1 + np.exp(-logits))

    handle = model.model.get_submodule(f"{path}.to_gate").register_forward_pre_hook(look)
    try:
        model.generate([request], calls.append)
    finally:
        handle.remove()
    return seen[branch]


def statistics(values, heads):
    """Return what is kept of values (query, head · channel), in float64."""
    by_head = values.reshape(len(values), heads, -1).swapaxes(0, 1).reshape(heads, -1)
    shares = (by_head < 0.5).mean(1), (by_head < 0.1).mean(1)
    return np.stack([by_head.mean(1), by_head.std(1), *shares], 1)


@pytest.mark.parametrize("branch", ["cond", "uncond"])
def test_gates(branch):
    """They are the sigmoids of what the module returns, of image and text without its padding."""
    model = session(qwen3vl_tokens=29)
    request = model.complete(Request("a red cat", negative="a", **SMALL))
    kept = record_step(model, request, branch=branch)
    values = expected_gates(model, request, BLOCK, branch)
    length = {"cond": 3, "uncond": 1}[branch]
    parts = {"image": values[29:], "text": np.concatenate([values[:length], values[24:29]])}
    for name, part in parts.items():
        wanted = statistics(part, HEADS)
        np.testing.assert_allclose(kept[f"2/gate.{name}"], wanted, rtol=0, atol=1e-6)
    refiner = expected_gates(model, request, "text_fusion.refiner_blocks.0.attn", branch)
    wanted = statistics(np.concatenate([refiner[:length], refiner[24:]]), 5)
    np.testing.assert_allclose(kept["0/gate.text"], wanted, rtol=0, atol=1e-6)


def test_gates_in_a_batch():
    """In a batch with a longer text the gates of a prompt are those that it has alone."""
    model = session(qwen3vl_tokens=29)
    long, short = (
        model.complete(Request(prompt, seed=seed, **SMALL))
        for prompt, seed in (("a red cat on a chair", 3), ("a cat", 5))
    )
    alone, beside = record_step(model, short), record_step(model, long, short)
    for name in [name for name in alone if "/gate." in name]:
        np.testing.assert_allclose(beside[name], alone[name], rtol=0, atol=1e-5)


def test_gates_that_a_lora_changes(tmp_path):
    """What is told of a gate is what ran: with the LoRA that is on it."""
    generator = torch.Generator().manual_seed(0)
    down, up = (torch.randn(*shape, generator=generator) for shape in ((5, 48), (48, 5)))
    name = f"transformer.{BLOCK}.to_gate.lora_{{}}.weight"
    path = tmp_path / "gate.safetensors"
    save_file({name.format("A"): down, name.format("B"): up}, path)
    kept = {}
    for lora in ((), (f"{path}:0.7",)):
        result = attn.capture(
            *("krea2", "a red cat"), out=tmp_path / f"out{len(kept)}", size=(64, 96), steps=1,
            lora=lora, settings={"qwen3vl_tokens": "29"}, guidance=0.0
        )  # fmt: skip
        kept[bool(lora)] = attn.open(result.path).gates(2, "image").values.squeeze()
    assert abs(kept[True][:, 1] - kept[False][:, 1]).max() > 0.1


def test_factors_have_the_key_heads_of_the_model(tmp_path):
    """Copies of keys that the kernel is given are not kept, and give the same probabilities."""
    options = {"size": (64, 96), "steps": 1, "guidance": 0.0, "settings": {"qwen3vl_tokens": "29"}}
    kept = {
        keep: attn.open(
            attn.capture(
                "krea2", "a red cat", keep=keep, keys="all", out=tmp_path / keep, **options
            ).path
        )
        for keep in ("factors", "heads")
    }
    name = f"{KEYED}/key"
    with safe_open(next((tmp_path / "factors").rglob("step-0000.safetensors")), "np") as shard:
        assert shard.get_tensor(name).shape == (1, 1, untrained.KEY_HEADS, 29 + 24, 8)
    computed, measured = (trace.probs(KEYED, 0, "image.text").values for trace in kept.values())
    np.testing.assert_allclose(computed, measured, atol=1e-3)


# files


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory):
    """The tiny model in files."""
    pipe, target = untrained.build(torch.float32), tmp_path_factory.mktemp("files")
    encoder = layouts.qwen3vl(pipe.text_encoder)
    return write_files(
        *(folder, target, layouts.krea2(pipe), layouts.copied(pipe.transformer)),
        vae=layouts.copied(pipe.vae),
        qwen3vl=encoder,
    )


@pytest.mark.parametrize("layout", ["one file", "parts", "folder and file"])
def test_same_from_every_layout(files, layout):
    """Every weight is bit for bit that of the diffusers folder."""
    assert differing("krea2", files["folder"], files[layout]) == []


def test_norms_stay_wide(folder):
    """In bfloat16 the model is that of the library, whose norms are in float32."""
    from diffusers import Krea2Transformer2DModel

    theirs = Krea2Transformer2DModel.from_pretrained(
        folder / "transformer", torch_dtype=torch.bfloat16
    ).state_dict()
    for model in (folder, None):
        ours = opening("krea2", model, dtype="bfloat16").model.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
        assert all(ours[name].dtype == tensor.dtype for name, tensor in theirs.items())
    assert ours[f"{BLOCK}.norm_q.weight"].dtype == torch.float32


def test_refused_files(files, tmp_path):
    """A part alone, quantised weights and another family are refused, with what to do."""
    check_refused("krea2", "Krea 2", files, untrained.transformer(), tmp_path)


@pytest.mark.parametrize("layers", [[0, 2], [0, 2, 5], [2, True, 3], "2"])
def test_wrong_layers_of_the_text_encoder(folder, tmp_path, layers):
    """Layers that the text encoder does not have, or others than the transformer fuses."""
    target = shutil.copytree(folder, tmp_path / "model")
    index = json.loads((target / "model_index.json").read_text())
    (target / "model_index.json").write_text(
        json.dumps(index | {"text_encoder_select_layers": layers})
    )
    assert "text_encoder_select_layers" in refusal("krea2", target)


def test_release(folder, published):
    """A folder says which release it is; an option says it against that, and for files."""
    assert (opening("krea2", folder).warnings, published.warnings) == ((), ())
    turbo = opening("krea2", folder, release="turbo")
    request = turbo.complete(Request("a"))
    assert (request.steps, request.guidance) == (8, 0.0)


def test_file_that_says_no_release(folder, tmp_path):
    """A file of the published size is drawn as Turbo, which is said unless it is asked for."""
    state = full_size.shapes(layouts.krea2(full_size.pipeline("krea2")))
    path = full_size.write(state, tmp_path / "krea2.safetensors")
    settings = {"weights": False, "tokenizers": str(folder)}
    told = opening("krea2", path, **settings)
    assert ["--set release=raw" in warning for warning in told.warnings] == [True]
    raw = opening("krea2", path, release="raw", **settings)
    assert raw.warnings == ()
    assert [model.complete(Request("a")).steps for model in (told, raw)] == [8, 28]


# LoRAs


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """One LoRA in every spelling: key, gate and feed-forward of a block, and the text's fusion."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "transformer_blocks.1.attn.to_k": (16, 48),
        "transformer_blocks.1.attn.to_gate": (48, 48),
        "transformer_blocks.0.ff.gate": (56, 48),
        "text_fusion.refiner_blocks.0.attn.to_out.0": (20, 20),
    }
    library = {
        path: (
            torch.randn(5, columns, generator=generator),
            torch.randn(rows, 5, generator=generator),
        )
        for path, (rows, columns) in shapes.items()
    }
    theirs = ("blocks.1.attn.wk", "blocks.1.attn.gate", "blocks.0.mlp.gate")
    names = (*theirs, "txtfusion.refiner_blocks.0.attn.wo")
    authors = {
        name: (down.clone(), up.clone())
        for name, (down, up) in zip(names, library.values(), strict=True)
    }
    return lora_spellings.write(tmp_path_factory.mktemp("loras"), library, authors)


@pytest.mark.parametrize("spelling", lora_spellings.SPELLINGS)
def test_loras_of_every_spelling(loras, files, spelling):
    """One LoRA draws one picture however it is spelled, and is placed in every layout."""
    models = [files[layout][0] for layout in ("folder", "one file")]
    lora_spellings.check_spelling(
        session(qwen3vl_tokens=29), loras, spelling, models, 4, guidance=0.0
    )


def test_names_of_authors_in_peft(loras, files, tmp_path):
    """Krea's names stand behind peft's prefix, too, as ai-toolkit saves them."""
    tensors = load_file(loras / "comfyui.safetensors")
    path = tmp_path / "ai-toolkit.safetensors"
    save_file(
        {name.replace("diffusion_model.", "base_model.model."): of for name, of in tensors.items()},
        path,
    )
    for layout in ("folder", "one file"):
        result = fit(read(path), open_base(files[layout][0]))
        assert (len(result.placed), result.misfits) == (4, ())
    assert (read(path).backend, read(path).loadable) == ("krea2", True)


def test_every_option_of_capture(loras, tmp_path):
    """Prompts, seeds, batches, LoRAs, both branches, all blocks: every option works together."""
    lora = loras / "kohya.safetensors"
    capture_everything("krea2", lora, tmp_path / "out", "factors", qwen3vl_tokens="29")
