"""Checkpoint files fit a model, or it is said why not, before a weight is read."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from attn import demo
from attn.backends.loading.library_classes import find_class
from attn.backends.loading.quiet import quiet
from attn.backends.loading.weights import checkpoint, fit
from attn.backends.loading.weights.checkpoint import ModelSpec, Piece
from attn.checkpoints import folders
from attn.checkpoints.headers import Header, TensorInfo, read_header
from attn.checkpoints.probe import CONFIGS, members, probe
from attn.errors import ModelError
from tests.helpers.models import layouts
from tests.helpers.models.opening import COMPONENTS

SD15, SDXL = ("unet", "vae", "clip_l"), ("unet", "vae", "clip_l", "clip_g")
SD3 = ("dit", "vae", "clip_l", "clip_g", "t5xxl")
PUBLISHED = {"sd15": SD15, "sdxl": SDXL, "sd35-large": SD3, "sd35-medium": SD3, "sd3-medium": SD3}
FLUX = ("dit", "vae", "clip_l", "t5xxl")
PIXART = ("dit", "vae", "t5xxl")
PUBLISHED |= {"pixart-sigma": PIXART, "sd2": ("unet", "vae", "clip_h")}
PUBLISHED |= {"sdxl-refiner": ("unet", "vae", "clip_g")}
Z_IMAGE = ("dit", "vae", "qwen3")
QWEN_IMAGE = ("dit", "vae", "qwen25vl")
PUBLISHED |= {"z-image-turbo": Z_IMAGE, "qwen-image": QWEN_IMAGE}
PUBLISHED |= {"flux-dev": FLUX, "flux-schnell": FLUX}
DIT = "joint_blocks.3.x_block."


@pytest.fixture(scope="module")
def empty():
    """Build the models of a diffusers folder without weights, by component."""

    def build(folder):
        models = {}
        with quiet():
            for name, entry in folders.read_index(folder).items():
                if (folder / name / "config.json").is_file():
                    cls = find_class(*entry, name)
                    models[name] = checkpoint.empty_model(ModelSpec(cls, folder / name))
        return models

    return build


@pytest.fixture
def drawn(toys, tmp_path):
    """Return the shapes of one part of a demo model in its authors' layout, and the model."""

    def draw(name, part):
        pipe = toys(name)
        state = load_file(layouts.parts(pipe, tmp_path)[part])
        shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
        return shapes, getattr(pipe, COMPONENTS[part])

    return draw


def published(state):
    """Return the header that a file of this state would have."""
    infos = {name: TensorInfo("F16", tuple(value.shape), 0, 0) for name, value in state.items()}
    return Header(CONFIGS / "drawing.safetensors", infos, {})


@pytest.mark.slow
@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize(("config", "parts"), PUBLISHED.items(), ids=PUBLISHED)
def test_published_sizes(empty, config, parts, prefix):
    """A drawing of each published model fits in full, and nothing of the file is left out."""
    models = empty(CONFIGS / config)
    writers = {SD3: layouts.sai, FLUX: layouts.bfl, PIXART: layouts.pixart}
    write = (writers | {Z_IMAGE: layouts.z_image, QWEN_IMAGE: layouts.qwen_image}).get(
        parts, layouts.ldm
    )
    header = published(write(SimpleNamespace(**models), prefix=prefix))
    result = probe(header)
    sorted_out = members(header, result)
    assert (result.config, set(result.parts), sorted_out.unknown) == (config, set(parts), [])
    for part, tensors in sorted_out.parts.items():
        shapes = {name: info.shape for name, info in tensors.items()}
        others = {(FLUX, "t5xxl"): "text_encoder_2", (PIXART, "t5xxl"): "text_encoder"}
        component = others.get((parts, part)) or COMPONENTS[part]
        assert str(fit.compare(part, shapes, models[component])) == ""


CASES = [("sd15", part) for part in SD15] + [("sdxl", part) for part in SDXL]
CASES += [("sd35", part) for part in SD3] + [("sd35:medium", "dit")]


@pytest.mark.parametrize(("name", "part"), CASES)
def test_fits(drawn, name, part):
    """Every part of the demo models fits, in the layout of its authors."""
    assert not fit.compare(part, *drawn(name, part))


@pytest.mark.parametrize(("name", "part"), CASES)
def test_fits_as_it_is(toys, name, part):
    """So does every part under the names that it is saved with."""
    model = getattr(toys(name), COMPONENTS[part])
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert not fit.compare(part, shapes, model)


@pytest.mark.parametrize(("name", "part"), CASES)
def test_each_missing_tensor(drawn, name, part):
    """Whichever tensor is left out of a file, something is missing, and nothing else is wrong."""
    shapes, model = drawn(name, part)
    for key in list(shapes)[::17]:
        left = {other: shape for other, shape in shapes.items() if other != key}
        misfit = fit.compare(part, left, model)
        assert misfit.missing, key
        assert not (misfit.misshapen or misfit.failure), key


