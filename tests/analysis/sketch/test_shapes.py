"""Closed shapes, edges and tokens of a drawing: every number from its definition, in float64."""

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import attn
from attn.analysis.sketch.edges import Deviation, measure_deviation, say_deviation
from attn.analysis.sketch.shapes import (
    describe_word,
    find_shapes,
    find_swapped,
    headline,
    measure_chance,
    measure_lifts,
)
from attn.analysis.sketch.sketch import NO_SHAPES, SketchOptions, run
from attn.analysis.sketch.strokes import thin
from attn.analysis.sketch.tokens import SINGLES
from attn.schema import SKETCH, find_words
from attn.trace.trace import open_trace
from attn.trace.words.occurrences import find_occurrences
from tests.helpers.editing import edit
from tests.helpers.toy_traces import manifest, write_trace

PROMPT = "a red square left of a purple triangle"
WORDS = find_occurrences(find_words(PROMPT))
NAMES = ("1 (left)", "2 (right)")


def boxes(height=22, width=35, *corners):
    """Return strokes around boxes, each given as top, left, bottom, right."""
    pixels = np.zeros((height, width), bool)
    for top, left, bottom, right in corners:
        pixels[top : bottom + 1, left : right + 1] = True
        pixels[top + 1 : bottom, left + 1 : right] = False
    return pixels


TWO = boxes(22, 35, (2, 20, 18, 33), (4, 1, 14, 13))


def lifts_of(**of_words):
    """Return (word, shape) lifts: those given by a word's text, else 1."""
    return np.array([of_words.get(word.text, (1.0, 1.0)) for word in WORDS])


def test_shapes_are_numbered_from_the_left():
    """What strokes surround is numbered from left to right, whatever its size."""
    shapes = find_shapes(TWO, (11, 7))
    assert shapes.names == NAMES
    assert (shapes.numbers[5:14, 2:13] == 1).all()
    assert (shapes.numbers[3:18, 21:33] == 2).all()
    assert (shapes.numbers > 0).sum() == 9 * 11 + 15 * 12


@pytest.mark.parametrize(
    ("corners", "names"),
    [
        (((1, 2, 8, 31), (11, 3, 20, 33)), ("1 (upper)", "2 (lower)")),
        (((11, 2, 20, 31), (1, 3, 8, 33)), ("1 (lower)", "2 (upper)")),
        (((1, 1, 8, 9),), ("1 (top-left)",)),
        (((1, 1, 20, 33), (5, 7, 15, 21)), ("1 (left)", "2 (right)")),
    ],
)
def test_names(corners, names):
    """Of two shapes the name says which, else in which ninth; a ring around another is a shape."""
    assert find_shapes(boxes(22, 35, *corners), (11, 7)).names == names


def test_small_shapes_are_none():
    """A shape of less than a cell cannot be told apart in a map."""
    dot = boxes(22, 35, (2, 2, 5, 5))
    assert find_shapes(dot, (11, 7)).names == ()
    assert len(find_shapes(dot, (22, 35)).names) == 1


def test_lifts():
    """Lift is the part of a map inside of a shape by the part of the image that it covers."""
    maps = np.random.default_rng(3).random((2, 3, 11, 7))
    maps[1, 2] = 0
    result = measure_lifts(maps, find_shapes(TWO, (11, 7)))
    for number, box in enumerate([(slice(5, 14), slice(2, 13)), (slice(3, 18), slice(21, 33))]):
        mask = np.zeros((22, 35))
        mask[box] = 1
        cells = mask.reshape(11, 2, 7, 5).mean((1, 3))
        mass = (maps[0] * cells).sum((1, 2)) / maps[0].sum((1, 2))
        np.testing.assert_allclose(result[0, :, number], mass / mask.mean(), rtol=1e-6)
    assert np.isnan(result[1, 2]).all()


def test_chance():
    """A shape's chance is the part of all places, around the edges too, where it holds as much."""
    maps = np.random.default_rng(4).random((2, 3, 11, 7))
    maps[1, 2], maps[0, 1] = 0, 1
    shapes = find_shapes(TWO, (11, 7))
    result = measure_chance(maps, shapes)
    for number, region in enumerate(shapes.regions):
        moved = [
            (maps[0, 0] * np.roll(region, (down, across), (0, 1))).sum()
            for down in range(11)
            for across in range(7)
        ]
        assert result[0, 0, number] == pytest.approx(np.mean(np.array(moved) >= moved[0]))
    assert (result[0, 1] == 1).all()
    assert np.isnan(result[1, 2]).all()


