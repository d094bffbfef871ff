"""Stable Diffusion XL and 1.5, in their published configurations and as demo models."""

from itertools import groupby

import pytest
import torch
from transformers import CLIPTokenizer

from attn.backends import find, load
from attn.backends.families.unet import SKIPS_PROMPT, UNetOptions
from attn.demo.tokenizers import _clip_vocabulary
from attn.engine.plan import Keep, make_plan
from attn.errors import RequestError, UsageError
from attn.options import parse_options
from attn.schema import Request
from tests.helpers.models import full_size
from tests.helpers.toy_sessions import remarks

SMALL = {"steps": 2, "width": 96, "height": 64}


@pytest.fixture(scope="module")
def sdxl(planned):
    """SDXL in full size, without weights."""
    return planned("sdxl", "sdxl")


@pytest.fixture(scope="module")
def sd15(planned):
    """SD1.5 in full size, without weights."""
    return planned("sd15", "sd15")


def layers(session, width, height):
    """Return the layers for a size."""
    return session.layers(session.complete(Request("a cat", width=width, height=height)))


def blocks(layers):
    """Return (block of the UNet, layers in it, heads, grid), in order."""

    def key(layer):
        names = layer.path.split(".")
        return ".".join(names[: 1 if names[0] == "mid_block" else 2]), layer.num_heads, layer.grid

    return [(key[0], len(list(group)), *key[1:]) for key, group in groupby(layers, key)]


def test_sdxl_parameters(sdxl, sd15):
    """The denoisers have exactly the published numbers of parameters."""
    assert sdxl.info.parameters == 2_567_463_684
    assert sd15.info.parameters == 859_520_964


def test_sdxl_defaults(sdxl):
    """What is not asked for is the model's own: its size, steps, guidance and sampler."""
    expected = Request(
        "a cat",
        negative=None,
        steps=30,
        guidance=5.0,
        width=1024,
        height=1024,
        scheduler="EulerDiscreteScheduler",
    )
    assert sdxl.complete(Request("a cat")) == expected


@pytest.mark.parametrize(
    ("width", "height", "fine", "coarse"),
    [
        (1024, 1024, (64, 64), (32, 32)),
        (1344, 768, (48, 84), (24, 42)),
        (1000, 776, (49, 63), (25, 32)),
    ],
    ids=["square", "wide", "odd"],
)
def test_sdxl_layers(sdxl, width, height, fine, coarse):
    """SDXL has 70 cross layers, counted per block in execution order; halves of grids round up."""
    result = layers(sdxl, width, height)
    cross = [layer for layer in result if layer.kind == "cross"]
    assert (len(result), len(cross)) == (140, 70)
    assert blocks(cross) == [
        ("down_blocks.1", 4, 10, fine),
        ("down_blocks.2", 20, 20, coarse),
        ("mid_block", 10, 20, coarse),
        ("up_blocks.0", 30, 20, coarse),
        ("up_blocks.1", 6, 10, fine),
    ]
    assert {(layer.num_keys, layer.head_dim) for layer in cross} == {(77, 64)}


def test_sd15_layers(sd15):
    """SD1.5 has 16 cross layers of 8 heads on four grids, whose heads differ in size."""
    result = layers(sd15, 712, 520)
    cross = [layer for layer in result if layer.kind == "cross"]
    assert (len(result), len(cross)) == (32, 16)
    assert blocks(cross) == [
        ("down_blocks.0", 2, 8, (65, 89)),
        ("down_blocks.1", 2, 8, (33, 45)),
        ("down_blocks.2", 2, 8, (17, 23)),
        ("mid_block", 1, 8, (9, 12)),
        ("up_blocks.1", 3, 8, (17, 23)),
        ("up_blocks.2", 3, 8, (33, 45)),
        ("up_blocks.3", 3, 8, (65, 89)),
    ]
    assert [layer.head_dim for layer in cross[:7:2]] == [40, 80, 160, 160]


def test_self_attention_sees_its_own_grid(sdxl):
    """A self layer's keys are its queries; every layer alternates self and cross."""
    result = layers(sdxl, 1344, 768)
    assert [layer.kind for layer in result] == ["self", "cross"] * 70
    assert [layer.index for layer in result] == list(range(140))
    assert all(layer.keys == layer.queries for layer in result[::2])


