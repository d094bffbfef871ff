"""Pictures of comparisons."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from attn.analysis.compare.changes import TermChange, by_size, headline
from attn.analysis.compare.images import ImageDifference
from attn.analysis.compare.paired import paired_change
from attn.analysis.compare.terms import Term
from attn.schema import Layer
from attn.viz.compare.change_bars import draw_change_bars, draw_distribution
from attn.viz.compare.change_difference import draw_difference
from attn.viz.compare.change_heads import draw_change_heads
from attn.viz.compare.change_map import draw_change_map
from attn.viz.compare.change_points import leading
from attn.viz.compare.change_sketch import draw_change_sketch
from attn.viz.compare.change_summary import draw_summary
from attn.viz.compare.comparison_scene import (
    BASE,
    VARIANT,
    VARIANTS,
    ComparisonScene,
    SceneSide,
    name_terms,
    signed,
)
from attn.viz.compare.side_by_side import draw_images, draw_word
from attn.viz.figures import choose_fonts
from attn.viz.labels import printable
from attn.viz.words.cells import draw_cells
from attn.viz.words.dominant import draw_dominant
from attn.viz.words.word_colours import WORDS as COLOURS

RNG = np.random.default_rng(0)
WORDS = ["cat", "Donaudampfschifffahrtsgesellschaft", "猫", "$x$"]
HEADING = ("a cat", "toy")


def terms(words=WORDS, segment="clip"):
    """Return terms of one segment."""
    return [Term(segment, "word", word, 1, False, ((segment, 1),)) for word in words]


def change(size, shape=(), count=9):
    """Return changes of about a size, whose noise is a hundredth."""
    base = 0.1 + RNG.random((count, *shape)) / 100
    return paired_change(base, base + size + RNG.normal(size=base.shape) / 1000)


def side(label, *, picture=(30, 50), grid=(3, 5), words=WORDS):
    """Return a side with noise."""
    pixels = None if picture is None else RNG.integers(0, 256, (*picture, 3), np.uint8)
    return SceneSide(label, pixels, RNG.random((len(words), *grid)))


def scene(variants=1, words=WORDS, **options):
    """Return a scene in which the third word changes most."""
    sizes = [0, 0.01, 0.05, -0.02]
    changes = [
        by_size(
            [TermChange(term, change(size)) for term, size in zip(terms(words), sizes, strict=True)]
        )
        for _ in range(variants)
    ]
    sides = [side("base", **options)]
    sides += [side(f"style {number}", **options) for number in range(variants)]
    return ComparisonScene(
        "a cat", "toy · 9 pairs", terms(words), sides, changes, {"prompt": "a cat"}
    )


def texts(figure):
    """Return every text on a figure."""
    choose_fonts(figure)
    figure.canvas.draw()
    result = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        result += [text.get_text() for text in (*axes.texts, *axes.get_yticklabels())]
    return result


def maps(figure):
    """Return the images of maps: they have one value per place, not three colours."""
    images = [image for axes in figure.axes for image in axes.images]
    return [image for image in images if image.get_array().ndim == 2]


def test_change_heads():
    """Each opening token has base and variant on one scale, and its change on one around 0."""
    result = [
        TermChange(Term(name, "sink", "<s>", 1, False, ((name, 0),)), change(size, (5, 3)))
        for name, size in (("clip", 0.05), ("t5", -0.02))
    ]
    result[1].change.base[4, 2] = result[1].change.variant[4, 2] = np.nan
    layers = [Layer(index, "denoiser", f"{index}", "cross", 3, (), ()) for index in range(5)]
    shown = maps(draw_change_heads(scene(), result, layers).figure)[:6]
    assert [image.get_array().shape for image in shown] == [(3, 5)] * 6
    assert len({shown[position].get_clim() for position in (0, 1, 3, 4)}) == 1
    low, high = shown[2].get_clim()
    assert -low == high == pytest.approx(np.nanmax(np.abs(result[0].change.change)))
    np.testing.assert_array_equal(shown[3].get_array().filled(np.nan), result[1].change.base.T)


@pytest.mark.parametrize("variants", [1, 2, 3, 4])
def test_summary(variants):
    """Every side has its picture and the map of the word that changed most, on one scale."""
    figure = draw_summary(scene(variants)).figure
    shown = maps(figure)
    assert len(shown) == 1 + variants
    assert len({image.get_clim() for image in shown}) == 1
    result = texts(figure)
    assert result.count(printable("猫")) == 1 + variants + 1  # above the maps, and in the chart
    assert "Donaudampfschiff…" in result
    assert "$x$" in result
    for number in range(variants):
        assert f"style {number}" in result


def test_summary_tells_how_much_images_differ():
    """A variant's image has level and SSIM beside its name."""
    base, variant = scene().sides
    sides = [base, replace(variant, difference=(5.5911, 0.9))]
    figure = draw_summary(replace(scene(), sides=sides)).figure
    assert texts(figure).count("level 5.59 · SSIM 0.9") == 1