@pytest.mark.parametrize(
    ("lifts", "chance", "said"),
    [
        ((0.4, 5.5), 0.02, "purple reads shape 2 (right) 5.5×, shape 1 (left) 0.4×"),
        ((1.1, 0.9), 0.02, "purple reads no shape: at most 1.1× an even map"),
        (
            (1.7, 0.9),
            0.31,
            "purple is not shown to read a shape: shape 1 (left) 1.7× is no more than in 31 % of "
            "all places",
        ),
        ((np.nan, np.nan), np.nan, "purple is not read by the model"),
        ((3.0,), 0.05, "purple reads shape 1 (left) 3×"),
    ],
)
def test_sentences(lifts, chance, said):
    """A word is said to read the shape of most lift, where that is no accident of its place."""
    chances = np.full(len(lifts), chance)
    assert describe_word("purple", np.array(lifts), chances, NAMES[: len(lifts)]) == said


def test_headline():
    """Articles never lead, nor does a word whose lift is an accident while another's is none."""
    lifts = lifts_of(purple=(0.4, 5.5), a=(9.0, 1.0), red=(7.0, 0.9))
    chances = np.full(lifts.shape, 0.01)
    chances[1] = 0.2
    said = headline(WORDS, lifts, chances, NAMES)
    assert said == "purple reads shape 2 (right) 5.5×, shape 1 (left) 0.4×"


@pytest.mark.parametrize(
    ("purple", "is_swapped"), [((4.0, 0.5), True), ((0.5, 4.0), False), ((2.0, 1.8), False)]
)
def test_swapped(purple, is_swapped):
    """Two colours look swapped where each clearly reads the shape of the other's noun."""
    lifts = lifts_of(red=(0.3, 3.0), square=(3.0, 0.3), purple=purple, triangle=(0.3, 3.0))
    expected = (
        "red and purple look swapped: red reads shape 2 (right) as triangle does, purple reads "
        "shape 1 (left) as square does"
    )
    for chance, told in ((0.05, [expected] if is_swapped else []), (0.06, [])):
        assert find_swapped(PROMPT, WORDS, lifts, np.full(lifts.shape, chance), NAMES) == told


def test_words_apart_are_no_pair():
    """Words with a comma between them do not belong together, so nothing is swapped."""
    lifts = np.array([(0.3, 3.0), (3.0, 0.3), (3.0, 0.3), (0.3, 3.0)])
    for prompt, count in (("red square and blue disc", 1), ("red, square and blue, disc", 0)):
        words = [word for word in find_occurrences(find_words(prompt)) if word.text != "and"]
        assert len(find_swapped(prompt, words, lifts, 0 * lifts, NAMES)) == count


def test_deviation():
    """Each stroke is held against the nearest edge; equal drawing and image do not deviate."""
    image = np.full((61, 83, 3), 240, np.uint8)
    image[20:40, 30:60] = (200, 20, 20)
    strokes = boxes(61, 83, (20, 30, 39, 59))
    near = measure_deviation(strokes, image)
    assert near.followed == 1
    assert near.distance.max() <= 1.5
    apart = measure_deviation(np.roll(strokes, 11, 1), image)
    gaps = np.hypot(*(apart.points[:, :2] - apart.points[:, 2:]).T)
    np.testing.assert_allclose(apart.distance, gaps)
    assert apart.followed < 0.7
    assert apart.anywhere == near.anywhere


def test_deviation_of_an_even_image():
    """An image without edges follows nothing, and that is said."""
    assert measure_deviation(TWO, np.full((22, 35, 3), 7, np.uint8)) is None
    assert say_deviation(None) == "The image has no edges, so none follows the strokes"
    said = say_deviation(Deviation(np.zeros((1, 4)), np.zeros(1), 0.944, 0.088))
    assert said == (
        "94.4 % of the strokes have an edge of the image within 2 % of its side, as have 8.8 % of "
        "all places"
    )


def test_thin():
    """Strokes become lines of one pixel; an area of ink becomes its outline."""
    wide = np.zeros((61, 83), bool)
    wide[28:31, 5:70] = True
    assert thin(wide).sum(0).max() == 1
    assert thin(wide)[29, 10:60].all()
    area = boxes(61, 83, (10, 10, 50, 60)) | (np.indices((61, 83)).min(0) > 60)
    area[10:51, 10:61] = True
    assert (thin(area) == boxes(61, 83, (10, 10, 50, 60))).all()


