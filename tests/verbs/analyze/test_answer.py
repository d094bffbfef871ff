"""The sentences of a trace's report, against the tables that they are made from."""

from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.sketch.overlap import REGIONS
from attn.analysis.texts import flow, influence
from attn.analysis.texts.flow import FlowOptions
from attn.analysis.texts.influence import InfluenceOptions
from attn.verbs.analyze.analyze import analyze
from attn.verbs.analyze.answer import FLOW, RECEIVED, tell
from attn.verbs.report_page import REPORT, plain
from attn.wording import digits
from attn.words import NAMING
from tests.helpers.toy_texts import LENGTH, PROMPT, make_growing, make_text
from tests.helpers.toy_traces import JOINT, manifest, write_trace

pytestmark = pytest.mark.usefixtures("undrawn")
DOMINANT = {
    "word": ["star", "white", "star"],
    "occurrence": [1, 1, 2],
    "segment": ["clip"] * 3,
    "sample": [0] * 3,
    "dominant": [0.25, 0.0, 0.125],
    "lift_max": [7.0879, 1.1234, 2.5],
}
WHOLE = (
    "“star (1)” has 40 % of its attention in one sixteenth of the image, at the left edge, above "
    "the centre (an even map has 6.25 %). “star (2)” has 52.3 % of its attention in one sixteenth "
    "of the image, in the lower right corner. At its peak “star (1)” gets 7.09 times its mean, "
    f"the most of the content words ({NAMING}); “white” gets 1.12 times its mean, the "
    "least. "
    "“star (1)” leads in 25 % of the image, the most; no word leads in 62.5 %. The start token "
    "gets 61 %, a sink; the words get 20.3 % of the image's attention."
)


def columns(names, rows):
    """Return rows as the columns of a table."""
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def cells():
    """Return parts in a grid of 4 by 4: one star at the left, one at the lower right."""
    rows = []
    for word, number, at, most in (("star", 1, (1, 0), 0.4), ("star", 2, (3, 3), 0.523456)):
        for index in range(16):
            row, column = divmod(index, 4)
            part = most if (row, column) == at else (1 - most) / 15
            rows.append((word, number, row, column, part))
    return columns(["word", "occurrence", "row", "column", "part"], rows)


def roles():
    """Return masses of two layers; the text reads other things."""
    rows = [
        ("cond", 0, "image", layer, "clip", role, mass)
        for layer, masses in ((1, (0.7, 0.1, 0.15)), (3, (0.52, 0.306, 0.17)))
        for role, mass in zip(("bos", "word", "padding"), masses, strict=True)
    ]
    names = ["branch", "sample", "rows", "layer", "segment", "role", "mass"]
    return columns(names, [*rows, ("cond", 0, "clip", 1, "clip", "eos", 1.0)])


TABLES = {
    "clip/tables/dominant.csv": DOMINANT,
    "clip/base_analysis/grid_analysis_4x4.csv": cells(),
    "sinks/roles.csv": roles(),
}


def test_whole():
    """Places, concentration, leading words and sinks are told, each with the table that says it."""
    told = tell(manifest(), TABLES)
    assert plain(told) == WHOLE
    assert {sentence.href for sentence in told} == set(TABLES)


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ({}, "What was read is in the tables and figures below."),
        (
            {"clip/tables/dominant.csv": DOMINANT | {"lift_max": [1.1] * 3}},
            "No word is concentrated anywhere: none gets 1.2 times its mean at any place.",
        ),
    ],
)
def test_nothing_to_tell(tables, text):
    """Of even maps it is said that nothing is concentrated, and of no words nothing."""
    assert plain(tell(manifest(), tables)) == text


def shapes(chance):
    """Return lifts of two shapes and two samples, and the chance of the larger ones."""
    rows = [
        (word, 1, sample, shape, where, lift + sample, chance)
        for word, lifts in (("the", (9.0, 1.0)), ("red", (0.25, 4.5)), ("sky", (1.0, 1.1)))
        for sample in (0, 1)
        for shape, where, lift in ((1, "left", lifts[0]), (2, "right", lifts[1]))
    ]
    names = ["word", "occurrence", "sample", "shape", "where", "lift", "chance"]
    return columns(names, rows)


@pytest.mark.parametrize(
    ("chance", "text"),
    [
        (
            0.02,
            "“red” reads shape 2 (right) 5× as much as an even map, 1 (left) 0.75×. “sky” reads "
            "shape 2 (right) 1.6× as much as an even map, 1 (left) 1.5×.",
        ),
        (0.2, "No word is shown to read a closed shape of the drawing."),
    ],
)
def test_shapes(chance, text):
    """Content words are told of whose shape is no accident of its place, mean over images."""
    assert plain(tell(manifest(), {"sketch/shapes.csv": shapes(chance)})) == text


@pytest.mark.parametrize(
    ("samples", "start"), [(1, "Look at it: "), (2, "Look at it in image 2: ")]
)
def test_swapped_words(samples, start):
    """Words that look swapped are told, of several images with which one, after the shapes."""
    about = replace(manifest(), samples=samples)
    request = replace(about.request, prompt="a red square left of a purple star")
    lifts = {"red": (0.3, 3.0), "star": (0.3, 3.0), "purple": (3.0, 0.3), "square": (3.0, 0.3)}
    rows = [
        (word, 1, sample, shape + 1, "here", lift if sample == samples - 1 else 1.0, 0.02)
        for word, of_shapes in lifts.items()
        for sample in range(samples)
        for shape, lift in enumerate(of_shapes)
    ]
    names = ["word", "occurrence", "sample", "shape", "where", "lift", "chance"]
    told = tell(replace(about, request=request), {"sketch/shapes.csv": columns(names, rows)})
    assert told[-1].text.startswith(f"{start}red and purple look swapped: red reads shape 2")


