"""Which word is ahead at each place."""

from fractions import Fraction

import numpy as np
import pytest

from attn.analysis.words.maps.dominance import LEAST, NO_WORD, dominance, lift, rivals
from attn.analysis.words.words import WordsOptions, run
from attn.words import find_words
from tests.helpers.toy_traces import JOINT, make_trace, manifest


def winner_of(maps, among, measure, place):
    """Return the dominant word of one place, in exact fractions, word by word."""
    exact = [[Fraction(float(value)) for value in maps[word].ravel()] for word in among]
    means = [sum(values) / len(values) for values in exact]
    at = np.ravel_multi_index(place, maps.shape[1:])
    values = [
        cells[at] / mean if measure == "lift" else cells[at]
        for cells, mean in zip(exact, means, strict=True)
    ]
    best = max(values)
    is_low = best <= 0 or (measure == "lift" and best < Fraction(LEAST))
    return NO_WORD if values.count(best) > 1 or is_low else among[values.index(best)]


@pytest.mark.parametrize("measure", ["lift", "mass"])
@pytest.mark.parametrize("among", [[0, 1, 2], [2, 0], [1]])
def test_dominance(measure, among):
    """The largest lift, or mass, wins a place; ties and small lifts are won by no word."""
    maps = np.random.default_rng(5).random((2, 3, 5, 7)) * [[[[9.0]], [[1.0]], [[1.0]]]]
    maps[:, 2, 0] = maps[:, 0, 0] * maps[:, 2].mean((1, 2))[:, None]  # near what word 0 has
    maps[0, :, 1, 1] = 0
    winners = dominance(maps, among, measure)
    for sample, *index in np.ndindex(2, 5, 7):
        expected = winner_of(maps[sample], among, measure, tuple(index))
        assert winners[(sample, *index)] == expected


def test_mass_is_no_lift():
    """A word of large, even mass leads everywhere by mass, and nowhere by lift."""
    maps = np.stack([np.full((3, 5), 0.9), np.where(np.arange(15) == 7, 0.3, 0.01).reshape(3, 5)])
    assert (dominance(maps[None], [0, 1], "mass") == 0).all()
    assert np.argwhere(dominance(maps[None], [0, 1])[0] == 1).tolist() == [[1, 2]]
    assert (dominance(maps[None], [0, 1])[0] == NO_WORD).sum() == 14


def test_ties():
    """Equal words win nothing, be they equal but for the rounding of single precision."""
    item = np.random.default_rng(3).random((3, 5)) ** 4
    both = np.stack([item, item * (1 + 1e-7)])[None]
    assert (dominance(both, [0, 1]) == NO_WORD).all()
    assert (dominance(both, [0]) != NO_WORD).any()


def test_words_without_maps():
    """Words of NaN or zeros take no part, and have no lift."""
    maps = np.zeros((1, 3, 3, 5))
    maps[0, 0], maps[0, 2, 1, 1] = np.nan, 1
    assert dominance(maps, [0, 1, 2])[0].tolist() == [[-1] * 5, [-1, 2, -1, -1, -1], [-1] * 5]
    assert np.isnan(lift(maps)[0, 0]).all()
    assert (lift(maps)[0, 1] == 0).all()
    assert (dominance(maps, []) == NO_WORD).all()


@pytest.mark.parametrize(
    ("names", "expected"),
    [(None, [2, 3]), (["the", "CAT"], [1, 2]), (["dog"], [])],
)
def test_rivals(names, expected):
    """Articles and prepositions compete only if they are named."""
    assert rivals(find_words("on the cat mat"), names) == expected


def test_only_articles():
    """Where there is nothing else, articles compete."""
    assert rivals(find_words("of the")) == [0, 1]


@pytest.mark.parametrize(
    ("words", "expected"), [(None, ["cat", "bobcat"]), (("a", "cat"), ["A", "cat", "a"])]
)
def test_table(words, expected):
    """`--words` limits who competes; areas and largest lifts are those of the maps."""
    result = run(make_trace(manifest(JOINT)), WordsOptions(words=words))
    table = result.tables["clip/tables/dominant.csv"]
    assert table["word"].drop_duplicates().tolist() == expected
    maps = result.arrays["clip"]
    indices = [list(maps["text"].values).index(word) for word in expected]
    values = maps.values[:, indices]
    winners = dominance(values, range(len(expected)))
    for number, word in enumerate(expected):
        rows = table[table["word"] == word]
        assert rows["dominant"].tolist() == (winners == number).mean((1, 2)).tolist()
        highest = [values[s, number].max() / values[s, number].mean() for s in range(2)]
        assert rows["lift_max"].tolist() == pytest.approx(highest, rel=1e-12)
    cells = result.tables["clip/base_analysis/grid_analysis_4x4.csv"]
    assert cells.groupby(["sample", "word", "occurrence"])["part"].sum().tolist() == pytest.approx(
        [1] * len(cells[["sample", "word", "occurrence"]].drop_duplicates())
    )