@pytest.mark.parametrize(
    ("width", "height", "fine", "coarse"), [(1024, 1024, 4096, 1024), (1344, 768, 4032, 1008)]
)
def test_planned_bytes(sdxl, width, height, fine, coarse):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    request = sdxl.complete(Request("a red cat", steps=30, width=width, height=height))
    plan = make_plan(
        sdxl.layers(request),
        {"cond": sdxl.sequence(request, "cond")},
        Keep(),
        samples=1,
        steps=30,
        dtype="F16",
    )
    maps = 2 * 4 * (10 * fine + 60 * coarse)  # a, red, cat and the rest
    heads = 10 * 10 + 60 * 20
    small = 4 * (heads * (77 + 1 + 1) + 70 * 3 * 77)  # mass, total, entropy; share and peaks
    mean = 2 * maps  # over all steps, in float32
    assert 1 <= plan.bytes / (30 * (maps + small) + mean) <= 1.04


@pytest.mark.parametrize("backend", ["sdxl", "sd15"])
def test_bytes(sdxl, sd15, backend):
    """More detail is more bytes, in the full-size plan."""
    session = sdxl if backend == "sdxl" else sd15
    sizes = full_size.level_sizes(session)
    assert 0 < sizes[0] < sizes[1] < sizes[2] < sizes[3]


def ran(session, request):
    """Generate; return (path, queries, keys) of the attention modules in the order they ran."""
    names = {module: path for path, module in session.model.named_modules()}
    seen = []

    def note(module, args, keywords, output):
        text = keywords.get("encoder_hidden_states")
        keys = args[0] if text is None else text
        seen.append((names[module], args[0].shape[1], keys.shape[1]))

    handles = [
        session.model.get_submodule(layer.path).register_forward_hook(note, with_kwargs=True)
        for layer in session.layers(request)
    ]
    try:
        session.generate([request], None)
    finally:
        for handle in handles:
            handle.remove()
    return seen


@pytest.mark.parametrize("size", [(96, 64), (104, 72)], ids=["even", "odd"])
@pytest.mark.parametrize("backend", ["sdxl", "sd15"])
def test_layers_are_what_runs(opened, backend, size):
    """Order, query and key lengths are those of a real forward, odd latents included."""
    session = opened(backend)
    request = session.complete(Request("a cat", steps=1, width=size[0], height=size[1]))
    declared = [
        (layer.path, layer.num_queries, layer.num_keys) for layer in session.layers(request)
    ]
    assert ran(session, request) == declared


@pytest.mark.parametrize(("guidance", "branches"), [(1.0, 1), (0.5, 1), (1.5, 2), (None, 2)])
def test_branches(opened, guidance, branches):
    """Guidance of 1 and below runs `cond` alone; above it the unguided row comes first."""
    session = opened("sdxl")
    request = session.complete(Request("a cat", negative="dog", guidance=guidance, **SMALL))
    calls = []
    session.generate([request], calls.append)
    assert session.branches(request) == ("cond", "uncond")[:branches]
    assert calls[0].rows == (("uncond", 0), ("cond", 0))[-branches:]
    assert session.sequence(request, "uncond").tokens[1].text == "dog"


@pytest.mark.parametrize(
    ("width", "height", "nearest"),
    [(1001, 768, "1000x768"), (4, 64, "8x64"), (0, 64, "8x64"), (100, 77, "96x80")],
)
def test_size_not_divisible(sdxl, width, height, nearest):
    """A size that the VAE cannot make is refused with the nearest that it can."""
    with pytest.raises(RequestError) as error:
        layers(sdxl, width, height)
    assert str(error.value) == (
        f"size {width}x{height}: width and height must be divisible by 8; the nearest is {nearest}"
    )


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("steps", -2), ("images", 0)])
def test_counts(sdxl, field, value):
    """There is at least one step and one image."""
    counts = {"steps": 3, "images": 1} | {field: value}
    with pytest.raises(RequestError) as error:
        sdxl.complete(Request("a cat", **counts))
    expected = f"steps and images must be at least 1; got {counts['steps']} and {counts['images']}"
    assert str(error.value) == expected


def test_options():
    """Options come from text, and are checked against their types."""
    pairs = {"guidance_rescale": "0.7", "clip_skip": "none", "prediction": "v", "unet": "a/b"}
    expected = UNetOptions(guidance_rescale=0.7, clip_skip=None, prediction="v", unet="a/b")
    assert parse_options(UNetOptions, pairs, "backend sdxl") == expected
    with pytest.raises(UsageError) as error:
        parse_options(UNetOptions, {"prediction": "eps"}, "backend sdxl")
    message = "option 'prediction' of backend sdxl: got 'eps', expected auto|epsilon|v."
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance_rescale": 1.5}, "guidance_rescale must be 0 to 1; got 1.5"),
        ({"clip_skip": 3}, "clip_skip must be 0 to 2, for a text encoder of 3 layers; got 3"),
        ({"clip_skip": -1}, "clip_skip must be 0 to 2, for a text encoder of 3 layers; got -1"),
    ],
)
def test_impossible_options(opened, options, message):
    """Values on which the library would crash or draw noise are refused before it runs."""
    with pytest.raises(RequestError) as error:
        opened("sdxl", **options).complete(Request("a cat"))
    assert str(error.value) == message


