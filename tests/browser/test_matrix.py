"""Matrices of texts in the page, against those of the Python trace and numpy."""

import numpy as np
import pytest

from attn.trace.trace import open_trace
from attn.verbs.view import ViewOptions, make_server
from tests.helpers.toy_texts import LENGTH, make_growing, make_text

TRACES = {
    "maps": lambda: make_text(level="maps")[0],
    "heads": lambda: make_text(level="heads")[0],
    "factors": lambda: make_text(level="factors")[0],
    "growing": lambda: make_growing()[0],
}
READ = """async ([number, chosen]) => {
  const { HttpSource } = await import("/static/source.js");
  const { TextTrace } = await import("/static/texts.js");
  const { readSelection } = await import("/static/trace.js");
  const { State } = await import("/static/state.js");
  const { readMatrix } = await import("/static/matrix.js");
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
  const { MatrixSums } = await import("/static/matrix.js");
  const { pool } = await import("/static/pooling.js");
  const sums = new MatrixSums(rows, columns);
  const number = (_, at) => ((at * 7919) % 1009) / 1009;
  const values = Float32Array.from({ length: rows * columns }, number);
  sums.add(values, [...Array(rows).keys()], columns);
  const [row, column, shown, across] = window;
  return [...pool(sums, { row, column, rows: shown, columns: across }, high, wide, pooling)];
}"""


@pytest.fixture(scope="module")
def served(chromium, tmp_path_factory):
    """Every kind of text, and a page that can import modules."""
    root = tmp_path_factory.mktemp("texts")
    folders = {name: make().save(root / name).folder for name, make in TRACES.items()}
    server = make_server(list(folders.values()), ViewOptions())
    server.start()
    page = chromium.new_page()
    page.goto(server.url)
    yield page, folders
    page.close()
    server.stop()


def mean_map(trace, steps=None, layers=(1, 4), sample=0):
    """Return the mean of Python's maps; a row counts where it was computed."""
    maps = np.stack([trace.maps(layer, "all.all").values for layer in layers]).astype(np.float64)
    chosen = maps[:, :, 0, sample] if steps is None else maps[:, steps, 0, sample]
    there = ~np.isnan(chosen).any(-1, keepdims=True) | ~np.isnan(chosen).all(-1, keepdims=True)
    total = np.where(there, np.nan_to_num(chosen), 0).sum((0, 1))
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
def test_matrices(name, served):
    """A matrix in the page is that of Python to 1e-6, whatever is chosen; rows of none are none."""
    page, folders = served
    kind, chosen, oracle = CASES[name]
    got = page.evaluate(READ, [list(folders).index(kind), chosen])
    expected = oracle(open_trace(folders[kind]))
    np.testing.assert_allclose(np.array(got["rows"], float), expected, atol=1e-6)
    there = ~np.isnan(expected[:, 0])
    np.testing.assert_allclose(got["received"], expected[there].mean(0), atol=1e-6)
    assert got["largest"] == pytest.approx(np.nanmax(expected), abs=1e-6)


@pytest.mark.parametrize("pooling", ["most", "mean"])
@pytest.mark.parametrize("window", [(0, 0, 47, 31), (11, 5, 29, 23), (3, 2, 5, 7)])
def test_pooling(pooling, window, served):
    """A pixel is the largest or the mean of the cells behind it; a large cell is itself."""
    rows, columns, high, wide = 47, 31, 13, 11
    got = served[0].evaluate(POOL, [rows, columns, window, high, wide, pooling])
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


def test_sizes_are_held_against_the_manifest(served):
    """A matrix of another size than the manifest says is refused, not read askew."""
    said = served[0].evaluate(
        """async (size) => { const { MatrixSums } = await import("/static/matrix.js");
        const values = new Float32Array(size);
        try { new MatrixSums(size, size).add(values, [0, 1], size); return "taken"; }
        catch (error) { return error.message; } }""",
        LENGTH,
    )
    assert said == "a matrix has another size than the manifest says"
