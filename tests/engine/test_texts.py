"""Models that write text: rows that are padded on the left, and what every step wrote."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention as sdpa

from attn.engine.plan import Keep, make_plan
from attn.engine.run import record
from attn.errors import CaptureError
from attn.schema import Call, Layer, Segment, Sequence, Token
from tests.helpers.toy_attention import CHANNELS, HEADS, attend, exact, given, states, whole

LENGTHS = (7, 11)
PADDING = (4, 0)
WRITTEN = 5


class Reader(nn.Module):
    """Self-attention of a padded batch, which hides the padding from every query."""

    hides = True

    def forward(self):
        """Attend, one row for each length."""
        query, key = (states(2, HEADS, 11, CHANNELS, seed=seed) for seed in (1, 2))
        hidden = torch.arange(11) < torch.tensor(PADDING)[:, None]
        mask = ~hidden[:, None, None].expand(2, 1, 11, 11) if self.hides else None
        return sdpa(query, key, key, attn_mask=mask)


def plan(length, **keep):
    """Plan a trace whose last positions are written by the model."""
    segments = (
        Segment("prompt", "text", 0, length - WRITTEN),
        Segment("generated", "text", length - WRITTEN, length, is_generated=True),
    )
    layer = Layer(0, "denoiser", "0", "self", HEADS, segments, segments, head_dim=CHANNELS)
    tokens = tuple(
        Token(index, segment.name, 1, "x", False, False, 0, 0, None)
        for segment in segments
        for index in range(segment.start, segment.stop)
    )
    sequences = {"cond": Sequence(segments, tokens)}
    return make_plan([layer], sequences, Keep(**keep), samples=1, steps=1, dtype="F32")


def wrote(step):
    """Return what a step wrote: numbers that tell rows, positions and steps apart."""
    indices = np.arange(22).reshape(2, 11) + 100 * step
    return {
        "tokens": indices.astype(np.int32),
        "masked": (indices % 3 == 0).astype(np.uint8),
        "finalised": (indices % 5 == 0).astype(np.uint8),
        "confidence": np.where(indices % 2, np.nan, indices / 1000).astype(np.float32),
    }


def call(step=0, outcome=wrote, padding=PADDING):
    """Announce a forward of both rows."""
    rows = (("cond", 0), ("cond", 1))
    ask = None if outcome is None else lambda: outcome(step)
    return Call("denoiser", step, None, 1.0, rows, padding=padding, outcome=ask)


def run(calls, model=None, **keep):
    """Record some calls; return the tensors by (trace, step)."""
    model = nn.Sequential(model or Reader())
    plans = [plan(length, **keep) for length in LENGTHS]
    written = {}

    def generate(on_call):
        for item in calls:
            on_call(item)
            model[0]()

    def write(trace, step, tensors):
        if step:  # not the mean over steps
            written[trace, step.index] = dict(tensors)

    record({"denoiser": model}, plans, 1, generate, write)
    return written


def test_padding_is_left_out():
    """A padded row is recorded as if it had run alone: its own positions, rows that sum to 1."""
    written = run([call()], level="heads")
    query, key = (states(2, HEADS, 11, CHANNELS, seed=seed) for seed in (1, 2))
    for row, padding in enumerate(PADDING):
        probs = exact(query[row : row + 1, :, padding:], key[row : row + 1, :, padding:])[0]
        got = written[row, 0]
        assert np.abs(got["0/headmap.all.all"][0, 0] - probs).max() < 1e-3
        assert np.abs(got["0/mass.all.all"][0, 0] - probs.mean(1)).max() <= 1e-5
        total = probs[:, -WRITTEN:, :-WRITTEN].sum(2).mean(1)
        assert np.abs(got["0/total.generated"][0, 0, :, 0] - total).max() <= 1e-5


def test_factors_of_a_padded_row():
    """The factors of a padded row have its own positions, and need no mask."""
    for (row, _), got in run([call()], level="factors").items():
        length = LENGTHS[row]
        assert got["0/query"].shape == (1, 1, HEADS, length, CHANNELS)
        assert got["0/lse"].shape == (1, 1, HEADS, length)
        assert "0/mask" not in got


def test_padding_that_nothing_hides():
    """Padding that is announced but read by the model would falsify every row."""
    reader = Reader()
    reader.hides = False
    with pytest.raises(CaptureError, match="announced with 4 positions of padding, but no mask"):
        run([call()], reader)


def test_wrong_padding_is_seen():
    """A padding that does not give the layout's length is not the layer's kernel."""
    with pytest.raises(CaptureError, match=r"no attention was seen.*11 queries, 11 keys"):
        run([call(padding=(3, 0))])


def test_alone():
    """One row without padding keeps its probabilities, also of a softmax in the open."""
    query, key, value = (states(2, HEADS, 7, CHANNELS, seed=seed) for seed in (1, 2, 3))
    mask = torch.zeros(2, 1, 7, 7)
    mask[0, ..., :3] = -torch.inf
    mask[0, ..., 5, 6] = -torch.inf
    seen = attend(query, key, value, attn_mask=mask)
    alone = seen.alone(0, 3)
    assert np.abs(whole(alone)[0] - whole(seen)[0][:, 3:, 3:]).max() <= 1e-6
    assert alone.mask is not None
    assert seen.alone(1, 0).mask is None
    opened = given(2, HEADS, 7, 7)
    assert np.array_equal(whole(opened.alone(1, 2))[0], whole(opened)[1][:, 2:, 2:])


def test_what_a_step_wrote():
    """Every trace gets its own row of what a step wrote, without the padding."""
    written = run([call(0), call(1)])
    for (row, step), got in written.items():
        for name, values in wrote(step).items():
            own = values[row, PADDING[row] :]
            assert np.array_equal(got[f"step/{name}"][0, 0], own, equal_nan=name == "confidence")
            assert got[f"step/{name}"].dtype == values.dtype


def test_planned_shapes_are_written():
    """The plan says the shape of everything that a step writes."""
    written = run([call()])
    for row, length in enumerate(LENGTHS):
        shapes = plan(length).step_shapes()
        assert {name: value.shape for name, value in written[row, 0].items()} == {
            name: shape for name, (shape, _) in shapes.items()
        }


@pytest.mark.parametrize("outcome", [None, lambda step: {"tokens": wrote(step)["tokens"]}])
def test_silent_steps(outcome):
    """A backend that writes text and does not say what is stopped."""
    with pytest.raises(CaptureError, match="lays out a generated segment, but does not say its"):
        run([call(outcome=outcome)])


def test_what_is_always_kept():
    """Of a model that writes, every key has a column, and each segment's rows are measured."""
    made = plan(11)
    assert made.kept.keys == "all"
    assert made.layers[0].layer.blocks == ("all.all", "prompt.all", "generated.all")
    assert len(made.layers[0].blocks[0].groups) == 11
    names = made.step_shapes().keys()
    assert {"0/entropy.generated.all", "0/total.prompt", "0/map.all.all"} <= names
    assert "0/map.generated.all" not in names


def test_outcome_of_another_shape():
    """What a step wrote has one number for each position of the batch, padding included."""
    short = {name: values[:, :-1] for name, values in wrote(0).items()}
    message = r"the tokens of a Call's outcome have shape \(2, 10\), .* with 11 positions, padding"
    with pytest.raises(CaptureError, match=message):
        run([call(outcome=lambda step: short)])
