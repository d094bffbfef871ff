"""Stable Diffusion 3.5, in its published configurations and as demo models."""

import json
import shutil

import pytest

from attn.backends import find, load
from attn.backends.families.sd35 import SD35Options
from attn.backends.types import Placement
from attn.engine.plan import Keep, make_plan
from attn.errors import CaptureError, RequestError, UsageError
from attn.options import parse_options
from attn.schema import Request
from tests.helpers.models import full_size

SMALL = {"steps": 3, "width": 96, "height": 64}
PIXELS = 4 * 6


@pytest.fixture(scope="module")
def large(planned):
    """SD3.5 Large in full size, without weights."""
    return planned("sd35", "sd35-large")


@pytest.fixture(scope="module")
def medium(planned):
    """SD3.5 Medium in full size, without weights."""
    return planned("sd35", "sd35-medium")


def complete(session, width=None, height=None):
    """Return a request for a size."""
    return session.complete(Request("a cat", width=width, height=height))


def test_parameters(large, medium):
    """The transformers have exactly the published numbers of parameters."""
    assert large.info.parameters == 8_056_627_520
    assert medium.info.parameters == 2_243_171_520


def test_defaults(large):
    """What is not asked for is the model's own: its size, steps, guidance and sampler."""
    expected = Request(
        "a cat",
        negative="",
        steps=28,
        guidance=4.5,
        width=1024,
        height=1024,
        scheduler="FlowMatchEulerDiscreteScheduler",
    )
    assert large.complete(Request("a cat")) == expected


@pytest.mark.parametrize(
    ("width", "height", "grid"),
    [(1024, 1024, (64, 64)), (1344, 768, (48, 84)), (1040, 656, (41, 65))],
)
def test_large_layers(large, width, height, grid):
    """Large has 38 joint layers of 38 heads, whose sequence is image, clip, t5."""
    layers = large.layers(complete(large, width, height))
    pixels = grid[0] * grid[1]
    assert [layer.path for layer in layers] == [f"transformer_blocks.{i}.attn" for i in range(38)]
    assert {(layer.kind, layer.num_heads, layer.head_dim) for layer in layers} == {
        ("joint", 38, 64)
    }
    assert {(layer.num_queries, layer.num_keys, layer.grid) for layer in layers} == {
        (pixels + 333, pixels + 333, grid)
    }
    segments = [(key.name, key.kind, key.start, key.stop) for key in layers[7].keys]
    assert segments == [
        ("image", "image", 0, pixels),
        ("clip", "text", pixels, pixels + 77),
        ("t5", "text", pixels + 77, pixels + 333),
    ]


def test_medium_layers(medium):
    """Medium has 24 joint layers, and in its first 13 blocks an image-only one after each."""
    layers = medium.layers(complete(medium, 1344, 768))
    names = [f"transformer_blocks.{i}.{name}" for i in range(13) for name in ("attn", "attn2")]
    names += [f"transformer_blocks.{i}.attn" for i in range(13, 24)]
    assert [layer.path for layer in layers] == names
    assert [layer.index for layer in layers] == list(range(37))
    own = [layer for layer in layers if layer.path.endswith("attn2")]
    assert {(item.kind, item.num_heads, item.num_keys, item.grid) for item in own} == {
        ("self", 24, 48 * 84, (48, 84))
    }


def test_sequence(large):
    """Positions and tokens of both text segments follow the image's, without a gap."""
    sequence = large.sequence(complete(large, 1344, 768), "cond")
    assert [token.position for token in sequence.tokens] == list(range(4032, 4032 + 333))
    content = [(token.segment, token.position - 4032, token.text, token.word)
               for token in sequence.tokens if token.is_content]  # fmt: skip
    assert content == [
        ("clip", 1, "a", 0),
        ("clip", 2, "cat", 1),
        ("t5", 77, "a", 0),
        ("t5", 78, "cat", 1),
    ]


@pytest.mark.parametrize("name", ["large", "medium"])
def test_bytes(large, medium, name):
    """More detail is more bytes, in the full-size plan."""
    session = large if name == "large" else medium
    sizes = full_size.level_sizes(session)
    assert 0 < sizes[0] < sizes[1] < sizes[2] < sizes[3]


def test_bytes_of_a_long_prompt(large):
    """The small measures of SD3.5 Large at 1024x1024 in 15 steps are 30 MB, not 118 GB."""
    request = large.complete(Request("cat " * 700, steps=15, width=1024, height=1024))
    plan = make_plan(
        large.layers(request),
        {"cond": large.sequence(request, "cond")},
        Keep(level="mass"),
        samples=1,
        steps=15,
        dtype="F16",
    )
    assert len(plan.kept.layers) == 38
    item = 4 * (38 * 333 + 38 + 333)  # masses, the picture's total, shares
    assert 1 <= plan.bytes / (15 * 38 * item) <= 1.01
    assert plan.bytes < 30e6


