"""Matrices of texts in the page, against those of the Python trace and numpy."""

from dataclasses import replace

import numpy as np
import pytest

from attn.trace.trace import open_trace
from attn.trace.writer import TraceWriter
from tests.browser.conftest import served
from tests.helpers.toy_texts import LENGTH, make_growing, make_text
from tests.helpers.toy_traces import cross_layer, fold, manifest

TRACES = {
    "maps": lambda: make_text(level="maps")[0],
    "heads": lambda: make_text(level="heads")[0],
    "factors": lambda: make_text(level="factors")[0],
    "growing": lambda: make_growing()[0],
}
READ = """async ([number, chosen]) => {
  const { HttpSource } = await import("/static/data/source.js");
  const { TextTrace } = await import("/static/data/texts.js");
  const { readSelection } = await import("/static/data/trace.js");
  const { State } = await import("/static/state.js");
  const { readMatrix } = await import("/static/sums/matrix.js");
  const source = new HttpSource(new URL(`t/${number}/`, document.baseURI).href);
  const trace = new TextTrace(await source.json("trace.json"));
  const state = new State(null);
  state.set(chosen);
  const job = trace.matrixJob(readSelection(trace, state), source.base);
  const sums = await readMatrix(source, job, () => true);
  return { received: [...sums.received], largest: sums.largest,
    rows: [...Array(sums.rows).keys()].map((row) => [...sums.row(row)].map((one) => one ?? NaN)) };
}"""
POOL = """async ([rows, columns, window, high, wide, pooling]) => {
  const { MatrixSums } = await import("/static/sums/matrix.js");
  const { pool } = await import("/static/sums/pooling.js");
  const sums = new MatrixSums(rows, columns);
  const number = (_, at) => ((at * 7919) % 1009) / 1009;
  const values = Float32Array.from({ length: rows * columns }, number);
  sums.add(values, [...Array(rows).keys()], columns);
  const [row, column, shown, across] = window;
  return [...pool(sums, { row, column, rows: shown, columns: across }, high, wide, pooling)];
}"""


@pytest.fixture(scope="module")
def texts(chromium, tmp_path_factory):
    """Every kind of text, and a page that can import modules."""
    root = tmp_path_factory.mktemp("texts")
    folders = {name: make().save(root / name).folder for name, make in TRACES.items()}
    with served(chromium, *folders.values()) as page:
        yield page, folders


def mean_map(trace, steps=None, layers=(1, 4), sample=0):
    """Return the mean of Python's maps; a row counts where it was computed."""
    maps = np.stack([trace.maps(layer, "all.all").values for layer in layers]).astype(np.float64)
    selected = maps[:, :, 0, sample] if steps is None else maps[:, steps, 0, sample]
    there = ~np.isnan(selected).any(-1, keepdims=True) | ~np.isnan(selected).all(-1, keepdims=True)
    total = np.where(there, np.nan_to_num(selected), 0).sum((0, 1))
    counts = there.sum((0, 1))
    return np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0)


def head_mean(trace, layer, head, steps=range(4)):
    """Return the mean over steps of one head's exact attention."""
    return np.mean([trace.probs(layer, step, "all.all").values[head] for step in steps], axis=0)


CASES = {
    "maps": ("maps", {}, mean_map),
    "a step": ("maps", {"steps": "2"}, lambda trace: mean_map(trace, [2])),
    "a layer": ("maps", {"layers": "4"}, lambda trace: mean_map(trace, layers=[4])),
    "second sample": ("maps", {"sample": "1"}, lambda trace: mean_map(trace, sample=1)),
    "mean of heads": ("heads", {}, mean_map),
    "a head": ("heads", {"layers": "4", "heads": "2"}, lambda trace: head_mean(trace, 4, 2)),
    "exact head": (
        "factors",
        {"layers": "1", "heads": "0", "steps": "3"},
        lambda trace: head_mean(trace, 1, 0, [3]),
    ),
    "growing": ("growing", {}, mean_map),
    "a step of growing": ("growing", {"steps": "2"}, lambda trace: mean_map(trace, [2])),
}


@pytest.mark.parametrize("name", CASES)
def test_matrices(name, texts):
    """A matrix in the page is that of Python to 1e-6, whatever is chosen; rows of none are none."""
    page, folders = texts
    kind, selected, oracle = CASES[name]
    got = page.evaluate(READ, [list(folders).index(kind), selected])
    expected = oracle(open_trace(folders[kind]))
    np.testing.assert_allclose(np.array(got["rows"], float), expected, atol=1e-6)
    there = ~np.isnan(expected[:, 0])
    np.testing.assert_allclose(got["received"], expected[there].mean(0), atol=1e-6)
    assert got["largest"] == pytest.approx(np.nanmax(expected), abs=1e-6)


