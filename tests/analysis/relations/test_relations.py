"""What places and words read, against probabilities of which every number is known."""

import numpy as np
import pytest

from attn.analysis.registry import find, plan
from attn.analysis.relations.readers import OTHERS, ReadersOptions, run_to_image, run_to_text
from attn.analysis.words.words import WordsOptions, run
from attn.errors import AnalysisError, UsageError
from attn.options import describe_options, parse_options
from tests.helpers.toy_probs import block, full_manifest, make_related
from tests.helpers.toy_traces import CLIP_WORDS, CROSS, T5_WORDS, make_trace, manifest

FINE = (6, 10)


@pytest.fixture(scope="module")
def made():
    """A trace of two joint layers on two grids, with the maps of all four relations, and probs."""
    return make_related()


def mean_rows(about, probs, name, rows):
    """Mean over heads, steps and some rows of each layer: (sample, key) by layer."""
    return {
        layer.index: np.mean(
            [block(probs[step, layer.index], layer, name)[0].mean(1)[:, rows[layer.index]].mean(1)
             for step in range(3)],
            axis=0,
        )
        for layer in about.layers
    }  # fmt: skip


def on_fine_grid(by_layer):
    """Mean over the layers on the fine grid; a coarse cell's amount is shared out."""
    coarse = np.repeat(np.repeat(by_layer[0].reshape(-1, 3, 5), 2, 1), 2, 2) / 4
    return (coarse + by_layer[2].reshape(-1, 6, 10)) / 2


