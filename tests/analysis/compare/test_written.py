"""What two texts differ in, against sums that are written out."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from attn.analysis.compare import written
from attn.analysis.compare.written import WrittenDecisions, read_decisions, text_changes
from attn.errors import TraceError

END = 9


def decided(tokens, confidence=None, steps=None, blocks=None):
    """Return decisions of a text; without steps one token is written after the other."""
    count = len(tokens)
    return WrittenDecisions(
        np.array(tokens),
        np.array(confidence or [0.5] * count, np.float64),
        np.array(steps or range(count)),
        np.array(blocks or range(count)),
        {},
    )


def test_tokens_and_confidence():
    """Of the end marks the first counts; a position that one text lacks is another token."""
    before = decided([4, 5, END, END, END], [0.5, 0.25, 1, 1, 1])
    after = decided([4, 6, 7, END, END], [0.75, 0.5, 0.5, 0.25, 1])
    changes = text_changes(before, after)
    assert changes["token"] == 2 / 4  # the longer text has four positions, and an end mark in both
    assert changes["text"] == 1
    assert changes["confidence"] == pytest.approx((0.25 + 0.25 - 0.5 - 0.75) / 4, abs=1e-15)
    assert text_changes(before, before) == {"token": 0, "text": 0, "confidence": 0}
    assert text_changes(decided([4, 5]), decided([4]))["token"] == 1 / 2


def test_order_against_a_loop():
    """All pairs of one block are looked at, before, at once and after; blocks stay apart."""
    random = np.random.default_rng(3)
    steps = random.integers(0, 4, (2, 11))
    blocks = [0] * 5 + [1] * 6
    pairs = [(i, j) for i in range(11) for j in range(i) if blocks[i] == blocks[j]]
    changed = [
        np.sign(steps[0, i] - steps[0, j]) != np.sign(steps[1, i] - steps[1, j]) for i, j in pairs
    ]
    before, after = (decided(range(11), steps=of.tolist(), blocks=blocks) for of in steps)
    assert text_changes(before, after)["order"] == pytest.approx(np.mean(changed), abs=1e-15)
    assert "order" not in text_changes(decided([1, 2]), decided([2, 1]))


def trace(history):
    return SimpleNamespace(
        folder="toy",
        manifest=SimpleNamespace(outputs={"outputs/text.txt": "", "outputs/history.json": ""}),
        output=lambda name: history.encode(),
    )


def test_history_of_unmasking():
    """A step decides several positions; what was never decided has no token."""
    read = read_decisions(
        trace(
            '{"prompt_length": 5, "gen_length": 3, "texts": {"4": "cat"}, "steps": [{"step": 0, '
            '"block": 0, "finalised": [7, 5], "confidence": [0.5, 0.25], "tokens": [4, 8, 6]}]}'
        )
    )[0]
    assert read.tokens.tolist() == [4, written.NONE, 6]
    assert read.steps.tolist() == [0, written.NONE, 0]
    assert (read.text(0), read.confidence[2], math.isnan(read.confidence[1])) == ("cat", 0.5, True)


@pytest.mark.parametrize(
    "history", ["[3]", "{", '{"prompt_length": 3, "steps": [{}], "texts": {}}']
)
def test_damaged_history(history):
    """What is no history is said with the file's name."""
    with pytest.raises(TraceError, match=r"toy/outputs/history\.json is no history of a text"):
        read_decisions(trace(history))