def test_summary_colours():
    """Points of a variant have its colour; they are filled where the interval leaves 0 out."""
    figure = draw_summary(scene(2)).figure
    (chart,) = [axes for axes in figure.axes if axes.get_xlabel().startswith("change of mass")]
    points = [line for line in chart.lines if line.get_marker() == "o"]
    assert [line.get_color() for line in points[::4]] == list(VARIANTS[1::2])
    filled = [line.get_markerfacecolor() == line.get_color() for line in points[:4]]
    assert filled[:3] == [True, True, True]


def test_summary_without_intervals():
    """Too few pairs say nothing of 0, so that no point is filled."""
    plain = scene()
    few = [TermChange(term, change(0.1, count=2)) for term in terms()]
    figure = draw_summary(replace(plain, changes=[few])).figure
    (chart,) = [axes for axes in figure.axes if axes.get_xlabel().startswith("change of mass")]
    points = [line for line in chart.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() for line in points] == ["white"] * 4


def test_change_sketch():
    """Every measure has a plot of the same words, those of most change inside, by variant."""
    shown = scene(6)
    small = [[TermChange(term, change(0.001)) for term in terms()] for _ in range(6)]
    measures = {"on": small, "inside": shown.changes, "iou": small}
    figure = draw_change_sketch(shown, measures).figure
    result = texts(figure)
    titles = ["On strokes", "Inside all closed shapes", "Overlap with strokes (IoU)"]
    assert [text for text in result if text in titles] == titles
    for axes in figure.axes[3:]:  # behind the images of the baseline and of two variants
        assert next(label.get_text() for label in axes.get_yticklabels()) == printable("猫")
        points = [line for line in axes.lines if line.get_marker() == "o"]
        assert len(points) == 4 * 4
        assert {line.get_color() for line in points} == set(VARIANTS)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"style {number} against base" for number in range(4)
    ]
    assert any("2 more variants in the tables" in text for text in result)


def test_change_sketch_of_open_strokes():
    """Where nothing is surrounded, the words are those of most change on strokes."""
    shown = scene()
    on = [
        [TermChange(term, change(size)) for term, size in zip(terms(), (0, 0.2, 0, 0), strict=True)]
    ]
    figure = draw_change_sketch(shown, {"on": on, "near": shown.changes}).figure
    *images, first, second = figure.axes
    assert len(images) == 2
    labels = [label.get_text() for label in first.get_yticklabels()]
    assert labels == [label.get_text() for label in second.get_yticklabels()]
    assert labels[0] == "Donaudampfschiff…"
    (point,) = [line for line in first.lines if line.get_marker() == "o"][1:2]
    assert point.get_xdata()[0] == pytest.approx(float(on[0][1].change.change))


@pytest.mark.parametrize(("count", "text"), [(5, "1 more variant"), (6, "2 more variants")])
def test_summary_of_many_variants(count, text):
    """More than four variants are not drawn, which is said."""
    figure = draw_summary(scene(count)).figure
    assert len(maps(figure)) == 5
    assert any(item.endswith(f" · {text} in the tables") for item in texts(figure))


