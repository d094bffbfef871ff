"""ScribbleDiffusion checkpoints: 77 tokens of text and 77 of the drawing in one sequence."""

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from attn import demo
from attn.backends import find, load
from attn.backends.families.scribble.options import ScribbleOptions
from attn.backends.families.scribble.sketch_tokens import SketchEncoder, as_drawings, load_encoder
from attn.backends.families.scribble.tokens import TokensBackend
from attn.backends.testing.observe import watched
from attn.backends.testing.oracle import as_float64
from attn.backends.types import Placement
from attn.demo import shipped
from attn.errors import ModelError, RequestError
from attn.schema import Lora, Request
from tests.helpers import sketches
from tests.helpers.models import layouts, lora_files
from tests.helpers.toy_sessions import checks_of, open_session, remarks

pytestmark = pytest.mark.usefixtures("demo_cache")
REQUEST = Request(
    "a red cat on a wooden-chair, watching", steps=2, guidance=5.0, width=104, height=72
)
PROJECTION = "encoder.layers.0.self_attn.q_proj"


def tiny():
    """Return the folder of the checkpoint with random weights."""
    return str(demo.checkpoint("tiny:scribble:tokens"))


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """Save a drawing."""
    return str(sketches.save(tmp_path_factory.mktemp("sketch")))


@pytest.fixture(scope="module")
def session(drawing, demo_cache):
    """Open the demo checkpoint with the drawing."""
    return open_session("scribble", tiny(), sketch=drawing)


@pytest.fixture
def checkpoint(demo_cache, tmp_path):
    """Return a copy of the three files alone, and the base model's folder."""
    source, folder = Path(tiny()), tmp_path / "checkpoint"
    folder.mkdir()
    for path in source.glob("*.safetensors"):
        shutil.copy(path, folder)
    return folder, source


def opening(folder, **options):
    """Open a checkpoint as `capture` does."""
    family = load(find("scribble"))
    return family.open(folder, family.Options(**options), Placement("cpu"))


def pixels(session, **options):
    """Generate one small picture."""
    requested = session.complete(replace(REQUEST, options=options))
    return np.asarray(session.generate([requested], None)[0].images[0]).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guidance", "check"),
    [(guidance, check) for guidance in (5.0, 1.0) for check in checks_of(guidance=guidance)],
)
def test_conforms(guidance, check, session):
    """Text and sketch tokens are recorded exactly, not square, in batches of 2."""
    check(session, replace(REQUEST, guidance=guidance))


def test_sequence(session):
    """The drawing's tokens come after the text's, in a segment of their own, and are no words."""
    sequence = session.sequence(session.complete(REQUEST), "cond")
    assert [(segment.name, segment.start, segment.stop) for segment in sequence.segments] == [
        ("clip", 0, 77),
        ("sketch", 77, 154),
    ]
    assert not any(token.is_content for token in sequence.tokens[77:])
    cross = [layer for layer in session.layers(REQUEST) if layer.kind == "cross"]
    assert {layer.num_keys for layer in cross} == {154}


def test_zeros_are_no_text(session):
    """Zeros in the row uncond are recorded as no negative prompt, and an empty one is warned of."""
    assert session.complete(REQUEST).negative is None
    assert session.complete(replace(REQUEST, options={"uncond_text": "empty"})).negative == ""
    warning = remarks(session, replace(REQUEST, negative=""))[0]
    assert warning.startswith("the row uncond reads no text (uncond_text=zeros)")
    assert warning not in remarks(session, REQUEST)


@pytest.mark.parametrize(("text", "read"), [("zeros", set()), ("empty", {"blurry"})])
def test_text_of_the_row_uncond(session, text, read):
    """Zeros have no tokens; the negative prompt has, where it is read."""
    options = {"uncond_text": text}
    requested = session.complete(replace(REQUEST, negative="blurry", options=options))
    row = session.sequence(requested, "uncond")
    tokens = [token for token in row.tokens if token.segment == "clip"]
    words = {"blurry"[token.start : token.stop] for token in tokens if token.is_content}
    assert {"".join(sorted(words, key="blurry".index))} - {""} == read
    assert len(tokens) == (77 if read else 0)
    session.generate([requested], None)  # the encoder reads these tokens, or it would be refused


