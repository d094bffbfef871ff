"""Words against strokes: every number from its definition, in plain numpy."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from attn.analysis import registry
from attn.analysis.compare import pairs
from attn.analysis.compare.change_tables import PARTS
from attn.analysis.sketch.regions import _describe_largest
from attn.analysis.sketch.sketch import NO_SHAPES, NO_STROKES, SketchOptions, run
from attn.analysis.sketch.strokes import lay_out, read_strokes, surrounded
from attn.analysis.tables import write_table
from attn.errors import TraceError
from attn.schema import SKETCH
from attn.trace.trace import open_trace
from tests.helpers import sketches
from tests.helpers.editing import edit
from tests.helpers.toy_traces import (
    CLIP_WORDS,
    manifest,
    plain_maps,
    read_csv,
    tensors,
    write_trace,
)

SIZE = (40, 24)


def strokes():
    """Return the strokes of the toy sketch, (row, column)."""
    return np.asarray(sketches.ring(SIZE)) < 128


@pytest.fixture
def drawn(tmp_path):
    """Write a trace with a sketch, and return its folder."""

    def write(pixels=None, history=None, name="trace", seed=0):
        images = ("outputs/image-0.png", "outputs/image-1.png")
        about = replace(manifest(), outputs=(*images, SKETCH, "outputs/history.json"))
        folder = tmp_path / name
        write_trace(folder, about, picture=SIZE[::-1], seed=seed)
        (folder / "outputs").mkdir(exist_ok=True)
        pixels = strokes() if pixels is None else pixels
        Image.fromarray(np.where(pixels, 255, 0).astype(np.uint8)).save(folder / SKETCH)
        (folder / "outputs/history.json").write_text(json.dumps(history or {}))
        edit(folder / "trace.json", lambda data: data.update(outputs=list(about.outputs)))
        return open_trace(folder)

    return write


def cells(pixels):
    """Return the part of each of 6 x 10 cells that is True."""
    return pixels.reshape(6, 4, 10, 4).mean((1, 3))


def reached(pixels):
    """Return what a walk from outside of the picture reaches, step by step, around strokes."""
    free, before = np.pad(~pixels, 1, constant_values=True), -1
    at = np.zeros_like(free)
    at[0, 0] = True
    while at.sum() > before:
        before = at.sum()
        for axis in (0, 1):  # the frame is reached itself, so that nothing comes in by wrapping
            at |= np.roll(at, 1, axis) | np.roll(at, -1, axis)
            at &= free
    return at[1:-1, 1:-1]


def away(region):
    """Return the distance of each cell to the nearest of a region, cell by cell."""
    rows, columns = np.nonzero(region)
    row, column = np.indices(region.shape)[..., None]
    return np.hypot(row - rows, column - columns).min(-1)


def test_surrounded():
    """What strokes surround cannot be reached from outside; open strokes surround nothing."""
    pixels = strokes()
    inside = surrounded(pixels)
    assert inside.any()
    assert (inside == ~(reached(pixels) | pixels)).all()
    assert not surrounded(pixels & (np.arange(40) < 12)).any()


def test_distance():
    """Distances are Euclidean, from cell to cell."""
    result = lay_out(strokes(), (6, 10))
    np.testing.assert_allclose(result.strokes, cells(strokes()), atol=1e-6)
    np.testing.assert_allclose(result.distance, away(cells(strokes()) > 0), atol=1e-9)


def test_words(drawn, tmp_path):
    """Each measure of a word is that of its mean map."""
    trace = drawn()
    result = run(trace, SketchOptions())
    write_table(result.columns["sketch/words.csv"], tmp_path / "table.csv")
    row = next(
        row
        for row in read_csv(tmp_path / "table.csv")
        if (row["word"], row["sample"]) == ("bobcat", "1")
    )
    about = manifest()
    maps = plain_maps(about, tensors(about), CLIP_WORDS["bobcat", 1], 1)
    part, on = maps / maps.sum(), cells(strokes())
    inside = cells(surrounded(strokes()))
    near = away(on > 0) <= 1.5
    highest = np.argsort(-part.ravel(), kind="stable")[: (on > 0).sum()]
    both = (on > 0).ravel()[highest].sum()
    expected = {
        "on": (part * on).sum(),
        "on_ratio": (part * on).sum() / on.mean(),
        "near": part[near].sum(),
        "inside": (part * inside).sum(),
        "inside_ratio": (part * inside).sum() / inside.mean(),
        "iou": both / (2 * (on > 0).sum() - both),
    }
    for name, value in expected.items():
        assert float(row[name]) == pytest.approx(value, rel=1e-4), name


def measured_by_hand(seed):
    """Return how much of both samples' maps of `bobcat` is on and inside the strokes."""
    about, rows = manifest(), []
    for sample in range(2):
        maps = plain_maps(about, tensors(about, seed), CLIP_WORDS["bobcat", 1], sample)
        part = maps / maps.sum()
        regions = cells(strokes()), cells(surrounded(strokes()))
        rows.append([(part * region).sum() for region in regions])
    return np.array(rows)