@pytest.mark.parametrize(
    ("place", "coarse", "fine"),
    [
        ((3, 7), [8], [37]),
        ((1, 3, 4, 5), [1, 2, 6, 7], [13, 14, 23, 24, 33, 34]),
    ],
)
def test_where_a_place_looks(made, place, coarse, fine):
    """The map of a cell, or of a region, is the mean of its rows, amounts kept over two grids."""
    trace, about, probs = made
    result = run(trace, WordsOptions(from_=place))
    rows = {0: coarse, 2: fine}
    expected = on_fine_grid(mean_rows(about, probs, "image.image", rows))
    np.testing.assert_allclose(result.arrays["words/from"].values[:, 0], expected, rtol=1e-5)
    table = result.tables["words/from/looks.csv"]
    np.testing.assert_allclose(table["attention"], expected.ravel(), rtol=1e-5)
    read = mean_rows(about, probs, "image.text", rows)
    words = result.tables["words/from/read_words.csv"]
    first = words[(words["word"] == "bobcat") & (words["sample"] == 1)]
    there = np.mean([read[index][1, [5, 6]].sum() for index in (0, 2)])
    everywhere = mean_rows(about, probs, "image.text", dict.fromkeys((0, 2), slice(None)))
    whole = np.mean([everywhere[index][1, [5, 6]].sum() for index in (0, 2)])
    np.testing.assert_allclose(first["attention"], there, rtol=1e-5)
    np.testing.assert_allclose(first["lift"], there / whole, rtol=1e-5)
    told = result.tables["words/from/place.csv"]
    np.testing.assert_allclose(told["to_images"], expected.sum((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(told["attention"], expected.max((1, 2)), rtol=1e-5)


def test_words_read_the_picture(made):
    """A word's map is the mean of its tokens' rows, and the table says how much goes there."""
    trace, about, probs = made
    result = run_to_image(trace, ReadersOptions())
    assert [*result.arrays] == ["clip", "t5"]
    for segment, positions in (("clip", CLIP_WORDS), ("t5", T5_WORDS)):
        having = [own for own in positions.values() if own]
        maps = [
            on_fine_grid(mean_rows(about, probs, "text.image", dict.fromkeys((0, 2), own)))
            for own in having
        ]
        expected = np.stack(maps, 1)
        np.testing.assert_allclose(result.arrays[segment].values, expected, rtol=1e-5)
        table = result.tables["text_to_image/readers.csv"]
        mine = table[table["segment"] == segment]
        np.testing.assert_allclose(mine["to_image"], expected.sum((2, 3)).ravel(), rtol=1e-5)
        row = (np.unravel_index(expected.reshape(2, len(having), -1).argmax(-1), FINE)[0] + 0.5) / 6
        np.testing.assert_allclose(mine["peak_row"], row.ravel())


def test_words_read_words(made):
    """A word gives to another what its tokens give to all tokens of that; rows sum to 1."""
    trace, about, probs = made
    result = run_to_text(trace, ReadersOptions())
    matrix = result.arrays["clip"]
    assert matrix["read"].values.tolist() == ["A (1)", "cat", "a (2)", "bobcat", *OTHERS]
    keys = [[*clip, *t5] for clip, t5 in zip(CLIP_WORDS.values(), T5_WORDS.values(), strict=True)]
    for number, own in enumerate(CLIP_WORDS.values()):
        read = mean_rows(about, probs, "text.text", dict.fromkeys((0, 2), own))
        mean = (read[0] + read[2]) / 2
        expected = np.stack([mean[:, at].sum(-1) for at in keys], -1)
        np.testing.assert_allclose(matrix.values[:, number, :4], expected, rtol=1e-5)
        np.testing.assert_allclose(matrix.values[:, number, 5], 1 - mean.sum(-1), rtol=1e-4)
    np.testing.assert_allclose(matrix.values.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        result.tables["text_to_text/pairs.csv"]["attention"][: matrix.size],
        matrix.values.ravel(),
        rtol=1e-6,
    )


def test_a_coarse_layer_alone(made):
    """Layers that are named decide which are read; the place is that of the whole trace's grid."""
    trace, about, probs = made
    looks = run(trace, WordsOptions(from_=(5, 9), layers=("0",))).arrays["words/from"]
    expected = mean_rows(about, probs, "image.image", {0: [14], 2: [59]})[0].reshape(-1, 3, 5)
    np.testing.assert_allclose(looks.values[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((6, 0), "from=6,0 is outside of the picture's grid of 6 rows and 10 columns: rows are 0"),
        ((0, 0, 2, 11), "from=0,0,2,11 is outside of .* rows are 0 to 5, columns 0 to 9"),
        ((-1, 2), "from=-1,2 is outside"),
    ],
)
def test_a_place_outside(made, place, message):
    """A place that the picture does not have is an error that names its grid."""
    with pytest.raises(AnalysisError, match=message):
        run(made[0], WordsOptions(from_=place))


@pytest.mark.parametrize("text", ["3", "3,4,5", "3,4,3,8", "3,4,5,6,7"])
def test_no_place(text):
    """What is neither a cell nor a region is refused with both forms."""
    with pytest.raises(UsageError, match=r"from: got .*; expected ROW,COLUMN, or ROW,COLUMN,ROW"):
        parse_options(WordsOptions, {"from": text}, "analysis words")
    names = [option.name for option in describe_options(WordsOptions)]
    assert "from" in names
    assert "from_" not in names


def test_what_would_keep_it():
    """Where a relation was not kept, the message says what would keep it, or that nothing would."""
    cross, joint = make_trace(manifest(CROSS)), make_trace(full_manifest(level="mass"))
    with pytest.raises(
        AnalysisError, match=r"image\.image, which was not .* --blocks image\.image"
    ):
        run(cross, WordsOptions(from_=(0, 0)))
    with pytest.raises(AnalysisError, match="no captured layer's text reads anything"):
        plan(cross, ["text_to_image"])
    with pytest.raises(AnalysisError, match=r"text\.text, which were not kept|--blocks text\.text"):
        plan(joint, ["text_to_text"])


def test_relations_are_only_of_traces_that_kept_them(made):
    """A trace without the block hears nothing of these analyses; one that has it runs both."""
    names = {"text_to_image", "text_to_text"}
    without = plan(make_trace(manifest(CROSS)))
    assert not names & ({*without.skipped} | {analysis.name for analysis in without.runnable})
    assert names <= {analysis.name for analysis in plan(made[0]).runnable}
    assert find("text_to_text").joins == ("pairs.csv",)