@pytest.mark.parametrize(("name", "part"), CASES)
def test_each_misshapen_tensor(drawn, name, part):
    """Whichever tensor has another shape, that is said, and nothing is missing."""
    shapes, model = drawn(name, part)
    for key in list(shapes)[::17]:
        other = (shapes[key][0] + 6, *shapes[key][1:])
        misfit = fit.compare(part, shapes | {key: other}, model)
        assert misfit.misshapen, key
        assert not (misfit.missing or misfit.unexpected or misfit.failure), key


@pytest.mark.parametrize(
    ("name", "part", "key"),
    [
        ("sd35", "dit", f"{DIT}attn.gate.weight"),
        ("sd35", "dit", "joint_blocks.3.context_block.attn2.ln_q.weight"),
        ("sd35", "dit", "controlnet.weight"),
        ("sdxl", "unet", "input_blocks.4.1.transformer_blocks.0.attn3.to_q.weight"),
        ("sdxl", "unet", "label_emb.1.weight"),
        ("sdxl", "unet", "output_blocks.0.3.conv.weight"),
        ("sdxl", "clip_g", "text_model.encoder.layers.9.mlp.fc1.weight"),
        ("sd15", "vae", "decoder.up.9.block.0.conv1.weight"),
        ("sd15", "vae", "encoder.mid.attn_1.gate.weight"),
        ("sd15", "clip_l", "extra"),
        ("sd35", "t5xxl", "encoder.block.9.layer.0.SelfAttention.q.weight"),
    ],
)
def test_unexpected_tensor(drawn, name, part, key):
    """What the converters of the libraries drop in silence is found."""
    shapes, model = drawn(name, part)
    assert fit.compare(part, shapes | {key: (3, 5)}, model) == fit.Misfit(unexpected=(key,))


def test_scalar(drawn):
    """A number where a matrix belongs is of another shape."""
    shapes, model = drawn("sdxl", "vae")
    misfit = fit.compare("vae", shapes | {"encoder.conv_in.weight": ()}, model)
    assert misfit.misshapen == ("encoder.conv_in.weight: [], expected [8, 3, 3, 3]",)


def test_folded_gates(drawn):
    """Gates in the rows of `qkv` are of another shape, not cut off."""
    shapes, model = drawn("sd35", "dit")
    rows, width = shapes[f"{DIT}attn.qkv.weight"]
    assert fit.compare("dit", shapes | {f"{DIT}attn.qkv.weight": (rows + 3, width)}, model)


def test_absurd_sizes(drawn):
    """A header may claim any number of empty rows; no memory is spent on them."""
    shapes, model = drawn("sd35", "dit")
    misfit = fit.compare("dit", shapes | {f"{DIT}attn.proj.weight": (10**12, 0)}, model)
    assert misfit.misshapen == (
        "transformer_blocks.3.attn.to_out.0.weight: [1000000000000, 0], expected [48, 48]",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"joint_blocks.x.y": (2,)},
        {"joint_blocks.999999999.y": (2,)},
        {"attn2.": (2,)},
        {f"{DIT}attn.qkv.weight": ()},
        {"joint_blocks.3.context_block.attn.qkv.bias": (1,)},
    ],
)
def test_unconvertible(drawn, change):
    """Names and shapes with which a converter cannot go on are a misfit, not a crash."""
    shapes, model = drawn("sd35", "dit")
    assert "cannot be converted (" in str(fit.compare("dit", shapes | change, model))


def test_words():
    """A misfit counts each kind and names the first three, without control characters."""
    misfit = fit.Misfit(("a", "b", "c", "d"), ("e\n",), (fit.misshapen("f", (1, 2), (3,)),))
    assert str(misfit) == (
        "4 missing (a, b, c …); 1 unexpected ('e\\n' …); 1 of another shape (f: [1, 2], "
        "expected [3] …)"
    )


def piece(path, part="vae"):
    """Return the one part of a file."""
    header = read_header(path)
    result = probe(header)
    tensors = members(header, result).parts[part]
    return Piece(part, path, result.parts[part], tensors, result.title)


@pytest.fixture
def encoder(toys, tmp_path):
    """Save CLIP-L of the SD3.5 demo, changed, and return its piece and what it is to become."""

    def save(change=lambda state: None):
        model = toys("sd35").text_encoder
        state = layouts.clip_l(model)
        change(state)
        path = layouts.write(state, tmp_path / "clip_l.safetensors")
        return piece(path, "clip_l"), ModelSpec(
            type(model), demo.checkpoint("sd35") / "text_encoder"
        )

    return save


def test_published_clip_l_has_no_projection(encoder):
    """CLIP-L of SD3 without projection gets the identity; a file that has one keeps it."""
    item, kind = encoder(lambda state: state.pop("text_projection.weight"))
    model = checkpoint.fitting_model(item, [kind])
    loaded = checkpoint.load_weights(item, model, torch.float32)
    assert torch.equal(loaded.text_projection.weight, torch.eye(32))
    item, kind = encoder(lambda state: state.update({"text_projection.weight": torch.ones(32, 32)}))
    loaded = checkpoint.load_weights(item, checkpoint.fitting_model(item, [kind]), torch.float32)
    assert torch.equal(loaded.text_projection.weight, torch.ones(32, 32))