def test_what_is_in_sight():
    """The seed is named where its pictures are, not in charts, which are of all pairs."""
    shown = replace(scene(), shown="shown: seed 7")
    layers = [Layer(0, "denoiser", "a", "cross", 2, (), ())]
    result = [TermChange(term, change(0.1, (1,))) for term in terms()]
    of_pictures = [draw_summary(shown), draw_images(shown)]
    of_all = [draw_change_bars(shown), draw_change_map(shown, result, layers)]
    for picture in of_pictures:
        assert "toy · 9 pairs · shown: seed 7" in texts(picture.figure)
    for picture in of_all:
        assert "toy · 9 pairs" in texts(picture.figure)


def test_summary_without_maps():
    """Without maps there are pictures and the chart."""
    plain = scene()
    sides = [SceneSide(item.label, item.image, None) for item in plain.sides]
    figure = draw_summary(
        ComparisonScene(plain.prompt, plain.subtitle, plain.words, sides, plain.changes, {})
    ).figure
    assert maps(figure) == []
    assert "Change of mass, content words first" in texts(figure)


@pytest.mark.parametrize("picture", [(30, 50), (50, 30), (20, 90)])
def test_shapes(picture):
    """Pictures and maps keep their shape, whatever it is."""
    grid = (picture[0] // 10, picture[1] // 10)
    shown = scene(picture=picture, grid=grid)
    for figure in (draw_summary(shown).figure, draw_word(shown, 0, "w.png").figure):
        for image in maps(figure):
            box = image.axes.get_window_extent()
            assert box.height / box.width == pytest.approx(picture[0] / picture[1])
            left, right, bottom, top = image.get_extent()
            assert (bottom - top, right - left) == picture


def test_word():
    """A word over both pictures is on one scale, and its means are given."""
    shown = scene()
    figure = draw_word(shown, 1, "word.png").figure
    first, second = maps(figure)
    assert first.get_clim() == second.get_clim()
    low, high = first.get_clim()
    mean = shown.sides[1].maps[1].mean()
    assert f"mean {mean:.3g} · {low:.3g} to {high:.3g}" in texts(figure)


@pytest.mark.parametrize("scale", ["auto", "shared", "own"])
def test_scale_of_a_word(scale):
    """Both maps of a word are on the range of both, on that of all words, or each on its own."""
    shown = scene()
    both = np.stack([side.maps for side in shown.sides[:2]])
    clims = [image.get_clim() for image in maps(draw_word(shown, 1, "word.png", scale).figure)]
    ranges = {
        "auto": [(both[:, 1].min(), both[:, 1].max())] * 2,
        "shared": [(0, both.max())] * 2,
        "own": [(of_word.min(), of_word.max()) for of_word in both[:, 1]],
    }
    np.testing.assert_allclose(clims, ranges[scale])


@pytest.mark.parametrize("scale", ["auto", "own"])
def test_scale_of_differences(scale):
    """Where a word changed is on one scale, or on the word's own, which then stands above it."""
    changed = [
        TermChange(term, change(size, (3, 5)))
        for term, size in zip(terms(), (1, 2, 4, 8), strict=True)
    ]
    figure = next(draw_difference(scene(), changed, None, scale)).figure
    largest = [np.abs(entry.change.change).max() for entry in changed]
    ends = largest if scale == "own" else [max(largest)] * 4
    np.testing.assert_allclose(
        [image.get_clim() for image in maps(figure)[:4]], [(-end, end) for end in ends]
    )
    told = [text for text in texts(figure) if text.startswith("to ±")]
    assert told == [f"to ±{100 * end:.3g} points" for end in largest if scale == "own"]


@pytest.mark.parametrize(("sizes", "is_pale"), [((1, 2), False), ((0.01, 2), True)])
def test_a_pale_word_has_a_scale_of_its_own(sizes, is_pale):
    """Beside the sheet on one scale is one with a scale for each word; a pale word is named."""
    rng = np.random.default_rng(5)
    base = np.full((9, 3, 5), 0.1)
    changes = [
        paired_change(base, base + size * (1 + rng.random(base.shape) / 99)) for size in sizes
    ]
    entries = [TermChange(*both) for both in zip(terms(["red", "cat"]), changes, strict=True)]
    sheets = list(draw_difference(scene(), entries, None))
    paths = ["difference.png", "difference-own-scale.png"]
    assert [sheet.path for sheet in sheets] == paths
    labels = [" ".join(axes.get_xlabel() for axes in sheet.figure.axes) for sheet in sheets]
    said = ["beside others:\nred\ndifference-own-scale.png" in label for label in labels]
    assert said == [is_pale, False]
    (sheet,) = draw_difference(scene(), entries, None, "shared")
    label = " ".join(axes.get_xlabel() for axes in sheet.figure.axes)
    assert ("beside others:\nred" in label) == is_pale
    assert "own-scale" not in label


def test_what_is_not_shown_is_paler_than_a_small_change():
    """Cells whose interval holds 0 are the palest of a page, though lines mark them."""
    base = np.full((9, 3, 5), 0.1)
    noise = RNG.normal(size=base.shape) / 100
    small = np.where(np.arange(5) < 2, 0.0, 0.15)  # of a scale that another word's change of 1 ends
    changes = [paired_change(base, base + size + noise) for size in (small, 1.0)]
    entries = [TermChange(*both) for both in zip(terms(["red", "cat"]), changes, strict=True)]
    figure = next(draw_difference(scene(), entries, None)).figure
    figure.canvas.draw()
    (left, bottom), (right, top) = figure.axes[0].get_window_extent().get_points().astype(int)
    pixels = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3].mean(-1)
    panel = pixels[bottom + 4 : top - 4, left + 4 : right - 4]
    edge = round(0.4 * panel.shape[1])
    bare, changed = panel[:, : edge - 4], panel[:, edge + 4 :]
    assert bare.min() < changed.mean() < bare.mean()