@pytest.mark.parametrize("who_draws", [0, 1])
def test_compared(drawn, who_draws):
    """Both runs are held against one drawing: the baseline's, or the variant's if it has none."""
    drawings = [strokes() & False, strokes() & False]
    drawings[who_draws] = strokes()
    sides = [drawn(item, name=f"run {seed}", seed=seed) for seed, item in enumerate(drawings)]
    pair = pairs.compare_pair(*sides, pairs.PairOptions(), {})
    tables = PARTS["sketch"]([pair], ["bobcat"])
    table, shapes = tables["sketch.csv"], tables["sketch_shapes.csv"]
    assert list(table) == [
        "word", "occurrence", "segment", "measure", "base", "variant", "change", "low", "high",
        "effect_size", "n",
    ]  # fmt: skip
    assert table["measure"].tolist() == ["on", "near", "inside", "iou"]
    before, after = measured_by_hand(0), measured_by_hand(1)
    shown = [0, 2]
    assert table["base"][shown] == pytest.approx(before.mean(0), rel=1e-4)
    assert table["variant"][shown] == pytest.approx(after.mean(0), rel=1e-4)
    lifts = [side.mean(0)[1] / cells(surrounded(strokes())).mean() for side in (before, after)]
    assert [shapes[side][0] for side in ("base", "variant")] == pytest.approx(lifts, rel=1e-4)
    assert (shapes["shape"].tolist(), shapes["n"].tolist()) == ([1], [2])
    effect = (after - before).mean(0) / (after - before).std(0, ddof=1)
    assert table["effect_size"][shown] == pytest.approx(effect, rel=1e-2)
    assert set(table["n"]) == {2}


def test_compared_without_strokes(drawn):
    """Both are said: without any strokes there is no such table; open ones surround nothing."""
    blank = [drawn(strokes() & False, name=name) for name in "ab"]
    pair = pairs.compare_pair(*blank, pairs.PairOptions(), {})
    assert PARTS["sketch"]([pair], None) == {}
    assert pair.agreement.notes == (NO_STROKES,)
    opened = drawn(strokes() & (np.arange(40) < 12), name="c")
    pair = pairs.compare_pair(opened, blank[0], pairs.PairOptions(), {})
    measures = PARTS["sketch"]([pair], None)["sketch.csv"]["measure"]
    assert set(measures) == {"on", "near", "iou"}
    assert pair.agreement.notes == (NO_SHAPES,)
    closed = pairs.compare_pair(drawn(name="d"), blank[0], pairs.PairOptions(), {})
    assert closed.agreement.notes == ()


def test_distance_table(drawn):
    """By distance, the parts of a map add up to 1, and an even map's are the areas."""
    table = run(drawn(), SketchOptions(words=("cat",))).columns["sketch/distance.csv"]
    own = table["sample"] == 0
    assert table["mass"][own].sum() == pytest.approx(1)
    assert table["area"][own].sum() == pytest.approx(1)
    assert table["from_cells"][own][0] == 0


