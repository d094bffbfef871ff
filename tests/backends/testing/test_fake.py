"""The shipped fake backend is as irregular as it says."""

from dataclasses import replace

import pytest

from attn.backends.testing import FakeBackend, FakeOptions, check_backend
from attn.backends.testing.tokens import tokenize
from attn.backends.types import Placement
from attn.errors import CaptureError, ModelError, RequestError
from attn.options import describe_options
from attn.schema import Request

REQUEST = Request("a red cat on a wooden-chair", negative="blurry", steps=2, width=88, height=56)


def open_fake(**options):
    """Open the fake model."""
    return FakeBackend().open("demo", FakeOptions(**options))


def test_fake_model_covers_the_interface():
    """Separate guidance calls, two towers, a skipped layer, second calls: all occur in one run."""
    session = open_fake()
    request = session.complete(REQUEST)
    calls = []
    session.generate([request], calls.append)
    first = [(call.tower, call.rows[0][0], call.skipped_layers) for call in calls[:5]]
    assert first == [
        ("controlnet", "uncond", ()),
        ("denoiser", "uncond", ()),
        ("controlnet", "cond", ()),
        ("denoiser", "cond", ()),
        ("denoiser", "skip", ("blocks.1",)),
    ]
    assert [call.step for call in calls] == [0] * 10 + [1] * 5


def test_fake_layers_are_of_every_kind():
    """Joint text-first, grouped self, cross; the second tower has half the grid, rounded up."""
    layers = open_fake().layers(open_fake().complete(REQUEST))
    assert [(layer.kind, layer.num_heads, layer.num_key_heads, layer.grid) for layer in layers] == [
        ("joint", 3, 3, (7, 11)),
        ("self", 6, 2, (7, 11)),
        ("cross", 5, 5, (7, 11)),
        ("cross", 2, 2, (4, 6)),
        ("self", 4, 4, (4, 6)),
    ]
    assert [segment.name for segment in layers[0].keys] == ["prompt", "image"]


def test_fake_tokens_have_offsets():
    """Words are cut into pieces of five characters, each with its place in the prompt."""
    tokens, cut = tokenize("an elephant, here")
    assert [token.text for token in tokens[:7]] == [
        "<bos>",
        "an",
        "eleph",
        "ant,",
        "here",
        "<eos>",
        "<pad>",
    ]
    assert [token.word for token in tokens[1:5]] == [0, 1, 1, 2]
    assert ["an elephant, here"[token.start : token.stop] for token in tokens[1:4]] == [
        "an",
        "eleph",
        "ant,",
    ]
    assert (len(tokens), cut) == (17, None)


def test_fake_tokens_report_what_they_lose():
    """Of a prompt that is too long, the end is reported."""
    tokens, cut = tokenize(" ".join(map(str, range(20))))
    assert (len(tokens), tokens[-1].text, cut) == (17, "<eos>", "15 16 17 18 19")


def test_fake_pictures_depend_on_the_request():
    """Seed, prompts, guidance, steps and weights each change the picture; repeating does not."""
    base = draw(REQUEST)
    assert draw(REQUEST) == base
    changes = [
        {"seed": 5},
        {"prompt": "a dog"},
        {"negative": "sharp"},
        {"guidance": 1.0},
        {"steps": 3},
    ]
    pictures = [draw(replace(REQUEST, **change)) for change in changes]
    pictures.append(draw(REQUEST, weights_seed=1))
    assert len({base, *pictures}) == 7


def draw(request, **options):
    """Return the picture's bytes."""
    session = open_fake(**options)
    (output,) = session.generate([session.complete(request)], None)
    return output.images[0].tobytes()


def test_fake_session_plans_without_weights():
    """Without weights the session can plan and says why it cannot generate."""
    session = FakeBackend().open("demo", FakeOptions(), Placement(weights=False))
    assert len(session.layers(session.complete(REQUEST))) == 5
    with pytest.raises(CaptureError, match="opened without weights"):
        session.check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 90}, "90x56: width and height must be divisible by 8"),
        ({"steps": 0}, "steps and images must be at least 1"),
        ({"scheduler": "heun"}, "no scheduler 'heun'"),
    ],
)
def test_fake_session_refuses_bad_requests(change, message):
    """Size, steps and scheduler are checked before anything runs."""
    with pytest.raises(RequestError, match=message):
        open_fake().complete(replace(REQUEST, **change))


def test_fake_backend_has_typed_options():
    """Its options can be listed and set like any family's."""
    assert [option.name for option in describe_options(FakeOptions)] == [
        "weights_seed",
        "second_order",
        "skip_block",
        "skip_scale",
    ]
    with pytest.raises(ValueError, match="skip_block must be 0, 1, 2 or none; got 7"):
        FakeOptions(skip_block=7)
    with pytest.raises(ModelError, match="nothing to offload"):
        FakeBackend().open("demo", FakeOptions(), Placement(offload="model"))


@pytest.mark.parametrize(
    "options", [{"second_order": False}, {"skip_block": None}, {"skip_block": 0}]
)
def test_fake_options_conform(options):
    """Without second calls or skipped blocks the fake still holds to the contract."""
    check_backend(open_fake(**options), REQUEST)
