"""Maps of words as the page adds them up, served or in one file, against `Trace.word_maps`."""

import numpy as np
import pytest

READ = """async ([number, selection]) => {
  const load = async (name) => (window.attn ? window.attn[name] : import("/static/" + name));
  const { openSource } = await load("data/source.js");
  const { Trace, readSelection } = await load("data/trace.js");
  const { State } = await load("state.js");
  const { readSums } = await load("sums/reader.js");
  const source = openSource(`t/${number}/`);
  const trace = new Trace(await source.json("trace.json"));
  const state = new State(null);
  state.set(selection);
  const chosen = readSelection(trace, state);
  const sums = await readSums(source, trace.job(chosen, source.base), () => true);
  const whole = sums.whole();
  const groups = trace.groups(chosen.net.keyset, chosen.branch);
  return { grid: sums.grid, words: groups.filter((one) => one.kind === "word").map((one) => ({
    segment: one.segment, word: one.word, map: [...sums.map(one.columns)],
    tokens: one.columns.length,
    mean: one.columns.reduce((sum, at) => sum + whole[at], 0) })) };
}"""
"""Returns what the page shows of a trace: its number, and what is selected."""


def compare(got, trace, chosen, same, precision=0.0):
    """Hold maps of the page against those of Python.

    Args:
        got: what `READ` returns.
        trace: opened.
        chosen: the page's selection.
        same: the same, as arguments of `Trace.word_maps`.
        precision: the part of a token's largest value by which each value may be off, beside 1e-6.
    """
    expected = trace.word_maps(**{"tower": "denoiser"} | same)
    expected = expected.isel(sample=int(chosen.get("sample", 0)))
    assert got["grid"] == [expected.sizes["row"], expected.sizes["column"]]
    assert len(got["words"]) == int(np.isfinite(expected.values[:, :, 0, 0]).sum())
    largest = precision and largest_value(trace)
    for item in got["words"]:
        own = expected.isel(word=item["word"]).sel(segment=item["segment"]).values
        most = 1e-6 + precision * item["tokens"] * largest
        np.testing.assert_allclose(np.reshape(item["map"], got["grid"]), own, atol=most)
        assert item["mean"] == pytest.approx(own.mean(), abs=most)


def largest_value(trace):
    """Return the largest value of any map."""
    return max(
        float(np.nanmax(trace.maps(index, "image.text").values))
        for index in trace.manifest.kept.layers
    )