@pytest.mark.parametrize(
    ("followed", "text"),
    [
        ((0.75, 1.0), "Of the drawing's strokes 87.5 % have an edge of the image within 2 % of its "
         "side, as have 12.5 % of all places."),
        ((np.nan, np.nan), "The image has no edges, so none follows the drawing."),
    ],
)  # fmt: skip
def test_strokes(followed, text):
    """How far edges follow the strokes is told, mean over images that have edges."""
    table = {"followed": list(followed), "anywhere": [0.125, 0.125]}
    assert plain(tell(manifest(), {"sketch/deviation.csv": table})) == text


@pytest.mark.parametrize(
    ("ratios", "text"),
    [
        ((3.0, 9.0), f"“red” has 30 % of its attention {REGIONS['inside']}, 3× an even map and the "
         "most of the content words."),
        ((1.1, 9.0), f"No content word ({NAMING}) has 1.2 times an even map's "
         f"attention {REGIONS['inside']}."),
        ((np.nan, np.nan), f"“red” has 20 % of its attention {REGIONS['on']}, 2× an even map and "
         "the most of the content words."),
    ],
)  # fmt: skip
def test_overlap(ratios, text):
    """The word that lies most in closed shapes is told, without any the one on the strokes."""
    names = ["word", "occurrence", "inside", "inside_ratio", "on", "on_ratio"]
    rows = [(word, 1, ratio / 10, ratio, 0.2, 2.0)
            for word, ratio in zip(("red", "the"), ratios, strict=True)]  # fmt: skip
    assert plain(tell(manifest(), {"sketch/words.csv": columns(names, rows)})) == text


def test_cut_words():
    """What a text encoder does not read is told with its words."""
    about = replace(manifest(), truncated={"cond": {"t5": " a  bobcat"}})
    assert (
        plain(tell(about, {})) == "The prompt is too long for t5, which does not read “a bobcat”."
    )


def test_report_of_a_trace(tmp_path):
    """The page has the paragraph, its tables, and every figure; it is the same every time."""
    trace = write_trace(tmp_path / "run", manifest(JOINT))
    pages = []
    for _ in range(2):
        done = analyze(trace)
        pages.append((trace / "analysis" / REPORT).read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
    assert done.traces[0].answer.startswith("Of the text of clip, “")
    for name in done.traces[0].files:
        if name.endswith(".png"):
            assert f'id="{name}"' in pages[0]
    assert analyze(trace, only=["sinks"], pictures=False).traces[0].answer == done.traces[0].answer


@pytest.mark.parametrize(("make", "growing"), [(make_text, False), (make_growing, True)])
def test_texts(make, growing):
    """Of a text it is told what generated tokens read, which token gets most, and if it is a sink.

    All from the exact probabilities, of which the tables are means.
    """
    trace, exact = make()
    tables = {
        name: table
        for result in (flow.run(trace, FlowOptions()), influence.run(trace, InfluenceOptions()))
        for name, table in result.columns.items()
    }
    prompt = exact[..., PROMPT:, :PROMPT].sum(-1).mean()
    received = exact.mean(tuple(range(exact.ndim - 1)))
    shares = {"the prompt": prompt, "generated text (themselves included)": 1 - prompt}
    read = " and ".join(
        f"{digits(100 * share)} % to {name}"
        for name, share in sorted(shares.items(), key=lambda item: -item[1])
    )
    first, second, third = tell(trace.manifest, tables)
    assert first.text == f"Of their attention generated tokens give {read}."
    assert second.text == (
        f"Of the prompt the token “t{received.argmax()}” at position {received.argmax()} gets "
        f"{digits(100 * received.max())} % of all attention, the most of {LENGTH} tokens (an even "
        f"share is {digits(100 / LENGTH)} %);"
    )
    sums = exact.mean(-3).sum(-2)  # of the column, in each step, layer and sample
    others = (sums.sum(-1, keepdims=True) - sums) / (LENGTH - 1)
    often = (sums > others + 3)[..., received.argmax()].mean()
    told = f"it is a sink in {digits(100 * often)} % of layers and steps."
    assert growing or third.text == told
    assert [sentence.href for sentence in (first, second)] == [FLOW, RECEIVED]


def test_no_sink_in_a_text():
    """Where no token is a sink that is said, and a token that differs by text has a number only."""
    received = {
        "position": [0, 1, 0, 1], "token": list("abcd"), "segment": ["generated"] * 4,
        "mass": [0.25, 0.75, 0.4, 0.6], "column_sum": [0.5, 1.5, 0.8, 1.2],
    }  # fmt: skip
    assert plain(tell(manifest(), {RECEIVED: received})) == (
        "Of the generated text the token at position 1 gets 67.5 % of all attention, the most of 2 "
        "tokens (an even share is 50 %); no token is a sink."
    )
