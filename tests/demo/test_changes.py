"""What became of the objects of a picture."""

from dataclasses import replace

import numpy as np
import pytest

from attn.demo import judge, rendering, scenes
from attn.demo.changes import CHANGES, list_changes
from attn.demo.scenes import Content, ObjectKind, Scene, Thing

STAR, CIRCLE = ObjectKind("red", "star"), ObjectKind("blue", "circle")
CONTENT = Content((STAR, CIRCLE), "left of", "white")
THINGS = (Thing(STAR, (0.27, 0.5), 0.15), Thing(CIRCLE, (0.74, 0.5), 0.15))


def see(*things, background="white"):
    """Return what the judge sees in a picture of these things."""
    content = replace(CONTENT, background=background)
    return judge.find(rendering.render(Scene(content, things), 96))


BEFORE = see(*THINGS)
MOVED = Thing(CIRCLE, (0.27, 0.9), 0.1)
CASES = {
    "nothing": (THINGS, set()),
    "colour": ((replace(THINGS[0], kind=ObjectKind("green", "star")), THINGS[1]), {"colour"}),
    "shape": ((replace(THINGS[0], kind=ObjectKind("red", "square")), THINGS[1]), {"shape"}),
    "gone": ((THINGS[1],), {"gone", "number"}),
    "other": (
        (THINGS[0], replace(THINGS[1], kind=ObjectKind("green", "star"))),
        {"other colour", "other shape"},
    ),
    "number": ((*THINGS, Thing(CIRCLE, (0.5, 0.15), 0.1)), {"number"}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_change_is_told_from_the_others(case):
    """Only what was changed is 1; what cannot be told is missing."""
    things, expected = CASES[case]
    changes = list_changes(CONTENT, BEFORE, see(*things))
    assert {name for name, value in changes.items() if value} == expected
    lost = {"colour", "shape", "relation"} if case == "gone" else set()
    assert set(CHANGES) - changes.keys() == lost


def test_background_and_relation():
    """Objects that stay near can change sides: above each other instead of beside."""
    black = list_changes(CONTENT, BEFORE, see(*THINGS, background="black"))
    assert black["background"] == 1
    near = (Thing(STAR, (0.40, 0.43), 0.09), Thing(CIRCLE, (0.6, 0.57), 0.09))
    tilted = (Thing(STAR, (0.44, 0.38), 0.09), Thing(CIRCLE, (0.56, 0.62), 0.09))
    assert list_changes(CONTENT, see(*near), see(*tilted))["relation"] == 1


def test_second_object_is_the_one_that_is_cut():
    """Changes are of the object that is asked about."""
    things = (replace(THINGS[0], kind=ObjectKind("green", "star")), THINGS[1])
    changes = list_changes(CONTENT, BEFORE, see(*things), 1)
    assert {name for name, value in changes.items() if value} == {"other colour"}


def test_what_was_not_there_says_nothing():
    """A picture that did not show both colours cannot lose one by the cut."""
    assert list_changes(CONTENT, see(THINGS[0]), BEFORE) == {}
    one = scenes.read("a red star on a white background")
    assert "relation" not in list_changes(one, BEFORE, BEFORE)
    assert np.isfinite(list(list_changes(one, BEFORE, BEFORE).values())).all()
