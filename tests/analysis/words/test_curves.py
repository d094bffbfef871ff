"""Curves over steps: tables against raw probabilities in float64, and time that runs forward."""

from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.tables import write_table
from attn.analysis.words.curves import CurvesOptions, run
from attn.trace.store import shard_file
from attn.trace.trace import MemoryFiles, Trace
from attn.viz.figures import Subject
from attn.viz.words.curves import draw
from tests.helpers.toy_probs import fold, full_manifest, make_full, make_probs, share_of
from tests.helpers.toy_traces import CLIP_WORDS, T5_WORDS, make_trace, manifest, read_csv

WORDS = {"clip": CLIP_WORDS, "t5": T5_WORDS}


def plain(about, probs, layer, positions, sample, branch=0):
    """Return a word's curve of shares: one value per step."""
    shares = [share_of(probs[step.index, layer.index], layer) for step in about.steps]
    return np.array([share[branch, sample][:, positions].sum(-1).mean() for share in shares])


@pytest.mark.parametrize("segment", ["clip", "t5"])
def test_tables(segment, tmp_path):
    """Every cell of both tables is the stepwise share of raw probabilities, to 1e-6."""
    trace, about, probs = make_full()
    result = run(trace, CurvesOptions())
    for name in ("auc", "stepavg"):
        write_table(result.columns[f"{segment}/tables/words_{name}.csv"], tmp_path / "table.csv")
        rows = read_csv(tmp_path / "table.csv")
        known = [word for word, positions in WORDS[segment].items() if positions]
        assert len(rows) == len(known) * 2 * 2  # layers and samples
        for row in rows:
            positions = WORDS[segment][row["word"], int(row["occurrence"])]
            layer = next(item for item in about.layers if str(item.index) == row["layer"])
            curve = plain(about, probs, layer, positions, int(row["sample"]))
            area = curve.sum() - (curve[0] + curve[-1]) / 2
            expected = area if name == "auc" else curve.mean()
            assert float(row[name]) == pytest.approx(expected, rel=1e-6)


def test_time_runs_forward():
    """Step 0 is the first of the generation, with most noise, and has its own value."""
    trace, about, probs = make_full()
    curves = run(trace, CurvesOptions()).arrays["clip/words"]
    assert curves.dims == ("sample", "word", "layer", "step")
    assert curves["step"].values.tolist() == [0, 1, 2]
    assert curves["noise"].values.tolist() == [1.0, 0.7, 0.2]
    expected = plain(about, probs, about.layers[1], CLIP_WORDS["bobcat", 1], 1)
    np.testing.assert_allclose(curves.sel(sample=1, word=3, layer=2), expected, rtol=1e-6)


def test_mass():
    """Curves can be of probabilities instead."""
    trace, _about, probs = make_full()
    curves = run(trace, CurvesOptions(measure="mass")).arrays["clip/words"]
    rows = probs[2, 0][0, 0, :, :15, 15 + 2]
    assert float(curves.sel(sample=0, word=1, layer=0, step=2)) == pytest.approx(rows.mean(), 1e-6)
    assert curves.attrs["unit"].startswith("attention probability")