@pytest.mark.parametrize(
    ("article", "noun", "first"), [(0, 0, "cat"), (1, 0, "the"), (1, 2, "cat")]
)
def test_who_leads(article, noun, first):
    """Content words lead, but for articles that changed while they did not."""
    sides = np.full(4, 0.25)
    entries = [
        TermChange(term, paired_change(sides, sides + size / 64))
        for term, size in zip(terms(["the", "cat"]), (article, noun), strict=True)
    ]
    assert leading([entries])[0] == headline(entries).term.key
    assert headline(entries).term.text == first


@pytest.mark.parametrize(("level", "told"), [(0.0, "the same pictures"), (1.5, "mean 1.5 levels")])
def test_equal_images_have_a_reason_to_be_black(level, told):
    """Where no image changed the black panel says so."""
    image = ImageDifference(np.full((3, 5), level), 4, 0)
    assert told in texts(next(draw_difference(scene(), [], image)).figure)


@pytest.mark.parametrize("scale", ["shared", "own"])
def test_scale_of_cells(scale):
    """Cells of a word are on the scale of all words, or on its own."""
    heat = np.ones((2, 8, 16))
    heat[0, 0, 0] = 9
    figure = draw_cells(SceneSide("base", None, heat), ["a", "b"], [0, 1], 4, HEADING, scale)
    first, second = (image.get_clim()[1] for image in maps(figure)[:2])
    assert (first == second) == (scale == "shared")


def test_pictures_without_a_picture():
    """An interrupted run has no image: its place says so."""
    shown = scene(picture=None)
    assert texts(draw_images(shown).figure).count("no image") == 2


def test_change_bars():
    """Bars are the means of base and variant; the right panel has their relative change."""
    shown = scene()
    figure = draw_change_bars(shown).figure
    left, right = figure.axes
    widths = [bar.get_width() for bar in left.patches]
    first = shown.changes[0][0].change
    assert widths[:2] == [pytest.approx(float(first.base)), pytest.approx(float(first.variant))]
    assert right.patches[0].get_width() == pytest.approx(100 * float(first.relative))
    colours = {mpl.colors.to_hex(bar.get_facecolor()) for bar in left.patches}
    assert colours == {BASE, VARIANT}