@pytest.mark.parametrize(("width", "height", "pixels"), [(1024, 1024, 4096), (1344, 768, 4032)])
@pytest.mark.parametrize("name", ["large", "medium"])
def test_planned_bytes(large, medium, name, width, height, pixels):
    """The default plan at full size is the sum over tensors, worked out here, and the headers."""
    session, depth = (large, 38) if name == "large" else (medium, 24)
    request = session.complete(Request("a red cat", steps=28, width=width, height=height))
    plan = make_plan(
        session.layers(request),
        {"cond": session.sequence(request, "cond")},
        Keep(),
        samples=1,
        steps=28,
        dtype="F16",
    )
    heads, text, columns = depth, 77 + 256, 3 + 1 + 3 + 1  # a, red, cat and the rest, twice
    item = 2 * pixels * columns + 4 * (heads * text + heads * 3 + 3 * text)
    mean = depth * 4 * pixels * columns  # over all steps, in float32
    assert 1 <= plan.bytes / (28 * depth * item + mean) <= 1.01


@pytest.mark.parametrize("model", ["demo", "demo:medium"])
def test_layers_are_what_runs(opened, model):
    """Order and image length are those of a real forward, the second attention included."""
    session = opened("sd35", model)
    request = session.complete(Request("a cat", steps=1, width=96, height=64))
    layers, seen = session.layers(request), []
    names = {module: path for path, module in session.model.named_modules()}
    handles = [
        session.model.get_submodule(layer.path).register_forward_hook(
            lambda module, args, keywords, out: seen.append(
                (names[module], keywords["hidden_states"].shape[1])
            ),
            with_kwargs=True,
        )
        for layer in layers
    ]
    session.generate([request], None)
    for handle in handles:
        handle.remove()
    assert seen == [(layer.path, PIXELS) for layer in layers]


@pytest.mark.parametrize(
    ("width", "height", "nearest"),
    [(1000, 776, "992x768"), (1024, 8, "1024x16"), (8, 8, "16x16")],
)
def test_size_not_divisible(large, width, height, nearest):
    """A size that is no whole number of tokens is refused with the nearest that is."""
    with pytest.raises(RequestError) as error:
        complete(large, width, height)
    assert str(error.value) == (
        f"size {width}x{height}: width and height must be divisible by 16; the nearest is {nearest}"
    )


@pytest.mark.parametrize(("name", "most"), [("large", 3072), ("medium", 6144)])
def test_position_table(large, medium, name, most):
    """A side for which there are no positions is refused, the longest that there are is not."""
    session = large if name == "large" else medium
    assert complete(session, 512, most).height == most
    with pytest.raises(RequestError) as error:
        complete(session, 512, most + 16)
    assert str(error.value) == (
        f"size 512x{most + 16}: this model has positions for at most {most} pixels a side"
    )


def calls_of(session, **request):
    """Generate a small picture; return its calls."""
    calls = []
    session.generate([session.complete(Request("a red cat", **SMALL, **request))], calls.append)
    return calls


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 1), (0.0, 1), (4.5, 2), (None, 2)])
def test_branches(opened, guidance, rows):
    """Guidance of 1 and below runs `cond` alone; above it the unguided row comes first."""
    calls = calls_of(opened("sd35"), guidance=guidance)
    assert {call.rows for call in calls} == {(("uncond", 0), ("cond", 0))[-rows:]}
    assert len(calls) == 3


def test_skip_layer_guidance(opened):
    """Each guided step in its span has a further call, which leaves the chosen blocks out."""
    session = opened("sd35", skip_layers=(1, 2), skip_stop=1.0)
    left_out = ("transformer_blocks.1", "transformer_blocks.2")
    both = (("uncond", 0), ("cond", 0))
    calls = calls_of(session)
    assert [(call.step, call.rows, call.skipped_layers) for call in calls] == [
        (0, both, ()),
        (1, both, ()),
        (1, (("skip", 0),), left_out),
        (2, both, ()),
        (2, (("skip", 0),), left_out),
    ]
    assert [call.timestep for call in calls[1:3]] == [calls[1].timestep] * 2


def test_skipped_blocks_do_not_run(opened):
    """The blocks that a call announces as left out are those that the model leaves out."""
    session = opened("sd35", skip_layers=(1, 2), skip_stop=1.0)
    runs = [0] * 5
    handles = []
    for place, block in enumerate(session.model.transformer_blocks):

        def count(module, args, place=place):
            runs[place] += 1

        handles.append(block.register_forward_pre_hook(count))
    calls_of(session)
    for handle in handles:
        handle.remove()
    assert runs == [5, 3, 3, 5, 5]


def test_skip_is_a_branch(opened):
    """Skip-layer guidance is a third branch with the prompt's own tokens; unguided it is off."""
    session = opened("sd35", skip_layers=(1, 2), skip_stop=1.0)
    guided, plain = (
        session.complete(Request("a cat", guidance=scale, **SMALL)) for scale in (4.5, 1.0)
    )
    assert session.branches(guided) == ("cond", "uncond", "skip")
    assert session.branches(plain) == ("cond",)
    assert session.sequence(guided, "skip") == session.sequence(guided, "cond")
    assert [call.rows for call in calls_of(session, guidance=1.0)] == [(("cond", 0),)] * 3


