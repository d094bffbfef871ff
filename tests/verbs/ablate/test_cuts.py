"""What people type to cut something."""

import re

import pytest

from attn.errors import UsageError
from attn.schema import CutTarget, Intervention
from attn.verbs.ablate.cuts import parse_cut, parse_cuts

COND = {"branch": "cond"}
CUTS = {
    "red": Intervention(CutTarget(words=("red",), **COND)),
    "red cat@steps=0-9": Intervention(CutTarget(words=("red cat",), steps=(0, 9), **COND)),
    "word padding": Intervention(CutTarget(words=("padding",), **COND)),
    "me@home": Intervention(CutTarget(words=("me@home",), **COND)),
    "padding@branch=both": Intervention(CutTarget(roles=("padding",))),
    "sketch@noise=0.3-1": Intervention(CutTarget(segments=("sketch",), noise=(0.3, 1.0), **COND)),
    "segment t5": Intervention(CutTarget(segments=("t5",), **COND)),
    "sinks": Intervention(CutTarget(sinks=1, **COND)),
    "sinks:3@random=7": Intervention(CutTarget(sinks=3, random=7, **COND)),
    "keys clip:0-1,5": Intervention(
        CutTarget(positions=(("clip", 0), ("clip", 1), ("clip", 5)), **COND)
    ),
    "head 4.2": Intervention(CutTarget(layers=("4",), heads=(2,), queries="all"), "skip"),
    "head up.1.attn.0.0-2@mean": Intervention(
        CutTarget(layers=("up.1.attn.0",), heads=(0, 1, 2), queries="all"), "mean"
    ),
    "layer up.*,3@steps=2": Intervention(
        CutTarget(layers=("up.*", "3"), queries="all", steps=(2, 2)), "skip"
    ),
    "red@layers=0-3,7,heads=1,queries=text,scale=0.5": Intervention(
        CutTarget(words=("red",), layers=("0-3", "7"), heads=(1,), queries="text", **COND),
        "scale",
        0.5,
    ),
    "head 4.2@weigh=-2": Intervention(
        CutTarget(layers=("4",), heads=(2,), queries="all"), "weigh", -2.0
    ),
    "red@steps=0-3,swap=a blue, round cat": Intervention(
        CutTarget(words=("red",), steps=(0, 3), **COND), "swap", source="a blue, round cat"
    ),
    "text@swap_keys=a dog": Intervention(
        CutTarget(segments=("text",), **COND), "swap_keys", source="a dog"
    ),
    "red@bias=-2": Intervention(CutTarget(words=("red",), **COND), "bias", -2.0),
}


@pytest.mark.parametrize("text", CUTS)
def test_cut_is_read(text):
    """Each form is the target and the act that the page says."""
    assert parse_cut(text) == CUTS[text]


def test_several_cuts():
    """One, several, none, and what is an intervention already."""
    cut = CUTS["red"]
    assert parse_cuts(None) == ()
    assert parse_cuts("red") == parse_cuts([cut]) == (cut,)


WRONG = {
    "": "expected a word of the prompt",
    "red@step=3": "unknown 'step'. Did you mean 'steps'?",
    "red@steps=9-0": "expected a range such as 0-9; got '9-0'",
    "red@steps=1.5": "expected whole numbers",
    "red@steps=": "expected whole numbers, such as 0-3,7; got ''",
    "red@random=,": "expected whole numbers",
    "red@heads=0-99999999999": "expected at most 10000 numbers; got '0-99999999999'",
    f"red@heads={'9' * 4301}": "expected a range such as 0-9",
    "red@noise=0-2": "noise is 0 to 1; got '0-2'",
    "red@scale=-2": "scale takes a factor from 0; got '-2'",
    "red@scale=x": "scale: expected a number; got 'x'",
    "red@act=melt": "expected act=mask, act=mean or act=skip; got 'melt'",
    "red@swap=": "swap takes the prompt whose keys come in, swap=a blue cat",
    "head 4": "expected LAYER.HEAD, such as 'head 4.2'; got 'head 4'",
    "keys 4": "expected SEGMENT:POSITIONS",
    "sinks:0": "sinks:0 are none",
    "head 4.2@mask": "to mask no keys of heads is nothing",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_cut(text):
    """One sentence says what was typed, and what could have been."""
    with pytest.raises(UsageError, match=f"^cut: .*{re.escape(WRONG[text])}"):
        parse_cut(text)