def test_distribution():
    """Words have their mass in % of all attention, and ranked what they and larger ones have."""
    figure = draw_distribution(["a", "b", "c"], [0.1, 0.4, 0.3], [0, 1, 2], HEADING)
    shown = [[bar.get_width() for bar in axes.patches] for axes in figure.axes]
    assert shown[0] == pytest.approx([10, 40, 30])
    assert shown[1] == pytest.approx([50, 87.5, 100, 50, 37.5, 12.5])  # added up, and each
    assert [text for text in texts(figure) if text.endswith(" %")] == [
        *("10 %", "40 %", "30 %"),
        *("50 %", "87.5 %", "100 %"),
    ]


@pytest.mark.parametrize("count", [4, 8])
def test_cells(count):
    """Every cell of every word has its number, at its place."""
    words = ["a", "b"]
    heat = np.zeros((2, 8, 16))
    heat[0, 0, -1] = heat[1, -1, 0] = 1
    shown = SceneSide("base", RNG.integers(0, 256, (40, 80, 3), np.uint8), heat)
    figure = draw_cells(shown, words, [0, 1], count, HEADING)
    for axes, corner in ((figure.axes[1], (0, count - 1)), (figure.axes[2], (count - 1, 0))):
        numbers = [text.get_text() for text in axes.texts if text.get_ha() == "center"]
        assert len(numbers) == count**2
        assert float(numbers[corner[0] * count + corner[1]]) == 100
        index = next(text for text in axes.texts if text.get_text().startswith("100"))
        row, column = corner
        expected = ((column + 0.5) * 80 / count - 0.5, (row + 0.5) * 40 / count - 0.5)
        assert index.get_position() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "expected"), [(10.0, "1.6"), (13.0, "2.0"), (400.0, "39"), (1e6, "100")]
)
def test_numbers_of_small_cells(first, expected):
    """Numbers of 64 cells have a decimal, without which most would be alike, if there is room."""
    heat = np.full((1, 8, 8), 10.0)
    heat[0, 0, 0] = first
    shown = SceneSide("base", RNG.integers(0, 256, (40, 40, 3), np.uint8), heat)
    axes = draw_cells(shown, ["a"], [0], 8, HEADING).figure.axes[1]
    assert next(text.get_text() for text in axes.texts if text.get_ha() == "center") == expected


def test_dominant():
    """Bars give the area that each word has, the largest first, then that of no word."""
    winners = np.array([[0, 0, 2, 2, 2], [-1] * 5, [2, 2, 2, 2, -1]])
    shown = SceneSide("base", None, np.zeros((3, 3, 5)))
    figure = draw_dominant(shown, ["a", "b", "c"], winners, [0, 2], HEADING)
    chart, image = figure.axes[-1], figure.axes[1].images[-1].get_array()
    assert [bar.get_width() for bar in chart.patches] == pytest.approx([700 / 15, 200 / 15, 40])
    assert [label.get_text() for label in chart.get_yticklabels()] == ["c", "a", "no word"]
    assert image[0, 2] == 0 != image[0, 0]
    assert image[1, 0] == image.max()
    fills = [mpl.colors.to_hex(bar.get_facecolor()) for bar in chart.patches]
    assert fills[:2] == [COLOURS[2], COLOURS[0]]


def test_dominant_words_that_are_not_drawn():
    """Places of words beyond those that are named are counted together."""
    winners = np.array([[0, 1, 1, 1, 1]] * 3)
    shown = SceneSide("base", None, np.zeros((1, 3, 5)))
    chart = draw_dominant(shown, ["a"], winners, [0], HEADING).axes[-1]
    assert [label.get_text() for label in chart.get_yticklabels()] == ["a", "other words"]
    assert [bar.get_width() for bar in chart.patches] == pytest.approx([20, 80])


