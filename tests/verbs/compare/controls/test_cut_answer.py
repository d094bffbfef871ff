"""Whether a cut does what its map says, in sentences that claim no more than intervals show."""

import pytest
from pandas import DataFrame

from attn.verbs.compare.controls.cut_answer import tell_cuts

NAN = float("nan")


def row(measure, change, random=(NAN, NAN, NAN), difference=(NAN, NAN, NAN), word="red"):
    """Return a row of `cuts.csv`; each value is (mean, low, high)."""
    values = {"": change, "random_": random, "difference_": difference}
    ends = {
        f"{name}{end}": value
        for name, of in values.items()
        for end, value in zip(("change", "low", "high"), of, strict=True)
    }
    controls = 0 if random[0] != random[0] else 1
    return {"cut": "red cut", "word": word, "measure": measure, "controls": controls, **ends}


def told(*rows):
    """Return the sentences as one text."""
    return " ".join(sentence.text for sentence in tell_cuts(DataFrame(rows)))


LEVEL = row("level", (5.0, 4.0, 6.0), (1.0, 0.5, 1.5), (4.0, 3.0, 5.0))
SIDES = (
    LEVEL,
    row("inside", (30.0, 25.0, 35.0), (2.0, 1.0, 3.0)),
    row("outside", (4.0, 3.0, 5.0), (1.5, 1.0, 2.0)),
)
START = (
    "the image changes by 30 of 255 levels inside of the map of “red” and by 4 outside, after "
    "cutting as much at random by 2 and 1.5"
)
CASES = {
    "Cutting red does nothing: these are the same pictures.": (row("level", (0.0, 0.0, 0.0)),),
    "Cutting red changes the image by 5 of 255 levels, in too few images to tell from chance.": (
        row("level", (5.0, NAN, NAN)),
    ),
    "Cutting red changes the image by 5 of 255 levels; no cut as large was made at random "
    "to hold it against.": (row("level", (5.0, 4.0, 6.0)),),
    "Cutting red changes the image by 5 of 255 levels, more than chance: as much cut at random "
    "changes it by 1 (4, 95 % 3 to 5).": (LEVEL,),
    "Cutting red changes the image by 1 of 255 levels, less than chance: as much cut at random "
    "changes it by 5 (-4, 95 % -5 to -3).": (
        row("level", (1.0, 0.5, 1.5), (5.0, 4.0, 6.0), (-4.0, -5.0, -3.0)),
    ),
    "Cutting red changes the image by 5 of 255 levels, which is not shown to differ from chance: "
    "as much cut at random changes it by 4 (1, 95 % -1 to 3).": (
        row("level", (5.0, 4.0, 6.0), (4.0, 3.0, 5.0), (1.0, -1.0, 3.0)),
    ),
    f"Cutting red does what its map says: {START}; that is more to the point by 25.5, 95 % 20 to "
    "31.": (*SIDES, row("aimed", (26.0, 20.0, 32.0), (0.5, 0.1, 0.9), (25.5, 20.0, 31.0))),
}


@pytest.mark.parametrize("text", CASES)
def test_cut_is_told(text):
    """Each verdict needs the interval that shows it."""
    assert told(*CASES[text]) == text


@pytest.mark.parametrize(
    ("aimed", "difference", "verdict"),
    [
        ((1.0, -1.0, 3.0), (2.0, 1.0, 3.0), "Cutting red is not shown to do what its map says: "),
        ((-2.0, -3.0, -1.0), (2.0, 1.0, 3.0), "Cutting red does the opposite of what its map says"),
        ((2.0, 1.0, 3.0), (1.0, -1.0, 3.0), "Cutting red acts where its map points, but is not "),
        ((2.0, 1.0, 3.0), (-1.0, -2.0, -0.5), "Cutting red acts where its map points, but less "),
    ],
)
def test_cut_that_does_not_what_its_map_says(aimed, difference, verdict):
    """Without the one or the other interval above 0, nobody is told that it does."""
    assert told(*SIDES, row("aimed", aimed, (0.5, 0.1, 0.9), difference)).startswith(verdict)


def test_many_cuts_are_told_together():
    """Of a scan the strongest are named, and how it is with the rest."""
    rows = [
        row("level", (change, change - 1, change + 1)) | {"cut": f"head {change:g} cut"}
        for change in (9.0, 7.0, 5.0, 3.0, 1.0)
    ]
    aimed = row("aimed", (4.0, 2.0, 6.0)) | {"cut": "head 7 cut"}
    assert told(*rows, aimed) == (
        "Of 5 cuts head 9 changes the image most, by 9, 95 % 8 to 10 of 255 levels; then comes "
        "head 7 (7, 95 % 6 to 8 of 255 levels). Half of them change it by less than 5, head 1 by "
        "1, 95 % 0 to 2 of 255 levels, the least. Most to the point is head 7: inside of the map "
        "of “red” the image changes by 4, 95 % 2 to 6 more than outside."
    )


SHAPES = {
    "By the judge of the shapes world, cutting red changes more often than as much cut at random: "
    "colour in 40 % of the images (at random 5 %).": (0.35, 0.2, 0.5),
    "By the judge of the shapes world, cutting red is not shown to change anything of the objects "
    "more often than as much cut at random.": (0.35, -0.1, 0.8),
}


@pytest.mark.parametrize("text", SHAPES)
def test_shapes_are_judged(text):
    """What became of objects is told only where random cuts do less."""
    colour = row("colour", (0.4, 0.2, 0.6), (0.05, 0.0, 0.1), SHAPES[text])
    gone = row("gone", (0.1, 0.0, 0.2), (0.1, 0.0, 0.2), (0.0, -0.1, 0.1))
    assert told(LEVEL, colour, gone).endswith(text)
