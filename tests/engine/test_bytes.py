"""The plan's prediction of a trace's size, against what is written."""

import pytest

from attn.engine.plan import Keep
from attn.schema import Kept, Manifest, Request
from attn.trace.writer import TraceWriter
from tests.helpers.toy_attention import record_session
from tests.helpers.toy_sessions import shared_session

pytestmark = pytest.mark.usefixtures("demo_cache")
PROMPT = Request("a red cat on a wooden-chair", steps=2, width=88, height=56)


@pytest.mark.parametrize("level", ["mass", "means", "maps", "heads", "factors"])
@pytest.mark.parametrize("keys", ["content", "all"])
@pytest.mark.parametrize("mass", ["text", "full"])
@pytest.mark.parametrize("entropy", [False, True])
def test_bytes_are_predicted_exactly(tmp_path, level, keys, mass, entropy):
    """Before the run the plan knows the size of every shard, to the byte."""
    session = shared_session("fake")
    request = session.complete(PROMPT)
    layers = ("0-1", "3-4") if level == "factors" else ()  # layer 2 has a mask, which no plan knows
    blocks = ("image.text", "image.image", "all.all")
    keep = Keep(level, keys, mass, blocks, layers, ("cond", "uncond", "skip"), entropy)
    with TraceWriter(tmp_path, manifest(session, request)) as writer:
        plans, _, _ = record_session(session, [request], keep, lambda _, *shard: writer.put(*shard))
    written = sum(path.stat().st_size for path in tmp_path.glob("attention/*.safetensors"))
    assert plans[0].bytes == written


def test_masks_add_little_to_the_prediction(tmp_path):
    """Masks, which only the run shows, stay within the allowed 5 % of the predicted bytes."""
    session = shared_session("fake")
    request = session.complete(PROMPT)
    with TraceWriter(tmp_path, manifest(session, request)) as writer:
        keep = Keep(level="factors", blocks=("all.all",))
        plans, _, _ = record_session(session, [request], keep, lambda _, *shard: writer.put(*shard))
    written = sum(path.stat().st_size for path in tmp_path.glob("attention/*.safetensors"))
    assert plans[0].bytes < written <= 1.05 * plans[0].bytes


def manifest(session, request):
    """Describe a trace just enough for it to be written."""
    kept = Kept("maps", "content", "text", False, (), (), ())
    layers = session.layers(request)
    return Manifest(
        "partial",
        "fake",
        {},
        request,
        ("cond",),
        1,
        (),
        layers,
        {},
        {},
        (),
        {},
        kept,
        {},
        (),
        {},
        {},
    )


@pytest.mark.parametrize("order", [1, 2])
def test_predictions_hold_for_other_samplers(tmp_path, order):
    """Second-order samplers call twice per step and still write one shard per step."""
    session = shared_session("sd15")
    scheduler = {1: None, 2: "heun"}[order]  # the model's own is PNDM
    request = session.complete(Request("a cat", steps=3, width=96, height=64, scheduler=scheduler))
    with TraceWriter(tmp_path, manifest(session, request)) as writer:
        plans, _, _ = record_session(session, [request], None, lambda _, *shard: writer.put(*shard))
    sizes = [path.stat().st_size for path in tmp_path.glob("attention/*.safetensors")]
    assert (len(sizes), sum(sizes)) == (4, plans[0].bytes)  # with the means
