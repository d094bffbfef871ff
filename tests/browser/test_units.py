"""Modules of the page, imported in the browser, against numpy and against the Python trace."""

import numpy as np
import pytest

from attn.trace.store import shard_file
from attn.trace.trace import open_trace
from tests.helpers.toy_traces import CROSS, JOINT, cross_layer, manifest, tensors, write_trace

READ = """async (selection) => {
  const { HttpSource } = await import("/static/source.js");
  const { Trace, readSelection } = await import("/static/trace.js");
  const { State } = await import("/static/state.js");
  const { readSums } = await import("/static/reader.js");
  const source = new HttpSource(new URL("t/0/", document.baseURI).href);
  const trace = new Trace(await source.json("trace.json"));
  const state = new State(null);
  state.set(selection);
  const chosen = readSelection(trace, state);
  const sums = await readSums(source, trace.job(chosen, source.base), () => true);
  const whole = sums.whole();
  const groups = trace.groups(chosen.net.keyset, chosen.branch);
  return { grid: sums.grid, words: groups.filter((one) => one.kind === "word").map((one) => ({
    segment: one.segment, word: one.word, map: [...sums.map(one.columns)],
    mean: one.columns.reduce((sum, at) => sum + whole[at], 0) })) };
}"""


@pytest.fixture(scope="module")
def blank(chromium, tmp_path_factory):
    """A page in which modules can be imported."""
    from attn.verbs.view import ViewOptions, make_server

    server = make_server([write_trace(tmp_path_factory.mktemp("blank") / "t")], ViewOptions())
    server.start()
    page = chromium.new_page()
    page.goto(server.url)
    yield page
    page.close()
    server.stop()


def test_half_table(blank):
    """Every float16 becomes the float32 that numpy makes of it."""
    got = blank.evaluate(
        """async () => { const { HALF } = await import("/static/half.js");
        return [...new Uint32Array(HALF.buffer)]; }"""
    )
    expected = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = np.array(got, np.uint32).view(np.float32)
    np.testing.assert_array_equal(values, expected)


def test_dtypes(blank):
    """Tensors in bfloat16, as factors have, are read exactly."""
    import ml_dtypes

    values = np.random.default_rng(3).normal(size=97).astype(ml_dtypes.bfloat16)
    got = blank.evaluate(
        """async (bits) => { const { toFloats } = await import("/static/half.js");
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
def test_hostile_headers(blank, header):
    """A header that leads out of its file, or is none, is refused by name."""
    said = blank.evaluate(
        """async (text) => { const { parseHeader } = await import("/static/safetensors.js");
        try { parseHeader(new TextEncoder().encode(text), 8, "x.safetensors"); return "taken"; }
        catch (error) { return error.message; } }""",
        header,
    )
    assert said.startswith("x.safetensors has a damaged header")


def test_visible(blank):
    """Text is spelled out in the page exactly as the command line does."""
    from attn.files.safe_text import visible

    text = "a\u202eb\x1b[31m\u2028\tä\U0001f600\x00"
    got = blank.evaluate(
        """async (text) => (await import("/static/safe.js")).visible(text)""", text
    )
    assert got == visible(text)


def nan_files(about):
    """Return tensors in which one layer did not run in one step."""
    files = tensors(about)
    files[shard_file(about.steps[1])]["3/map.image.text"][:] = np.nan
    return files


ODD = (*CROSS, cross_layer(5, (4, 7), 2))
CASES = {
    "maps": (manifest(), {}, {}),
    "grids that do not divide": (manifest(ODD), {}, {}),
    "joint": (manifest(JOINT, branches=("cond", "uncond")), {}, {}),
    "other branch": (
        manifest(JOINT, branches=("cond", "uncond")),
        {"branch": "uncond"},
        {"branch": "uncond"},
    ),
    "second sample": (manifest(), {"sample": "1"}, {}),
    "some layers": (manifest(ODD), {"layers": "3,5"}, {"layers": [3, 5]}),
    "some steps": (manifest(), {"steps": "0-1"}, {"steps": [0, 1]}),
    "heads": (manifest(level="heads"), {}, {}),
    "a head": (manifest(level="heads"), {"heads": "1"}, {"heads": [1]}),
    "means": (manifest(level="means"), {}, {}),
    "towers": (
        manifest((*CROSS, cross_layer(5, (3, 5), 2, "controlnet"))),
        {"tower": "controlnet"},
        {"tower": "controlnet"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_word_maps(name, visit, tmp_path):
    """Maps of words in the page are those of `Trace.word_maps`, to 1e-6, whatever is chosen."""
    about, chosen, same = CASES[name]
    folder = write_trace(tmp_path / "t", about)
    check_maps(visit(folder), open_trace(folder), chosen, same)


def test_layer_that_did_not_run(visit, tmp_path):
    """What is NaN does not count, as in Python."""
    from attn.trace.writer import TraceWriter

    about = manifest()
    with TraceWriter(tmp_path / "t", about) as writer:
        for step, files in zip(about.steps, nan_files(about).values(), strict=True):
            writer.put(step, files)
        writer.finish(about)
    check_maps(visit(tmp_path / "t"), open_trace(tmp_path / "t"), {}, {})


def check_maps(page, trace, chosen, same):
    """Compare the page's maps with those of Python."""
    got = page.evaluate(READ, chosen)
    expected = trace.word_maps(**{"tower": "denoiser"} | same)
    expected = expected.isel(sample=int(chosen.get("sample", 0)))
    assert got["grid"] == [expected.sizes["row"], expected.sizes["column"]]
    assert len(got["words"]) == int(np.isfinite(expected.values[:, :, 0, 0]).sum())
    for one in got["words"]:
        own = expected.isel(word=one["word"]).sel(segment=one["segment"]).values
        np.testing.assert_allclose(np.reshape(one["map"], got["grid"]), own, atol=1e-6)
        assert one["mean"] == pytest.approx(own.mean(), abs=1e-6)