@pytest.mark.parametrize("backend", ["sdxl", "sd15"])
@pytest.mark.parametrize("options", [{"clip_skip": 2}, {"guidance_rescale": 0.7}], ids=str)
def test_options_reach_the_pipeline(opened, backend, options):
    """Each option changes the picture."""
    request = Request("a red cat", **SMALL)
    pictures = [
        session.generate([session.complete(request)], None)[0].images[0].tobytes()
        for session in (opened(backend), opened(backend, **options))
    ]
    assert pictures[0] != pictures[1]


def hidden(pipe, ending, text, skip):
    """Return what one encoder makes of a text, from the layer that diffusers documents."""
    tokenizer, encoder = (
        getattr(pipe, f"{item}{ending}") for item in ("tokenizer", "text_encoder")
    )
    ids = tokenizer(text, padding="max_length", truncation=True, return_tensors="pt").input_ids
    states = encoder(ids, output_hidden_states=True).hidden_states
    if hasattr(pipe, "tokenizer_2"):
        return states[-(skip + 2)]
    return getattr(encoder, "text_model", encoder).final_layer_norm(states[-(skip + 1)])


@pytest.mark.parametrize("backend", ["sdxl", "sd15"])
def test_clip_skip(opened, backend):
    """The UNet reads the prompt from an earlier layer, the negative one from the usual one."""
    session, read = opened(backend, clip_skip=1), []
    request = session.complete(Request("a red cat", negative="a dog", guidance=4.0, **SMALL))
    hook = session.model.register_forward_pre_hook(
        lambda module, args, options: read.append(options["encoder_hidden_states"]),
        with_kwargs=True,
    )
    session.generate([request], None)
    hook.remove()
    endings = ("", "_2") if backend == "sdxl" else ("",)
    for row, text, skip in ((0, "a dog", 0), (1, "a red cat", 1)):
        with torch.no_grad():
            states = [hidden(session.pipe, ending, text, skip) for ending in endings]
        torch.testing.assert_close(read[0][row], torch.cat(states, -1)[0])


@pytest.mark.parametrize(
    ("skip", "guidance", "is_said"), [(1, 4.0, True), (0, 4.0, False), (1, 1.0, False)]
)
def test_clip_skip_is_for_the_prompt_alone(opened, skip, guidance, is_said):
    """Where a negative prompt is read without the skip, a warning says so."""
    session = opened("sd15", clip_skip=skip)
    told = remarks(session, Request("a cat", guidance=guidance))
    assert told == (SKIPS_PROMPT.format(skip),) * is_said


@pytest.fixture
def two_readers(planned):
    """SDXL whose second tokenizer knows fewer words than the first."""
    session = planned("sdxl", "sdxl")
    ids, merges = _clip_vocabulary()
    session.pipe.tokenizer_2 = CLIPTokenizer(
        vocab=ids, merges=merges[:20], pad_token="!", model_max_length=77
    )
    return session


def test_two_tokenizers(two_readers):
    """Where the two encoders read other tokens at a position, that is said once."""
    request = two_readers.complete(Request("a rusty cat"))
    sequence = two_readers.sequence(request, "cond")
    assert [token.text for token in sequence.tokens[1:4]] == ["a", "rusty", "cat"]
    (warning,) = sequence.warnings
    assert warning.startswith(
        "the two text encoders split the prompt differently from position 2 on ('rusty' and '"
    )
    assert warning.endswith("'); positions are labelled by the first")


def test_two_tokenizers_that_agree(sdxl):
    """Other padding alone ("!" against the end token) is no reason to warn."""
    assert sdxl.sequence(sdxl.complete(Request("a rusty cat!!")), "cond").warnings == ()


def test_truncation(sdxl):
    """What CLIP did not read is told, for each branch its own."""
    request = sdxl.complete(Request("cat " * 80 + "END", negative="dog " * 75 + "STOP"))
    assert sdxl.sequence(request, "cond").truncated == {"clip": "cat cat cat cat cat END"}
    assert sdxl.sequence(request, "uncond").truncated == {"clip": "STOP"}


@pytest.mark.parametrize("alias", ["sdxl-lora", "sd1"])
def test_aliases(alias):
    """The other names of the UNet families lead to their backends."""
    family = load(find(alias))
    assert family.family.name == {"sdxl-lora": "sdxl", "sd1": "sd15"}[alias]