def test_first_that_fits(encoder, demo_cache):
    """Of several configurations the first that fits counts; if none does, the first is named."""
    item, kind = encoder()
    other = ModelSpec(kind.cls, kind.config.parent / "text_encoder_2")
    model = checkpoint.fitting_model(item, [other, kind])
    assert model.config.hidden_size == 32
    with pytest.raises(ModelError) as error:
        checkpoint.fitting_model(item, [other])
    assert str(error.value).startswith(
        f"{item.path}: this is {item.title}; its part clip_l does not fit {other}: 16 missing ("
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(toys, tmp_path, dtype):
    """Weights come as the libraries give them: T5 in float16 keeps what overflows in float32."""
    model = toys("sd35").text_encoder_3
    folder = demo.checkpoint("sd35") / "text_encoder_3"
    path = layouts.parts(toys("sd35"), tmp_path)["t5xxl"]
    item = piece(path, "t5xxl")
    made = checkpoint.fitting_model(item, [ModelSpec(type(model), folder)])
    loaded = checkpoint.load_weights(item, made, dtype)
    with quiet():
        own = type(model).from_pretrained(folder, dtype=dtype, local_files_only=True)
    mine, theirs = loaded.state_dict(), own.state_dict()
    assert {name: item.dtype for name, item in mine.items()} == {
        name: item.dtype for name, item in theirs.items()
    }
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_tied_embeddings(toys, tmp_path):
    """T5's table of embeddings is one tensor under two names, whichever of them the file has."""
    model = toys("sd35").text_encoder_3
    state = model.state_dict()
    for name in ("shared.weight", "encoder.embed_tokens.weight"):
        path = layouts.write(
            {key: value for key, value in state.items() if key != name}, tmp_path / "t5.safetensors"
        )
        value = piece(path, "t5xxl")
        kind = ModelSpec(type(model), demo.checkpoint("sd35") / "text_encoder_3")
        made = checkpoint.fitting_model(value, [kind])
        loaded = checkpoint.load_weights(value, made, torch.bfloat16)
        assert loaded.encoder.embed_tokens.weight is loaded.shared.weight


def test_float8(toys, tmp_path):
    """Weights that are stored in eight bits are converted to what is asked."""
    small = {k: v.to(torch.float8_e4m3fn) for k, v in layouts.vae(toys("sd15").vae).items()}
    path = tmp_path / "vae.safetensors"
    save_file({name: value.contiguous() for name, value in small.items()}, path)
    value = piece(path)
    kind = ModelSpec(type(toys("sd15").vae), demo.checkpoint("sd15") / "vae")
    loaded = checkpoint.load_weights(value, checkpoint.fitting_model(value, [kind]), torch.float32)
    expected = small["decoder.conv_in.weight"].to(torch.float32)
    assert torch.equal(loaded.decoder.conv_in.weight, expected)


def test_integers(toys, tmp_path):
    """Integers are no weights: they would need scales."""
    state = layouts.vae(toys("sd15").vae)
    state["decoder.conv_in.weight"] = state["decoder.conv_in.weight"].to(torch.int8)
    item = piece(layouts.write(state, tmp_path / "vae.safetensors"))
    with pytest.raises(ModelError) as error:
        checkpoint.fitting_model(item, [])
    assert str(error.value) == (
        f"{item.path}, part vae: 'decoder.conv_in.weight' holds I8, expected floating-point "
        "weights; quantised files are not read, use the fp16 or bf16 file"
    )


def test_early_names_of_vae_attention(toys, tmp_path):
    """Autoencoders that early versions of diffusers saved are read."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    model = toys("sd15").vae
    state = {}
    for name, value in model.state_dict().items():
        old = next((name.replace(f".{n}.", f".{o}.") for n, o in names.items() if n in name), name)
        state[old] = value
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert any(".query." in name for name in shapes)
    assert not fit.compare("vae", shapes, model)


def test_file_that_went_away(encoder):
    """A file that cannot be read any more is an error, not a crash."""
    item, kind = encoder()
    model = checkpoint.fitting_model(item, [kind])
    item.path.unlink()
    with pytest.raises(ModelError, match=f"^cannot read {item.path}: "):
        checkpoint.load_weights(item, model, torch.float32)


@pytest.mark.parametrize("text", ["{", "[1]", "7"])
def test_unusable_configuration(toys, tmp_path, text):
    """A config.json that says nothing sensible is an error with its place."""
    (tmp_path / "config.json").write_text(text)
    for cls in (type(toys("sd15").vae), type(toys("sd15").text_encoder)):
        with quiet(), pytest.raises(ModelError, match=r"config.json is not a JSON object: "):
            checkpoint.empty_model(ModelSpec(cls, tmp_path))