@pytest.fixture
def drawn(tmp_path):
    """Write a trace with a drawing, and return it."""

    def write(pixels, size=(22, 35)):
        images = ("outputs/image-0.png", "outputs/image-1.png")
        folder = write_trace(tmp_path / "trace", manifest(), picture=size)
        Image.fromarray(np.where(pixels, 255, 0).astype(np.uint8)).save(folder / SKETCH)
        edit(folder / "trace.json", lambda data: data.update(outputs=[*images, SKETCH]))
        return open_trace(folder)

    return write


def test_a_drawing_without_closed_shapes(drawn):
    """Where nothing is enclosed that is said, and there is no empty table."""
    result = run(drawn(TWO & (np.indices(TWO.shape)[0] < 12)), SketchOptions())
    assert NO_SHAPES in result.notes
    assert not [name for name in (*result.tables, *result.files) if "shapes" in name]
    assert "lifts" not in result.arrays


def test_tables(drawn):
    """The tables say of every sample what the drawing became, and which word reads which shape."""
    result = run(drawn(TWO), SketchOptions())
    shapes, deviation = (result.tables[f"sketch/{name}.csv"] for name in ("shapes", "deviation"))
    assert set(shapes["where"]) == {"left", "right"}
    np.testing.assert_allclose(shapes["mass"], shapes["lift"] * shapes["area"])
    assert deviation["sample"].tolist() == [0, 1]
    assert (deviation["stroke_px"] == thin(TWO).sum()).all()
    assert result.files["sketch/shapes.txt"].content.startswith("sample 0\n")


def test_lifts_on_shards(drawn):
    """Every cell of the table is the word's map inside of the shape, summed from the shards."""
    trace = drawn(TWO)
    table = run(trace, SketchOptions()).tables["sketch/shapes.csv"]
    boxed = {"left": (slice(5, 14), slice(2, 13)), "right": (slice(3, 18), slice(21, 33))}
    columns = trace.manifest.kept.columns
    at = [number for number, column in enumerate(columns) if column.position in (5, 6)]
    for sample, where in np.ndindex(2, 2):
        name = ("left", "right")[where]
        maps = []
        for file in trace.folder.glob("attention/step-*.safetensors"):
            for key, rows, columns_ in (("1", 3, 5), ("3", 6, 10)):
                stored = np.float64(load_file(file)[f"{key}/map.image.text"][0, sample][:, at])
                maps.append(
                    np.kron(stored.sum(-1).reshape(rows, columns_), np.ones((6 // rows,) * 2))
                )
        mask = np.zeros(TWO.shape)
        mask[boxed[name]] = 1
        pixels = np.kron(
            np.mean(maps, axis=0), np.ones((11, 7))
        )  # of 66 x 70: both sizes divide it
        inside = pixels * np.kron(mask, np.ones((3, 2)))
        expected = inside.sum() / pixels.sum() / mask.mean()
        (row,) = table.query(
            f"word == 'bobcat' and sample == {sample} and where == '{name}'"
        ).to_dict("records")
        assert row["lift"] == pytest.approx(expected, rel=1e-5)


def test_an_image_of_another_size(drawn):
    """Edges are not held against strokes of another size, and that is said."""
    result = run(drawn(TWO, size=(35, 22)), SketchOptions())
    assert "sketch and image are 35x22 and 22x35: no edges are held against it" in result.notes
    assert "sketch/deviation.csv" not in result.tables


@pytest.mark.parametrize("keys", ["content", "all"])
def test_sketch_tokens(demo_cache, tmp_path, keys):
    """Their sum is a map whatever was kept; the strongest three are maps where each was kept."""
    out = tmp_path / "run"
    captured = attn.capture("scribble", model="demo:tokens", steps=2, keys=keys, out=out)
    trace = captured.trace
    result = run(trace, SketchOptions())
    maps, table = result.arrays["tokens"], result.tables["sketch/tokens.csv"]
    assert maps.sizes["series"] == (4 if keys == "all" else 1)
    assert (SINGLES in result.notes) == (keys == "content")
    assert len(table) == 77
    assert table["mass"].is_monotonic_decreasing
    assert table["mass"].sum() == pytest.approx(float(maps[0, 0].mean()), rel=1e-4)
    means = maps[0, 1:].mean(("row", "column"))
    np.testing.assert_allclose(means, table["mass"][: maps.sizes["series"] - 1], rtol=1e-4)