def test_some_words():
    """All words count in parts and areas, of which some are shown; pages say of how many."""
    heat = np.zeros((3, 3, 5))
    heat[0, 0], heat[1, 1], heat[2, 2] = 1, 1, 1
    shown, labels = SceneSide("base", None, heat), ["a", "b", "c"]
    bars = draw_distribution(labels, [0.1, 0.4, 0.3], [2, 0], HEADING)
    parts = [bar.get_width() for bar in bars.axes[1].patches]
    assert parts == pytest.approx([37.5, 50, 37.5, 12.5])
    cells = draw_cells(shown, labels, [2, 0], 4, HEADING)
    assert [label for label in texts(cells) if label in labels] == ["a", "c"]
    for figure in (bars, cells):
        assert figure.texts[1].get_text().endswith(" · 2 of 3 words shown")


def test_titles_of_several_prompts():
    """Charts of pairs of several prompts do not bear the name of one alone; pictures do."""
    shown = replace(scene(), prompt="a cat", others=2)
    assert "a cat and 2 more prompts" in texts(draw_change_bars(shown).figure)
    assert "a cat" in texts(draw_summary(shown).figure)
    assert "a cat" in texts(draw_change_bars(replace(shown, others=0)).figure)


def test_change_map():
    """Words go down and layers across; cells whose interval holds 0 are hatched."""
    layers = [Layer(index, "denoiser", "p", "cross", 2, (), ()) for index in (2, 5, 7)]
    sizes = np.array([0, 1.5, 0])
    result = [TermChange(term, change(sizes, (3,))) for term in terms(["a", "b"])]
    figure = draw_change_map(scene(), result, layers).figure
    axes = figure.axes[0]
    assert axes.images[0].get_array().shape == (2, 3)
    hatched = np.ma.getmaskarray(axes.images[0].get_array())
    assert hatched.any()
    assert not hatched[:, 1].any()
    (lines,) = [patch for patch in axes.patches if patch.get_hatch()]
    assert len(lines.get_path().vertices) == 5 * hatched.sum()
    assert "hatched: the 95 % interval holds 0" in texts(figure)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["p  2", "p  5", "p  7"]
    low, high = axes.images[0].get_clim()
    assert low == -high


def test_names_of_segments():
    """Where words of several segments are shown, the segment is named, and names stay short."""
    both = terms(["Donaudampfschifffahrtsgesellschaft"]) + terms(["cat"], "t5")
    assert list(name_terms(both, 17).values()) == ["Donaudamp… · clip", "cat · t5"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (1.234e-12, "0"), (0.1234, "+0.123"), (-12.34, "-12.3"), (12345.6, "+12346")],
)
def test_signed(number, text):
    """Numbers of change have a sign and few digits."""
    assert signed(number) == text


def test_global_state():
    """Drawing leaves matplotlib's settings alone."""
    before = dict(mpl.rcParams)
    draw_summary(scene())
    draw_change_bars(scene())
    assert dict(mpl.rcParams) == before


def test_words_that_are_left_out():
    """Where not all words have room those that changed most are drawn, and it is said how many."""
    words = [f"word{number}" for number in range(50)]
    sizes = [0.001] * 49 + [0.2]
    every = [TermChange(*pair) for pair in zip(terms(words), map(change, sizes), strict=True)]
    plain = scene()
    many = ComparisonScene(
        plain.prompt, plain.subtitle, plain.words, plain.sides, [by_size(every)], {}
    )
    layers = [Layer(0, "denoiser", "a", "cross", 2, (), ())]
    by_layer = [TermChange(item.term, change(size, (1,))) for item, size in zip(every, sizes,
                strict=True)]  # fmt: skip
    maps = SceneSide("base", None, RNG.random((50, 3, 5)))
    figures = {
        "24 of 50": draw_change_bars(many).figure,
        "40 of 50": draw_change_map(many, by_layer, layers).figure,
        "16 of 50": draw_cells(maps, words, range(50), 4, HEADING),
    }
    for remark, figure in figures.items():
        assert any(text.endswith(f" · {remark} words shown") for text in texts(figure))
    assert "word49" in texts(figures["24 of 50"])
    assert "word49" in texts(figures["40 of 50"])