def test_regions(drawn):
    """Words are placed by the tenth of the cells where their maps are highest."""
    told = run(drawn(), SketchOptions()).files["sketch/regions.txt"].content
    head, *samples = told.split("\n\n")
    assert [own.splitlines()[0] for own in samples] == ["sample 0", "sample 1"]
    assert samples[0].splitlines()[1:] != samples[1].splitlines()[1:]
    for sample, own in enumerate(samples):
        _require_places(head, own.splitlines()[1:], sample)


def _require_places(text, lines, sample):
    """Hold what is said of one sample against its maps."""
    assert text.startswith("Of each word, the 6 of 60 cells where its map is highest: ")
    assert text.endswith(f"which of all cells is {100 * cells(strokes()).mean():.3g} %.")
    about = manifest()
    maps = plain_maps(about, tensors(about), CLIP_WORDS["cat", 1], sample)
    order = np.argsort(-maps.ravel(), kind="stable")[:6]
    mass = maps.ravel()[order]
    down, across = (
        (mass * (np.indices((6, 10))[axis].ravel()[order] + 0.5)).sum() / mass.sum() / size
        for axis, size in enumerate((6, 10))
    )
    (line,) = [line for line in lines if line.startswith("cat: ")]
    part = mass.sum() / maps.sum()
    assert line.startswith(f"cat: {100 * part:.3g} % of the map; {100 * across:.3g} % from ")
    assert f" {100 * down:.3g} % from the top (" in line
    assert line.endswith(f"; strokes cover {100 * cells(strokes()).ravel()[order].mean():.3g} %")
    assert len(lines) == 4


def test_a_peak_is_not_pulled_to_the_middle():
    """A word that looks into a corner, and a little everywhere, is placed in the corner."""
    map_ = np.ones((6, 10))
    map_[4:, 8:] = 9
    told = _describe_largest(map_, 4, np.eye(6, 10))
    assert told == (
        "39.1 % of the map; 90 % from the left, 83.3 % from the top (bottom-right, 100 % of them "
        "there); strokes cover 0 %"
    )


def test_polarity(drawn):
    """Strokes are found whatever they are drawn on, which the picture says itself."""
    trace = drawn()
    info = PngInfo()
    info.add_text("ground", "light")
    Image.fromarray(np.where(strokes(), 0, 255).astype(np.uint8)).save(trace.sketch(), pnginfo=info)
    assert (read_strokes(trace) == strokes()).all()


def test_residuals(drawn):
    """How strongly a ControlNet acts is read from what the capture left."""
    strength = np.arange(2 * 3).reshape(3, 2) / 8
    history = {
        "residuals": {"blocks": ["conv_in", "mid_block"], "strength": {"cond": strength.tolist()}}
    }
    result = run(drawn(history=history), SketchOptions())
    table = result.columns["sketch/residuals.csv"]
    assert table["block"].tolist() == ["conv_in"] * 3 + ["mid_block"] * 3
    assert table["strength"].tolist() == strength.T.ravel().tolist()
    assert table["step"].tolist() == [0, 1, 2] * 2


def test_without_strokes(drawn):
    """A run with `--sketch none` has nothing to overlap, and says so."""
    result = run(drawn(np.zeros(SIZE[::-1], bool)), SketchOptions())
    assert result.notes == ("the sketch has no strokes, so nothing can overlap them",)
    assert not result.tables


def test_broken_sketch(drawn):
    """A sketch that is gone is an error, not an empty one."""
    trace = drawn()
    trace.sketch().write_text("no picture")
    with pytest.raises(TraceError, match="could not read the sketch"):
        run(trace, SketchOptions())


def test_it_runs_where_there_is_a_sketch(drawn, tmp_path):
    """Only traces with a sketch are asked about it; by name the lack is said."""
    assert "sketch" in [item.name for item in registry.plan(drawn()).runnable]
    write_trace(tmp_path / "other")
    other = open_trace(tmp_path / "other")
    assert "sketch" not in registry.plan(other).skipped
    with pytest.raises(
        Exception,
        match=r"needs a sketch, .*capture with a backend that reads drawings and --sketch FILE",
    ):
        registry.plan(other, ["sketch"])
