"""The first paragraph of a comparison: sentences from tables, and no more than these show."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from attn.analysis.tables import make_table
from attn.verbs.compare.answer import tell, tell_variant
from attn.verbs.compare.rows import VariantTables, chance, farthest
from attn.verbs.report_page import plain

COLUMNS = ("word", "base", "change", "low", "high")
LAYERS = {1: "down.1", 5: "up.2.attn.1"}
UNKNOWN = float("nan")
SURE = 9.0
"""An effect size that is no chance, of 16 pairs."""


def table(rows, **more):
    """Return a table of words from (word, base, change, low, high)."""
    columns = {name: [row[at] for row in rows] for at, name in enumerate(COLUMNS)}
    relative = [row[2] / row[1] for row in rows]
    equal = {"occurrence": 1, "segment": "clip", "n": 16, "effect_size": SURE}
    common = {name: [value] * len(rows) for name, value in equal.items()}
    return make_table(columns | common | {"relative_change": relative} | more)


def images(level, ssim, low=None, high=None):
    """Return `images.csv`."""
    ends = {"low": level if low is None else low, "high": level if high is None else high}
    columns = {name: [end, ssim] for name, end in ends.items()}
    return make_table({"measure": ["level", "ssim"], "value": [level, ssim]} | columns)


def variant(rows, *, pairs=(0.1,) * 16, layers=(), picture=None):
    """Return the tables of a variant."""
    tables = {"mass.csv": table(rows)}
    count = len(pairs)
    tables["mass_pairs.csv"] = make_table(
        {
            "word": [rows[0][0]] * count,
            "occurrence": [1] * count,
            "segment": ["clip"] * count,
            "change": list(pairs),
        }
    )
    if layers:
        tables["mass_layers.csv"] = table(layers, layer=[1, 5])
    if picture is not None:
        tables["images.csv"] = picture
    return VariantTables("style", tables, LAYERS)


LEAD = ("square", 0.01, 0.014, 0.013, 0.015)
STILL = ("red", 0.04, -0.002, -0.0024, -0.0016)
NOISE = ("cat", 0.02, 0.001, -0.001, 0.003)


def test_a_word():
    """A word that leads is told with its factor, its images, its layer, and what others did."""
    layers = [("square", 0.01, 0.004, -0.1, 0.2), ("square", 0.01, 0.024, 0.02, 0.03)]
    told = variant([LEAD, STILL], pairs=[0.1] * 15 + [-0.1], layers=layers, picture=images(6, 0.9))
    assert [(sentence.text, sentence.href) for sentence in tell_variant(told)] == [
        ("With style the word “square” gets 2.4× the attention,", "tables/mass.csv"),
        ("more in 15 of 16 images,", "tables/mass_pairs.csv"),
        (
            "most of this gain in up.2.attn.1, where it gets 3.4× the attention;",
            "tables/mass_layers.csv",
        ),
        ("no other word moves by more than 6 %.", "tables/mass.csv"),
        ("The image changes by 6 of 255 levels (SSIM 0.9).", "tables/images.csv"),
    ]


@pytest.mark.parametrize(
    ("word", "layers", "text"),
    [
        ("the", [(-0.006, -0.007, -0.005), (0.004, 0.003, 0.005)],
         "layers differ: it gets 60 % less attention in down.1, 40 % more attention in "
         "up.2.attn.1;"),
        ("cat", [(-0.006, -0.007, -0.005), (0.007, 0.006, 0.008)],
         "layers differ: it gets 70 % more attention in up.2.attn.1, 60 % less attention in "
         "down.1;"),
        ("cat", [(-0.006, -0.007, -0.005), (0.004, -0.001, 0.009)],
         "it gets 60 % less attention in down.1;"),
        ("cat", [(-0.006, -0.007, -0.005), (0.001, 0.0009, 0.0011)],
         "most of this loss in down.1, where it gets 60 % less attention;"),
        ("cat", [(-0.006, -0.013, 0.001), (0.004, -0.001, 0.009)], None),
    ],
)  # fmt: skip
def test_layers_that_differ(word, layers, text):
    """A change is in one layer only if layers that change the other way are small beside it."""
    rows = [(word, 0.01, *layer) for layer in layers]
    sentences = tell_variant(variant([(word, 0.01, -0.001, -0.0012, -0.0008)], layers=rows))
    told = [of.text for of in sentences if of.href == "tables/mass_layers.csv"]
    assert [of for of in told if "hides" not in of] == ([] if text is None else [text])


def test_layers_are_told_once():
    """Where it is told that layers differ on a word, no mean is said to hide the same."""
    rows = [("cat", 0.01, *layer) for layer in [(-0.006, -0.007, -0.005), (0.007, 0.006, 0.008)]]
    told = plain(tell_variant(variant([("cat", 0.01, 0.001, 0.0008, 0.0012)], layers=rows)))
    assert "layers differ" in told
    assert "hides" not in told


@pytest.mark.parametrize(
    ("levels", "span"), [([7.0, 3.14, 18.75], ", 3.14 to 18.8 in the pairs"), ([6.0], "")]
)
def test_levels_of_pairs(levels, span):
    """Beside the mean stands how far pairs lie apart, if there are several."""
    told = variant([LEAD], picture=images(6, 0.9))
    told.tables["image_pairs.csv"] = make_table({"level": levels})
    text = plain(tell_variant(told))
    assert text.endswith(f"The image changes by 6 of 255 levels{span} (SSIM 0.9).")


def test_nothing():
    """What changes nothing at all says so, of words and of pictures."""
    rows = [("cat", 0.01, 0.0, 0.0, 0.0), ("a", 0.1, 0.0, 0.0, 0.0)]
    assert plain(tell_variant(variant(rows, picture=images(0.0, 1.0)))) == (
        "style changes nothing: every word gets the same attention in 16 of 16 images, "
        "and these are the same pictures."
    )


def test_unmoved():
    """Where pictures change and words do not, no cause is named: a style does that, and noise."""
    rows = [("cat", 0.1, 0.002, 0.001, 0.003), ("a", 0.1, 0.0, -0.001, 0.001)]
    assert plain(tell_variant(variant(rows, picture=images(40.25, 0.5)))) == (
        "With style attention hardly changes: no word moves by more than 3 %; but the image "
        "changes by 40.2 of 255 levels (SSIM 0.5), without moving attention."
    )


INVISIBLE = "by {} of 255 levels (SSIM 0.5), where 2.55 can be seen."


@pytest.mark.parametrize(
    ("picture", "pairs", "start"),
    [
        (images(0.5, 0.5), (0.5,), "On the whole nothing visible changes with style: images differ "
         f"{INVISIBLE.format(0.5)}"),
        (images(2.5, 0.5, 2.0, 3.0), (2.5,), "The image is not shown to change visibly with style: "
         f"it changes {INVISIBLE.format(2.5)}"),
        (images(2.549, 0.5, UNKNOWN), (2.549,), "On the whole nothing visible changes with style: "
         f"images differ {INVISIBLE.format(2.549)}"),
        (images(2.0, 0.5, UNKNOWN), (0.5, 3.5), "With style the word “square” gets 2.4× the "
         "attention,"),
        (images(9.0, 0.5), (9.0,), "With style the word “square” gets 2.4× the attention,"),
    ],
)  # fmt: skip
def test_what_is_seen_comes_first(picture, pairs, start):
    """Where nobody would see a difference, that is told before any word, however sure it moved."""
    told = variant([LEAD, STILL], picture=picture)
    told.tables["image_pairs.csv"] = make_table({"level": pairs})
    text = plain(tell_variant(told))
    assert text.startswith(start)
    assert "“square” gets 2.4× the attention" in text


def test_small_and_invisible():
    """Words that hardly move while nothing is seen are not named, though no interval holds 0."""
    rows = [("cat", 0.1, 0.002, 0.001, 0.003), ("a", 0.1, 0.0, -0.001, 0.001)]
    assert plain(tell_variant(variant(rows, picture=images(0.5, 0.9999)))) == (
        "On the whole nothing visible changes with style: images differ by 0.5 of 255 levels (SSIM "
        "0.9999), where 2.55 can be seen. With style attention hardly changes either: no word "
        "moves by more than 3 %."
    )


def test_words_are_told_by_what_they_are_ordered_by():
    """Words are ordered by the % that is told, but for those that hardly change."""
    rows = [("red", 0.5, 0.04, 0.03, 0.05), ("cat", 0.1, 0.02, 0.01, 0.03),
            ("sun", 0.1, 0.03, 0.02, 0.04), ("bee", 1e-4, 3e-3, 2e-3, 4e-3)]  # fmt: skip
    told = variant(rows)
    told.tables["mass_pairs.csv"]["word"][:] = "sun"
    assert plain(tell_variant(told)) == (
        "With style the word “sun” gets 30 % more attention, more in 16 of 16 images, “cat” gets "
        "20 % more attention and “red” gets 8 % more attention."
    )


LAYER = ("square", 0.01, 0.02, 0.019, 0.021)


def test_every_hidden_word():
    """The mean hides what it hides of each word: the first ones are named, the others counted."""
    names = ["square", "cat", "sun", "bee", "fox"]
    sizes = [0.02, 0.018, 0.016, 0.014, 0.012]
    layers = [(name, 0.01, size, size - 0.001, size + 0.001)
              for name, size in zip(names, sizes, strict=True)]  # fmt: skip
    told = variant([NOISE])
    told.tables["mass_layers.csv"] = table(layers, layer=[1, 5, 1, 5, 5])
    assert plain(tell_variant(told)).endswith(
        "The mean over layers hides that in down.1 “square” gets 3× the attention, in up.2.attn.1 "
        "“cat” gets 2.8× the attention and in down.1 “sun” gets 2.6× the attention, and likewise 2 "
        "more words."
    )


@pytest.mark.parametrize(
    ("lead", "layers", "effect", "hidden"),
    [
        (NOISE, [LAYER, NOISE], SURE, True),  # the mean shows nothing
        (STILL, [LAYER, NOISE], SURE, True),  # it shows another word
        (LEAD, [LAYER, NOISE], SURE, False),  # it shows this word
        (("square", 0.01, -0.001, -0.0012, -0.0008), [LAYER, NOISE], SURE, True),  # the other way
        (NOISE, [LAYER, NOISE], 0.55, False),  # shown alone, and not among all
        (NOISE, [("square", 0.1, 0.02, 0.019, 0.021), NOISE], SURE, False),  # little of its base
        (NOISE, [("a", 0.01, 0.02, 0.019, 0.021), NOISE], SURE, False),  # no content word
    ],
)
def test_what_the_mean_hides(lead, layers, effect, hidden):
    """What one layer does to a word is told if the mean over layers shows nothing like it."""
    told = variant([lead], layers=layers)
    told.tables["mass_layers.csv"]["effect_size"] = np.full(2, effect)
    expected = "The mean over layers hides that in down.1 “square” gets 3× the attention."
    assert (expected in plain(tell_variant(told))) == hidden


def test_chance():
    """The probability of a layer's change is that of Student's t test of the pairs."""
    changes = np.random.default_rng(3).normal(0.7, 1, 11)
    row = {"effect_size": changes.mean() / changes.std(ddof=1), "n": 11}
    assert chance(row) == pytest.approx(ttest_1samp(changes, 0).pvalue)
    assert chance({"effect_size": UNKNOWN, "n": 11}) == 0


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([NOISE], "With style no word is shown to get more or less attention: the interval of each "
         "holds 0."),
        ([("cat", 0.02, 0.01, UNKNOWN, UNKNOWN)], "With style the word “cat” changes most, as a "
         "part of what it had: it gets 50 % more attention, in too few images to tell from "
         "chance."),
        ([("a", 0.02, 0.02, 0.01, 0.03), LEAD, NOISE], "With style the word “square” gets 2.4× the "
         "attention, more in 16 of 16 images, no other content word (“a”, “of”, “left” … are "
         "none) is shown to get more or less."),
        ([NOISE, ("a", 0.02, 0.0002, 0.0001, 0.0003)], "With style no content word (“a”, “of”, "
         "“left” … are none) is shown to get more or less attention: the interval of each holds "
         "0."),
        ([("of", 0.02, 0.02, -0.01, 0.05), ("a", 0.02, 0.02, 0.01, 0.03)], "With style the word "
         "“a” gets 2× the attention, more in 16 of 16 images, no other word is shown to get more "
         "or less."),
        ([("a", 0.02, 0.02, 0.01, 0.03), ("of", 0.02, 0.018, 0.01, 0.02)], "With style the word "
         "“a” gets 2× the attention, more in 16 of 16 images, “of” gets 90 % more attention."),
        ([LEAD, ("red", 0.04, -0.04, -0.041, -0.039)], "With style the word “square” gets 2.4× the "
         "attention, more in 16 of 16 images, “red” gets 100 % less attention."),
        ([LEAD], "With style the word “square” gets 2.4× the attention, more in 16 of 16 images, "
         "it is the only word that was compared."),
        ([("cat", 1e-13, 0.02, 0.019, 0.021)], "With style the word “cat” gets 2 % of all "
         "attention, and next to none before, more in 16 of 16 images, it is the only word that "
         "was compared."),
    ],
)  # fmt: skip
def test_no_more_than_the_intervals(rows, text):
    """Nothing is claimed of a word whose interval holds 0, or is not known."""
    lead = next((row for name in ("square", "a") for row in rows if row[0] == name), rows[0])
    told = variant([lead, *(row for row in rows if row is not lead)])
    told.tables["mass.csv"] = table(rows)
    assert plain(tell_variant(told)) == text


def test_bound_holds():
    """The bound on all other words is not below the farthest end of any interval."""
    rows = [LEAD, ("red", 0.03, 0.001, 0.0009, 0.0011111)]
    text = plain(tell_variant(variant(rows)))
    bound = float(text.rpartition("more than ")[2].removesuffix(" %."))
    assert bound >= 100 * farthest({"low": 0.0009, "high": 0.0011111, "base": 0.03})
    assert bound == 3.8


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ([("sky", 0.01, -0.005, -0.006, -0.004), STILL], "“sky” gets 50 % less attention; no other "
         "word moves by more than 6 %."),
        ([("sky", 0.01, -0.005, -0.006, -0.004)], "“sky” gets 50 % less attention."),
        ([("sky", 0.01, -0.005, -0.006, -0.004), ("sea", 0.01, 0.004, 0.003, 0.005),
          ("sun", 0.01, 0.003, 0.002, 0.004), STILL, ("a", 0.01, 0.006, 0.005, 0.0069)],
         "“sky” gets 50 % less attention and “sea” gets 40 % more attention, and 1 more word moves "
         "by 25 % or more; no other word moves by more than 69 %."),
    ],
)  # fmt: skip
def test_other_words_that_move_much(others, text):
    """Beside a word that moves most, words that move much are named, and bounds are of the rest."""
    assert plain(tell_variant(variant([LEAD, *others]))).endswith(text)


@pytest.mark.parametrize(
    ("count", "rows", "end"),
    [
        (5, [LEAD], "; intervals are of 95 %, over 16 pairs of images."),
        (1, [("cat", 0.02, 0.0, UNKNOWN, UNKNOWN)], "; of 16 pairs of images, too few for "
         "intervals."),
    ],
)  # fmt: skip
def test_measure(count, rows, end):
    """The paragraph ends with what was measured, and variants that are left out are counted."""
    variants = [replace(variant(rows), label=f"style-{number}") for number in range(count)]
    text = plain(tell(variants, None))
    assert text.endswith(f"mean over layers, heads and steps{end}")
    assert ("1 more variants are in the tables." in text) == (count == 5)


def test_no_words():
    """Without tables of words and images there is nothing to tell."""
    assert tell([VariantTables("style", {}, {})], None) == []