def test_wide_tables(tmp_path):
    """The wide shape is that of sd3.5-attention-analysis, byte for byte."""
    about = full_manifest(samples=1, branches=("cond",))
    probs = make_probs(about)
    result = run(Trace(MemoryFiles(about, fold(about, probs))), CurvesOptions(csv="wide"))
    assert not result.tables
    result.files["clip/tables/words_stepavg.csv"].write(tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_bytes().split(b"\r\n")
    assert lines[0] == b"block,A,cat,a,bobcat"
    for line, block, layer in zip(lines[1:], (0, 2), about.layers, strict=False):
        means = [
            plain(about, probs, layer, clip_word, 0).mean() for clip_word in CLIP_WORDS.values()
        ]
        assert line.decode() == f"{block}," + ",".join(f"{mean:.6f}" for mean in means)
    assert lines[3:] == [b""]


@pytest.mark.parametrize(
    ("paths", "name", "numbers"),
    [
        (("transformer_blocks.0.attn", "transformer_blocks.1.attn"), "block", {"0-2": [0, 1]}),
        (("joint_blocks.4.attn", "joint_blocks.7.attn"), "block", {"0-2": [4, 7], "2": [7]}),
        (("blocks.4.attn", "blocks.4.attn2"), "layer", {"0-2": [0, 2], "2": [2]}),
        (("down_blocks.1.attentions.0.attn2", "mid_block.attn2"), "layer", {"0-2": [0, 2]}),
    ],
)
def test_numbers_of_blocks(paths, name, numbers, tmp_path):
    """Tables and pictures number a layer by its block, whatever else was captured or is shown."""
    about = full_manifest(samples=1)
    pairs = zip(about.layers, paths, strict=True)
    about = replace(about, layers=tuple(replace(layer, path=path) for layer, path in pairs))
    trace = Trace(MemoryFiles(about, fold(about, make_probs(about))))
    for layers, expected in numbers.items():
        result = run(trace, CurvesOptions(csv="wide", files="all", layers=(layers,)))
        result.files["clip/tables/words_auc.csv"].write(tmp_path / "table.csv")
        (header, *rows) = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()
        assert header.split(",")[0] == name
        assert [int(row.split(",")[0]) for row in rows] == expected
        files = [item.path for item in draw(result, Subject("A cat", 7, "toy", (None,)))]
        clip = [file for file in files if file.startswith("clip/curves/words_mean_")]
        assert clip == [f"clip/curves/words_mean_{name}{number}.png" for number in expected]


def test_wide_tables_of_samples():
    """Of several samples each has its files."""
    result = run(make_trace(), CurvesOptions(csv="wide", phrases=("a cat",)))
    names = ["words_auc", "words_stepavg", "phrases_auc", "phrases_stepavg"]
    expected = [f"clip/tables/{name}-sample-{sample}.csv" for name in names for sample in (0, 1)]
    assert list(result.files) == expected


def test_phrases():
    """A phrase's curve is the sum of its words' curves."""
    result = run(make_trace(), CurvesOptions(phrases=("a bobcat",)))
    words, phrase = result.arrays["clip/words"], result.arrays["clip/phrases"]
    np.testing.assert_allclose(phrase.isel(word=0), words.sel(word=2) + words.sel(word=3))
    rows = result.columns["clip/tables/phrases_auc.csv"]
    assert next(iter(rows)) == "phrase"
    assert set(rows["phrase"]) == {"a bobcat"}


def test_a_skipped_step_is_bridged():
    """Where a layer did not run the curve is interrupted, and the area goes straight across."""
    about = full_manifest(samples=1)
    probs = make_probs(about)
    files = fold(about, probs)
    for name, tensor in files[shard_file(about.steps[1])].items():
        if name.startswith("0/"):
            tensor[:] = np.nan
    result = run(Trace(MemoryFiles(about, files)), CurvesOptions(words=("cat",)))
    curve = plain(about, probs, about.layers[0], [2], 0)
    rows = {name: result.columns[f"clip/tables/words_{name}.csv"] for name in ("auc", "stepavg")}
    assert rows["stepavg"]["stepavg"][0] == pytest.approx((curve[0] + curve[2]) / 2, rel=1e-6)
    assert rows["auc"]["auc"][0] == pytest.approx(curve[0] + curve[2], rel=1e-6)
    assert np.isnan(result.arrays["clip/words"].values[0, 0, 0]).tolist() == [False, True, False]


def test_one_step():
    """A single step has a mean, and no area."""
    columns = run(make_trace(), CurvesOptions(steps=("1",))).columns["clip/tables/words_auc.csv"]
    assert (columns["auc"] == 0).all()


def test_topk():
    """Pictures show the words of most mass in the prompt's order; tables have all."""
    result = run(make_trace(), CurvesOptions(topk=2))
    curves = result.arrays["clip/words"]
    assert (curves.sizes["word"], curves.attrs["left_out"]) == (2, 2)
    assert len(result.tables["clip/tables/words_auc.csv"]) == 4 * 2 * 2


def test_digest():
    """For collections each word of the first segment is a curve, of its prompt alone."""
    trace, about, probs = make_full()
    digest = run(trace, CurvesOptions(words=("cat",))).digests["1 words by step"]
    assert (list(digest.series), digest.is_of_prompt) == (["cat"], True)
    curves = [
        plain(about, probs, layer, CLIP_WORDS["cat", 1], sample)
        for layer in about.layers
        for sample in (0, 1)
    ]
    np.testing.assert_allclose(digest.series["cat"], np.mean(curves, axis=0), rtol=1e-6)


def test_without_words():
    """A segment that has none of the words has no tables."""
    assert {name.split("/")[0] for name in run(make_trace(manifest()), CurvesOptions()).tables} == {
        "clip"
    }
