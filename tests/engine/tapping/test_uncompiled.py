"""A tap looks at what torch.compile made, and leaves the compiler as it was."""

import gc

import pytest
import torch
from torch import nn
from torch._dynamo import eval_frame
from torch.nn.attention.flex_attention import flex_attention

import attn
from attn.errors import CaptureError

HEADS, WIDTH, LENGTH = 3, 16, 5


class Attend(nn.Module):
    """Attends with a function that it is given."""

    def __init__(self, attend):
        super().__init__()
        self.attend = attend

    def forward(self, x):
        query, key, value = x.unflatten(-1, (3, HEADS, WIDTH)).permute(2, 0, 3, 1, 4)
        return self.attend(query, key, value).transpose(1, 2).flatten(2)


@pytest.fixture
def x():
    torch.manual_seed(7)
    return torch.randn(2, LENGTH, 3 * HEADS * WIDTH)


@pytest.fixture(autouse=True)
def _stance():
    """Nothing of the compiler's state outlives a tap."""
    yield
    assert eval_frame._stance.stance == "default"


def compiled(function):
    """Compile a function without a compiler of machine code; return it and its list of graphs."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    return torch.compile(function, backend=backend, fullgraph=True), graphs


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_goes_on_in_and_after_a_tap(x):
    """Flex attention, which compiles itself, is refused by its name, and runs as without a tap."""
    model = Attend(flex_attention).eval()
    with (
        pytest.raises(CaptureError, match="flex_attention runs in place of"),
        attn.tap(model) as tap,
    ):
        inside = model(x)
    assert torch.equal(inside, model(x))
    assert isinstance(tap.error, CaptureError)


@torch.no_grad()
def test_compiled_functions_are_seen(x):
    """A function compiled before is seen in a tap, and runs compiled again behind it."""
    attend, graphs = compiled(lambda query, key, value: (query @ key.mT).softmax(-1) @ value)
    model = Attend(attend).eval()
    before = model(x)
    with attn.tap(model, keep="heads") as tap:
        model(x)
    assert tap.trace.probs(layer=0, step=0).shape == (HEADS, LENGTH, LENGTH)
    assert torch.equal(model(x), before)
    assert len(graphs) == 1


@torch.no_grad()
@pytest.mark.parametrize("before", [True, False])
def test_compiled_callers_are_followed(x, before):
    """What calls the model may be compiled, as generate is with a static cache on a GPU."""
    model = Attend(lambda query, key, value: (query @ key.mT).softmax(-1) @ value).eval()
    call, graphs = compiled(lambda x: model(x) + 0)
    if before:
        call(x)
    with attn.tap(model, keep="heads") as tap:
        call(x)
    call(x)
    assert tap.trace.probs(layer=0, step=0).shape == (HEADS, LENGTH, LENGTH)
    assert len(graphs) == 1


def test_taps_may_end_in_any_order():
    """The compiler stays off until the last tap ends, also of taps that are forgotten."""
    first, second = attn.tap(nn.Linear(3, 5)), attn.tap(nn.Linear(3, 5))
    first.__enter__()
    second.__enter__()
    first.__exit__(KeyboardInterrupt)
    assert eval_frame._stance.stance == "force_eager"
    del second
    gc.collect()