def test_lora_of_the_text_encoder(session, tmp_path):
    """A LoRA that changes the text encoder alone changes the picture."""
    weight = session.pipe.text_encoder.get_submodule(PROJECTION).weight
    rng = np.random.default_rng(0)
    factors = {"down": (3, weight.shape[1]), "up": (weight.shape[0], 3)}
    stem = f"lora_te_text_model_{PROJECTION.replace('.', '_')}"
    tensors = {
        f"{stem}.lora_{end}.weight": rng.standard_normal(shape).astype(np.float32)
        for end, shape in factors.items()
    }
    path = lora_files.write(tmp_path / "lora.safetensors", tensors)
    loras = TokensBackend().complete_loras([Lora(str(path))])
    pictures = [
        np.asarray(session.generate([session.complete(requested)], None)[0].images[0])
        for requested in (REQUEST, replace(REQUEST, loras=loras))
    ]
    assert (pictures[0] != pictures[1]).any()


def test_rows_add_up_to_one(drawing, monkeypatch):
    """Before anything is stored, every place's row over the 154 tokens sums to 1 within 1e-5.

    In the trained demo, that is: large random weights make logits that float32 rounds more.
    """
    monkeypatch.setattr(shipped, "WEIGHTS", Path(shipped.__file__).parent / "weights")
    session = open_session("scribble", "demo:tokens", sketch=drawing)
    request = replace(REQUEST, prompt=demo.EXAMPLE_CAPTION)
    errors = []

    def visit(call, row, layer, attention):
        if layer.kind == "cross":
            heads = slice(0, layer.num_heads)
            rows = as_float64(attention.probs(0, heads, slice(None), slice(None)))
            assert rows.shape[-1] == 154
            errors.append(abs(rows.sum(-1) - 1).max())

    watched(session, [session.complete(request)], visit)
    assert len(errors) == 7 * 2 * 2  # layers, branches, steps
    assert max(errors) < 1e-5


