"""Modules of the page, imported in the browser, against numpy and against the Python trace."""

import numpy as np
import pytest


def test_half_table(modules):
    """Every float16 becomes the float32 that numpy makes of it."""
    got = modules.evaluate(
        """async () => { const { HALF } = await import("/static/data/half.js");
        return [...new Uint32Array(HALF.buffer)]; }"""
    )
    expected = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = np.array(got, np.uint32).view(np.float32)
    np.testing.assert_array_equal(values, expected)


def test_dtypes(modules):
    """Tensors in bfloat16, as factors have, are read exactly."""
    import ml_dtypes

    values = np.random.default_rng(3).normal(size=97).astype(ml_dtypes.bfloat16)
    got = modules.evaluate(
        """async (bits) => { const { toFloats } = await import("/static/data/half.js");
        return [...toFloats(new Uint16Array(bits).buffer, "BF16")]; }""",
        values.view(np.uint16).tolist(),
    )
    np.testing.assert_array_equal(got, values.astype(np.float64))


@pytest.mark.parametrize(
    "header",
    [
        "{",
        '{"a": 1}',
        '{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 40]}}',
        '{"a": {"dtype": "F16", "shape": [-2], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F16", "shape": [3], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "X16", "shape": [2], "data_offsets": [0, 4]}}',
        '{"a": {"dtype": "F16", "shape": [1e99], "data_offsets": [0, 4]}}',
        '{"__proto__": {"dtype": "F16", "shape": [2], "data_offsets": ["0", 4]}}',
    ],
)
def test_hostile_headers(modules, header):
    """A header that leads out of its file, or is none, is refused by name."""
    said = modules.evaluate(
        """async (text) => { const { parseHeader } = await import("/static/data/safetensors.js");
        try { parseHeader(new TextEncoder().encode(text), 8, "x.safetensors"); return "taken"; }
        catch (error) { return error.message; } }""",
        header,
    )
    assert said.startswith("x.safetensors has a damaged header")


def test_visible(modules):
    """Text is spelled out in the page exactly as the command line does."""
    from attn.files.safe_text import visible

    text = "a\u202eb\x1b[31m\u2028\tä\U0001f600\x00"
    got = modules.evaluate(
        """async (text) => (await import("/static/safe.js")).visible(text)""", text
    )
    assert got == visible(text)


def test_texts_are_matched_by_position(modules):
    """Cells of one place of a segment stand for each other; what one text lacks is left out."""
    script = """async () => {
      const { SharedAxes } = await import("/static/sides/shared-axes.js");
      const { MatrixSums, subtractMatrices } = await import("/static/sums/matrix.js");
      const kind = (prompt) => {
        const axis = [...Array(prompt + 2).keys()].map((at) => [Number(at >= prompt), at]);
        return { segments: ["prompt", "generated"], rows: axis, columns: axis };
      };
      const axes = new SharedAxes([kind(2), kind(3), null]);
      const matrix = (size, scale) => {
        const sums = new MatrixSums(size, size);
        const values = Float32Array.from({ length: size * size }, (_, at) => scale * at);
        sums.add(values, [...Array(size).keys()], size);
        return sums.finish();
      };
      const rows = axes.rows.both(0, 1), columns = axes.columns.both(0, 1);
      const sums = [matrix(4, 1), matrix(5, 0.5)];
      sums[1].counts[4] = 0;
      const difference = subtractMatrices(...sums, rows, columns);
      return {
        ids: axes.rows.ids, rows,
        own: [0, 1, 2].map((text) => axes.own({ row: 4, column: -1 }, text)),
        back: axes.shared({ row: 3, column: 2 }, 1), largest: difference.largest,
        values: rows.map((_, row) => [...difference.row(row)].map((one) => one || null)),
      };
    }"""
    got = modules.evaluate(script)
    assert got["ids"] == ["prompt 0", "prompt 1", "generated 0", "generated 1", "prompt 2"]
    assert got["rows"] == [[0, 0], [1, 1], [2, 3], [3, 4]]
    assert got["own"] == [None, {"row": 2, "column": -1}, None]
    assert got["back"] == {"row": 2, "column": 4}
    base, other = np.arange(16).reshape(4, 4), 0.5 * np.arange(25).reshape(5, 5)
    both = [0, 1, 3, 4]
    expected = other[np.ix_(both, both)] - base
    values = np.array(got["values"][:3], float)
    np.testing.assert_allclose(np.nan_to_num(values), expected[:3])
    assert got["values"][3] == [None] * 4
    assert got["largest"] == abs(expected[:3]).max()


WRITTEN = """async (status) => {
  const { Written } = await import("/static/data/texts.js");
  const traceOf = (count, status) => ({
    manifest: {
      status, branches: ["cond"], samples: 1, outputs: [],
      tokens: { cond: [{ segment: "new", position: 0, id: 7, text: "Paris" }] },
    },
    steps: Array.from({ length: count }, (_, index) => ({ index })),
  });
  const before = new Written(traceOf(2, "partial"), null);
  before.names.set("9", "mask");
  before.steps.set(1, Object.fromEntries(
    ["tokens", "masked", "finalised", "confidence"].map((name) => [name, Float32Array.of(9)]),
  ));
  const after = new Written(traceOf(5, status), null, before);
  return after.text({ segment: "new", position: 0, id: "new.0" }, { branch: "cond", sample: 0 });
}"""


@pytest.mark.parametrize(("status", "text"), [("partial", "mask"), ("complete", "Paris")])
def test_finished_text(status, text, modules):
    """A text that is followed reads as its last step left it, and once whole as it is listed."""
    assert modules.evaluate(WRITTEN, status) == text


def test_short_names(modules):
    """A long name keeps its date and its end, where two of one second differ."""
    name = "20261201-005146-sdxl-without-loras-a-red-square-left-of-a-purple-tri-2"
    script = """async (name) => (await import("/static/listing.js")).shortName(name)"""
    got = modules.evaluate(script, name)
    assert got == "20261201-005146-sdxl-without-loras-a-red-…a-purple-tri-2"
    assert modules.evaluate(script, name[:56]) == name[:56]
