"""What a comparison tells of a drawing: no more than the intervals of its tables show."""

import numpy as np
import pytest

from attn.analysis.sketch.overlap import REGIONS
from attn.analysis.tables import make_table
from attn.verbs.compare.answers.drawings import tell_drawing
from attn.verbs.compare.rows import VariantTables
from attn.verbs.report_page import plain
from attn.words import NAMING

NAMES = ("base", "variant", "change", "low", "high", "n")
CLEAR = (0.125, 0.5, 0.375, 0.25, 0.5, 16)
UNSHOWN = (0.125, 0.25, 0.125, -0.05, 0.3, 16)
UNKNOWN = (0.125, 0.25, 0.125, np.nan, np.nan, 3)
OVERLAPS = {
    "red": CLEAR,
    "left": (0.1, 0.9, 0.8, 0.7, 0.9, 16),
    "square": (0.5, 0.25, -0.25, -0.3, -0.2, 16),
}


def table(rows, **more):
    """Return a table of rows of numbers, by `NAMES`."""
    return make_table({name: [row[at] for row in rows] for at, name in enumerate(NAMES)} | more)


def told(overlaps, images=(), measure="inside", lifts=()):
    """Return what is told of words, in a region and in two shapes, and of images."""
    words = {"word": list(overlaps), "occurrence": [1] * len(overlaps)}
    words |= {"segment": ["clip"] * len(overlaps), "measure": [measure] * len(overlaps)}
    tables = {"sketch.csv": table([*overlaps.values()], **words)}
    if images:
        tables["sketch_images.csv"] = table(images, measure=["followed", "swapped"][: len(images)])
    if lifts:
        names = {"word": ["red"] * 2, "occurrence": [1] * 2, "segment": ["clip"] * 2}
        names |= {"shape": [1, 2], "where": ["left", "right"]}
        tables["sketch_shapes.csv"] = table(lifts, **names)
    return plain(tell_drawing(VariantTables("ring.png", tables, {})))


@pytest.mark.parametrize(
    ("overlaps", "measure", "text"),
    [
        (OVERLAPS, "inside",
         f"“red” has 50 % of its attention {REGIONS['inside']}, and 12.5 % with the baseline "
         "(difference: 95 % interval 25 to 50 percentage points). “square” has 25 % of its "
         f"attention {REGIONS['inside']}, and 50 % with the baseline (difference: 95 % interval "
         "-30 to -20 percentage points)."),
        ({"red": CLEAR}, "on",
         "“red” has 50 % of its attention on the drawing's strokes, and 12.5 % with the baseline "
         "(difference: 95 % interval 25 to 50 percentage points)."),
        ({"red": UNSHOWN}, "inside",
         f"No content word ({NAMING}) is shown to have more or less of its attention "
         f"{REGIONS['inside']}."),
        ({"red": UNKNOWN}, "inside",
         f"“red” has 25 % of its attention {REGIONS['inside']}, and 12.5 % with the baseline, in "
         "too few images to tell from chance."),
        ({"red": (0.5, 0.5, 0.0, 0.0, 0.0, 16)}, "inside", ""),
    ],
)  # fmt: skip
def test_words(overlaps, measure, text):
    """Words that name something are told where their interval leaves 0 out, the largest first."""
    assert told(overlaps, measure=measure) == text


@pytest.mark.parametrize(
    ("row", "end"),
    [
        (CLEAR, " (difference: 95 % interval 25 to 50 percentage points)."),
        ((0.25, 0.5, 0.25, -0.1, 0.6, 16), ", which is not shown to differ."),
        ((0.25, 0.5, 0.25, np.nan, np.nan, 3), ", in too few images to tell from chance."),
    ],
)
def test_images(row, end):
    """How far edges follow the strokes is told with how sure the difference is."""
    text = told({"red": UNSHOWN}, [row])
    start = "Of the drawing's strokes 50 % have an edge of the image within 2 % of its side with "
    base = "12.5" if row is CLEAR else "25"
    assert text.startswith(f"{start}ring.png, and {base} % with the baseline{end}")


@pytest.mark.parametrize("low", [0.5, -0.5])
def test_shapes(low):
    """The shape of a word's largest lift is told if it is shown to be read more than before."""
    lifts = [(1.0, 2.5, 1.5, low, 2.0, 16), (1.0, 0.5, -0.5, -0.6, -0.4, 16)]
    said = "“red” reads shape 1 (left) 2.5× as much as an even map, and 1× with the baseline."
    assert (said in told({"red": UNSHOWN}, lifts=lifts)) == (low > 0)


def test_swapped_words():
    """Images in which two words look swapped are counted."""
    text = told({"red": UNSHOWN}, [CLEAR, (0.0, 0.1875, 0.1875, 0.01, 0.4, 16)])
    assert "In 3 of 16 images with ring.png two words look swapped" in text


def test_no_drawing():
    """Without a drawing nothing is told of one."""
    assert tell_drawing(VariantTables("style", {}, {})) == []