def test_encoder():
    """The encoder is what its definition says, in float64 numpy."""
    torch.manual_seed(0)
    encoder = SketchEncoder(5, 3, 7).double().requires_grad_(False)
    torch.nn.init.normal_(encoder.pos_embeddings)
    drawing = torch.rand(1, 1, 32, 48, dtype=torch.float64)
    state = {name: value.numpy() for name, value in encoder.state_dict().items()}
    result = drawing[0].numpy()
    for index in (0, 2, 4, 6):
        weight, bias = (state[f"conv_encoder.{index}.{end}"] for end in ("weight", "bias"))
        padded = np.pad(result, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
        result = np.einsum("crsij,ocij->ors", windows, weight) + bias[:, None, None]
        result = np.maximum(result, 0)
    hidden = state["to_tokens.0.weight"] @ result.mean((1, 2)) + state["to_tokens.0.bias"]
    states = np.maximum(hidden, 0).reshape(3, 5)
    expected = states @ state["to_cross_attn.weight"].T + state["to_cross_attn.bias"]
    expected = expected + state["pos_embeddings"][0]
    np.testing.assert_allclose(encoder(drawing)[0].numpy(), expected, rtol=1e-12)


def test_options(session):
    """Each deviation from the training changes the picture."""
    usual = pixels(session)
    for options in (
        {"sketch": "none"},
        {"lines": "white"},
        {"sketch_size": 64},
        {"uncond_text": "empty"},
        {"uncond_sketch": "zeros"},
    ):
        assert (pixels(session, **options) != usual).any(), options
    with pytest.raises(RequestError, match="sketch_size must be 0 or more"):
        session.complete(replace(REQUEST, options={"sketch_size": -1}))
    message = "conditioning_scale: only for models with a ControlNet; .*tokens has none"
    with pytest.raises(RequestError, match=message):
        session.complete(replace(REQUEST, options={"conditioning_scale": 0.5}))


@pytest.mark.parametrize(
    ("lines", "ground", "level"), [("black", "light", 255), ("white", "dark", 0)]
)
def test_kept_drawing(session, lines, ground, level):
    """What is kept is what the encoder read: dark strokes on light ground, or as was asked."""
    requested = session.complete(replace(REQUEST, options={"lines": lines}))
    kept = session.generate([requested], None)[0].sketch
    assert kept.info["ground"] == ground
    assert kept.getpixel((0, 0)) == (level, level, level)
    assert ((np.asarray(kept)[..., 0] != level) == session.drawing(requested)).all()


def test_betas(drawing, session):
    """The noise is that of the training, unless the base model's own is asked for."""
    config = session.scheduler.config
    assert (config.beta_schedule, config.beta_start, config.beta_end) == ("linear", 0.0001, 0.02)
    own = open_session("scribble", tiny(), sketch=drawing, betas="own")
    assert own.scheduler.config.beta_start == 0.00085


def test_three_files_and_a_base(checkpoint, session, drawing):
    """The three files with the base model beside them are the same model."""
    folder, base = checkpoint
    options = {"base": str(base), "config": str(base), "sketch": drawing}
    assert (pixels(opening(folder, **options)) == pixels(session)).all()
    with pytest.raises(ModelError, match=r"with --set base=FOLDER"):
        opening(folder, sketch=drawing)


def test_broken_checkpoints(checkpoint, drawing):
    """What is missing or does not fit is an error that names it, never random weights."""
    folder, base = checkpoint
    options = {"base": str(base), "config": str(base), "sketch": drawing}
    state = load_file(folder / "sketch_encoder.safetensors")
    for change, message in (
        ({"to_cross_attn.weight": None}, r"1 missing \(to_cross_attn.weight"),
        ({"more": torch.zeros(2)}, r"1 unexpected \(more"),
        ({"to_cross_attn.bias": torch.zeros(5)}, r"to_cross_attn.bias: \[5\], expected \[32\]"),
    ):
        changed = {name: value for name, value in (state | change).items() if value is not None}
        layouts.write(changed, folder / "sketch_encoder.safetensors")
        with pytest.raises(ModelError, match=message):
            load_encoder(folder / "sketch_encoder.safetensors", 32, torch.float32, weights=True)
    layouts.write({"mix.weight": torch.zeros(3)}, folder / "sketch_text_combiner.safetensors")
    with pytest.raises(ModelError, match=r"has weights \(mix.weight"):
        opening(folder, **options)


COMBINERS = [
    {"architecture": {"sketch_text_combiner": {"combination_method": "add"}}},
    {"sketch_text_combiner": {"method": "add"}},
]


@pytest.mark.parametrize("config", COMBINERS)
def test_other_combination(checkpoint, drawing, config):
    """A checkpoint that says it combines text and sketch otherwise is refused, not misread."""
    folder, base = checkpoint
    options = {"base": str(base), "config": str(base), "sketch": drawing}
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    told = re.escape(f"{path}: text and sketch are combined by 'add'; expected 'concat'")
    with pytest.raises(ModelError, match=f"^{told}"):
        opening(folder, **options)
    path.write_text(json.dumps(config).replace("add", "concat"))
    assert opening(folder, **options).encoder.tokens == 77


@pytest.mark.parametrize("name", ["unet", "sketch_encoder", "sketch_text_combiner"])
def test_missing_file(checkpoint, drawing, name):
    """A checkpoint without one of its three files is refused, and the file is named."""
    folder, base = checkpoint
    (folder / f"{name}.safetensors").unlink()
    message = rf"has no {name}\.safetensors; a checkpoint of ScribbleDiffusion has unet\."
    with pytest.raises(ModelError, match=message):
        opening(folder, base=str(base), config=str(base), sketch=drawing)


@pytest.mark.parametrize("backend", ["sd15", "sdxl", "gated"])
def test_other_backends_refuse_it(checkpoint, backend):
    """A backend that would leave the sketch tokens out says which one reads them."""
    family = load(find(backend))
    for folder in checkpoint:  # the three files alone, and with their base model
        message = rf"^{re.escape(str(folder))}: this is a checkpoint of ScribbleDiffusion, .*: use "
        with pytest.raises(ModelError, match=rf"{message}--backend scribble$"):
            family.open(str(folder), family.Options(), Placement("cpu"))


def test_options_of_the_model(session):
    """What is kept of the options are those that a model with sketch tokens has."""
    everything = asdict(ScribbleOptions(sketch="none"))
    kept = session.complete(replace(REQUEST, options=everything)).options
    assert everything.keys() - kept.keys() == {
        "controlnet", "conditioning_scale", "guess_mode", "control_start", "control_end",
    }  # fmt: skip


def test_as_drawings():
    """Drawings are made smaller by area, so that thin strokes fade but do not vanish."""
    picture = torch.ones(6, 10)
    picture[:, 3] = 0
    small = as_drawings([picture], 2)
    assert small.shape == (1, 1, 2, 2)
    np.testing.assert_allclose(small[0, 0], [[0.8, 1], [0.8, 1]], rtol=1e-6)
