"""What figures of texts say of themselves: each number from its definition, in float64."""

import numpy as np
import pytest
import xarray as xr

from attn.analysis.texts import decisions, findings

RNG = np.random.default_rng(11)
NAN = float("nan")


def array(values, *dims, **coords):
    """Return an array with indices from 0 where no labels are given."""
    values = np.asarray(values, np.float64)
    return xr.DataArray(values, coords, dims)


READ = RNG.random((3, 5))
READ[1] = [0.9, NAN, 0.8, 0.9, 0.9]
MASS = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.5]])
TOKENS = ("position", ["a", "of", "cat"])
SINKS = np.array([[0, 0.5, 0], [0, 1.0, 0.5]])
CONFIDENCE = np.full((4, 3), NAN)
CONFIDENCE[0, 0], CONFIDENCE[2, 1:] = 0.5, (0.7, 0.9)
STATES = RNG.random((3, 3, 2))
STATES[1, 0], STATES[2, 0] = (0.2, 0.4), (NAN, NAN)
PATTERNS = np.array([[[3.0, 2.0], [1.0, NAN], [4.0, 4.0]]])
BLOCKS = RNG.random((2, 3, 3))
COSINES = np.array([[1, 0.5, 0.2], [0.5, 1, 0.9], [0.2, 0.9, 1]])
MATRIX = np.array([[[0.9, 0.1, 0], [0.25, 0.7, 0.05]], [[0.2, 0.3, 0.5], [0.1, 0.4, 0.5]]])
KEYS = ("key", ["a", "of", "cat"])
THREE = ["prompt", "masked", "decided"]
PARTS = ["prompt", "block 0", "block 1"]


def percent(part):
    """Return a part as figures have it."""
    return f"{100 * part:.3g} %"


@pytest.mark.parametrize(
    ("tell", "values", "told"),
    [
        (findings.tell_flow, array(READ, "layer", "step", layer=[2, 5, 7]),
         f"Step by step the text gives {percent(np.mean(np.nanmean(READ, 1)))} of its attention to "
         "the prompt: 87.5 % in layer 5, the most, "
         f"{percent(min(READ[0].mean(), READ[2].mean()))} in layer "
         f"{2 if READ[0].mean() < READ[2].mean() else 7}, the least"),
        (findings.tell_flow, array(READ[1:2], "layer", "step", layer=[5]),
         "Step by step the text gives 87.5 % of its attention to the prompt"),
        (findings.tell_flow, array([[NAN]], "layer", "step", layer=[5]), findings.NOTHING),
        (findings.tell_received, array(MASS, "layer", "position", token=TOKENS),
         "“cat” at 2 gets 40 % of all attention, the most of 3 tokens that are drawn"),
        (findings.tell_sinks, array(SINKS, "step", "position", token=TOKENS),
         "“of” at 1 is a sink in 75 % of layers and steps, the most of 2 tokens that ever are"),
        (findings.tell_sinks, array(0 * SINKS, "step", "position", token=TOKENS),
         "No token is a sink"),
        (decisions.tell_unmasking, array(CONFIDENCE, "step", "position", step=[0, 1, 2, 3]),
         "Half of 3 tokens were decided by step 2 of 3, with a mean confidence of 0.7"),
        (decisions.tell_states, array(STATES, "rows", "keys", "step", rows=THREE, keys=THREE),
         "Masked positions give 30 % of their attention to the prompt"),
        (findings.tell_patterns, array(PATTERNS, "measure", "layer", "step", measure=["entropy"],
                                       layer=[0, 1, 4]),
         "Attention is narrowest in layer 1 (entropy 1 nats) and widest in layer 4 (4)"),
        (findings.tell_blocks, array(BLOCKS, "written", "rows", "keys", written=[0, 1], rows=PARTS,
                                     keys=PARTS),
         f"While it is written, block 0 gives {percent(BLOCKS[0, 1, 0])} of its attention to the "
         f"prompt, and block 1 {percent(BLOCKS[1, 2, 0])}"),
        (findings.tell_similarity, array(COSINES, "layer", "other", layer=[0, 3, 4]),
         "Most alike read layers 3 and 4 (0.9), least alike read layers 0 and 4 (0.2)"),
        (findings.tell_similarity, array([[1]], "layer", "other", layer=[6]),
         "Only layer 6 was looked at"),
        (findings.tell_strongest, array(MATRIX[0], "query", "key", token=KEYS),
         "Strongest: “of” at 1 reads “a” at 0 with 25 %"),
        (lambda many: findings.tell_strongest(many, "layer"),
         array(MATRIX, "layer", "query", "key", layer=[3, 8], token=KEYS),
         "Strongest: “a” at 0 reads “cat” at 2 with 50 % in layer 8"),
        (findings.tell_states_of_layer,
         array(STATES[:, 0], "state", "step", state=["masked", "prompt", "decided"]),
         "From first to last step the text's attention to the prompt goes from 20 % to 40 %"),
    ],
)  # fmt: skip
def test_findings(tell, values, told):
    """A sentence has the means, places and ends of what is drawn, and says if there is nothing."""
    assert tell(values) == told


@pytest.mark.parametrize(
    ("together", "told"),
    [
        (0.5, "Surer decisions read more of the prompt (r 0.5, 9 decisions)"),
        (-0.5, "Surer decisions read less of the prompt (r -0.5, 9 decisions)"),
        (0.1, "How sure a decision is hardly goes with reading the prompt (r 0.1)"),
        (NAN, "Confidence is the same in all 9 decisions"),
    ],
)
def test_certainty(together, told):
    """A correlation is told by its sign, unless there is hardly any."""
    assert decisions.tell_certainty(together, 9) == told