@pytest.mark.parametrize("pooling", ["most", "mean"])
@pytest.mark.parametrize("window", [(0, 0, 47, 31), (11, 5, 29, 23), (3, 2, 5, 7)])
def test_pooling(pooling, window, modules):
    """A pixel is the largest or the mean of the cells behind it; a large cell is itself."""
    rows, columns, high, wide = 47, 31, 13, 11
    got = modules.evaluate(POOL, [rows, columns, window, high, wide, pooling])
    values = (np.arange(rows * columns) * 7919 % 1009 / 1009).reshape(rows, columns)
    row, column, shown, across = window
    part = values[row : row + shown, column : column + across]
    reduce = np.max if pooling == "most" else np.mean
    edges = [
        [
            (at * size // pixels, max(at * size // pixels + 1, (at + 1) * size // pixels))
            for at in range(pixels)
        ]
        for size, pixels in ((shown, high), (across, wide))
    ]
    expected = [[reduce(part[a:b, c:d]) for c, d in edges[1]] for a, b in edges[0]]
    np.testing.assert_allclose(np.reshape(got, (high, wide)), expected, rtol=1e-6)


def test_sizes_are_held_against_the_manifest(modules):
    """A matrix of another size than the manifest says is refused, not read askew."""
    said = modules.evaluate(
        """async (size) => { const { MatrixSums } = await import("/static/sums/matrix.js");
        const values = new Float32Array(size);
        try { new MatrixSums(size, size).add(values, [0, 1], size); return "taken"; }
        catch (error) { return error.message; } }""",
        LENGTH,
    )
    assert said == "a matrix has another size than the manifest says"


LOOK = """async ([number, region, grid, chosen]) => {
  const { HttpSource } = await import("/static/data/source.js");
  const { TextTrace } = await import("/static/data/texts.js");
  const { Trace, readSelection } = await import("/static/data/trace.js");
  const { State } = await import("/static/state.js");
  const { Work } = await import("/static/sums/work.js");
  const { lookFrom } = await import("/static/picture/place-looks.js");
  const source = new HttpSource(new URL(`t/${number}/`, document.baseURI).href);
  const facts = await source.json("trace.json");
  const state = new State(null);
  state.set(chosen);
  const selection = readSelection(new Trace(facts), state), work = new Work(source);
  const kinds = facts.matrices;
  const { signal } = new AbortController();
  const found = await lookFrom(new TextTrace(facts), kinds, work, selection, region, grid, signal);
  work.close();
  return { map: [...found.map], grid: found.grid };
}"""


def looking(folder):
    """Write a trace in which places of two grids read words and places."""
    grids = ((3, 5), (6, 10))
    layers = tuple(
        replace(layer, keys=layer.queries, blocks=("image.image",)) if layer.index > 4 else layer
        for layer in (
            cross_layer(1, grids[1], 3),
            cross_layer(5, grids[0], 2),
            cross_layer(7, grids[1], 2),
        )
    )
    about = manifest(layers, samples=1)
    about = replace(about, kept=replace(about.kept, blocks=("image.text", "image.image")))
    rng = np.random.default_rng(1)
    with TraceWriter(folder, about) as writer:
        for step in about.steps:
            tensors = fold(layers[0], about, rng)
            for layer in layers[1:]:
                size = layer.num_keys
                maps = rng.gamma(0.5, size=(1, 1, size, size)).astype(np.float32)
                maps /= maps.sum(-1, keepdims=True)
                tensors[f"{layer.index}/map.image.image"] = maps.astype(np.float16)
            writer.put(step, tensors)
        writer.finish(about)
    return folder


@pytest.mark.parametrize("chosen", [{}, {"steps": "1"}], ids=["all steps", "a step"])
def test_where_a_place_looks(chosen, visit, tmp_path):
    """The map of a region is the mean of Python's rows; coarse cells share out what they get."""
    folder = looking(tmp_path / "t")
    region, grid = (2, 4, 4, 6), (6, 10)
    got = visit(folder).evaluate(LOOK, [0, region, grid, chosen])
    trace = open_trace(folder)
    steps = [1] if chosen else [0, 1, 2]
    maps = []
    for layer, rows in ((5, (slice(1, 2), slice(2, 3))), (7, (slice(2, 4), slice(4, 6)))):
        own = trace.maps(layer, "image.image").values[steps, 0, 0].astype(np.float64)
        mean = own[:, rows[0], rows[1]].mean((0, 1, 2)).reshape((3, 5) if layer == 5 else grid)
        maps.append(mean if layer == 7 else np.kron(mean, np.ones((2, 2))) / 4)
    assert got["grid"] == list(grid)
    np.testing.assert_allclose(np.reshape(got["map"], grid), np.mean(maps, axis=0), atol=1e-6)