def test_options():
    """Options come from text, as `--set skip_layers=1,2`."""
    pairs = {"skip_layers": "1,2", "t5_tokens": "77", "skip_scale": "3"}
    expected = SD35Options(t5_tokens=77, skip_layers=(1, 2), skip_scale=3.0)
    assert parse_options(SD35Options, pairs, "backend sd35") == expected


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"skip_layers": "1,b"}, "option 'skip_layers' of backend sd35: got '1,b', expected int,…"),
        ({"t5_token": "9"}, "backend sd35 has no option 't5_token'. Did you mean 't5_tokens'?"),
        ({"clip_skip": "1"}, "backend sd35 has no option 'clip_skip'."),
    ],
)
def test_wrong_options(pairs, message):
    """An option of another family or type is a usage error that says what is expected."""
    with pytest.raises(UsageError) as error:
        parse_options(SD35Options, pairs, "backend sd35")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip_layers": (1, 9)}, "skip_layers: this model has blocks 0 to 4; got [9]"),
        ({"skip_layers": (-1,)}, "skip_layers: this model has blocks 0 to 4; got [-1]"),
        ({"t5_tokens": 0}, "t5_tokens must be 1 to 512; got 0"),
        ({"t5_tokens": 513}, "t5_tokens must be 1 to 512; got 513"),
    ],
)
def test_impossible_options(opened, options, message):
    """Options that this model cannot follow are refused before it runs."""
    with pytest.raises(RequestError) as error:
        opened("sd35", **options).complete(Request("a cat"))
    assert str(error.value) == message


def test_t5_tokens(opened):
    """The length of the T5 segment follows the option, in the plan and in the model."""
    session = opened("sd35", t5_tokens=19)
    request = session.complete(Request("a red cat", **SMALL))
    assert session.layers(request)[0].num_keys == PIXELS + 77 + 19
    lengths = []
    block = session.model.transformer_blocks[0]
    handle = block.register_forward_pre_hook(
        lambda module, args, keywords: lengths.append(keywords["encoder_hidden_states"].shape[1]),
        with_kwargs=True,
    )
    session.generate([request], None)
    handle.remove()
    assert lengths == [77 + 19] * 3


def test_truncation(large):
    """Each text segment tells what it did not read; T5 has more room than CLIP."""
    long = large.complete(Request("cat " * 260 + "END", negative="dog " * 80 + "STOP"))
    cond, uncond = (large.sequence(long, branch).truncated for branch in ("cond", "uncond"))
    assert cond == {"clip": "cat " * 185 + "END", "t5": "cat " * 5 + "END"}
    assert uncond == {"clip": "dog " * 5 + "STOP"}


def without_t5(folder):
    """Take the T5 encoder out of a folder."""
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    for name in ("text_encoder_3", "tokenizer_3"):
        index[name] = [None, None]
        shutil.rmtree(folder / name)
    path.write_text(json.dumps(index))


def test_without_t5(copied):
    """A model without T5 has a segment of zeros, none of which carries the prompt, and runs."""
    folder = copied("sd35")
    without_t5(folder)
    family = load(find("sd35"))
    for weights in (True, False):
        session = family.open(folder, family.Options(), Placement(weights=weights))
        tokens = session.sequence(complete(session, 96, 64), "cond").tokens
        zeros = [token for token in tokens if token.segment == "t5"]
        assert {(token.text, token.padding, token.is_content) for token in zeros} == {
            ("<zero>", True, False)
        }
        assert [token.position for token in zeros] == list(range(PIXELS + 77, PIXELS + 333))
    assert len(calls_of(family.open(folder, family.Options()))) == 3


def test_given_pipeline_without_its_t5(copied):
    """Where only the weights of T5 were left out, not its tokenizer, its tokens are zeros too."""
    family = load(find("sd35"))
    pipe = family.open(copied("sd35"), family.Options()).pipe
    pipe.text_encoder_3 = None
    session = family.open(pipe, family.Options())
    tokens = session.sequence(complete(session, 96, 64), "cond").tokens
    assert {token.text for token in tokens if token.segment == "t5"} == {"<zero>"}


def test_fused_projections(copied):
    """Fused projections, which leave norms out, are refused with the call that undoes them."""
    family = load(find("sd35"))
    session = family.open(copied("sd35"), family.Options())
    session.model.fuse_qkv_projections()
    with pytest.raises(CaptureError) as error:
        session.check()
    assert str(error.value).endswith(
        "fuse_qkv_projections() leaves out SD3.5's query and key norms and gives another picture; "
        "call pipe.transformer.unfuse_qkv_projections()"
    )
    session.model.unfuse_qkv_projections()
    session.check()
