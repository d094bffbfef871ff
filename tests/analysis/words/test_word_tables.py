"""The tables of `words`, every cell against a plain recomputation in float64."""

import numpy as np
import pytest

from attn.analysis.tables import write_table
from attn.analysis.words.words import WordsOptions, run
from attn.trace.store import shard_file
from tests.helpers.toy_probs import block, make_full, share_of
from tests.helpers.toy_traces import (
    CLIP_WORDS,
    CROSS,
    JOINT,
    T5_WORDS,
    make_trace,
    manifest,
    plain_maps,
    read_csv,
    stored,
    tensors,
)

TABLE = "{}/tables/words.csv"
SUMMARY = "{}/tables/words_summary.csv"
SEGMENTS = pytest.mark.parametrize(
    ("layers", "segment", "words"),
    [(CROSS, "clip", CLIP_WORDS), (JOINT, "clip", CLIP_WORDS), (JOINT, "t5", T5_WORDS)],
)


def read(table, tmp_path):
    """Return the rows of a table as they are on disk."""
    write_table(table, tmp_path / "table.csv")
    return read_csv(tmp_path / "table.csv")


def close(text, number):
    """Whether a cell holds a number to 1e-6."""
    return abs(float(text) - number) <= 1e-6 * abs(number)


def plain_rows(files, layer, positions, head, labels):
    """Return the rows of one word, layer and head."""
    for step in range(3 if positions else 0):
        mass = stored(files, layer, "mass", step)[:, :, positions].sum(-1)
        share = stored(files, layer, "share", step)[:, positions].sum(-1)
        own = mass.mean(1) if head == "mean" else mass[:, head]
        for sample in range(2):
            texts = map(str, (*labels, layer.index, head, step, "cond", sample))
            yield (*texts, own[sample], share[sample] if head == "mean" else None)


@SEGMENTS
@pytest.mark.parametrize("heads", [False, True])
def test_table(tmp_path, layers, segment, words, heads):
    """Every cell of words.csv is the sum over the word's tokens of the stored mass and share."""
    about = manifest(layers)
    files = tensors(about)
    result = run(make_trace(about, files), WordsOptions(heads=heads))
    expected = [
        cells
        for (word, number), positions in words.items()
        for layer in layers
        for head in ["mean", *range(layer.num_heads)][: None if heads else 1]
        for cells in plain_rows(files, layer, positions, head, (word, number, segment))
    ]
    rows = [tuple(row.values()) for row in read(result.columns[TABLE.format(segment)], tmp_path)]
    assert [row[:8] for row in rows] == [row[:8] for row in expected]
    for row, (*_, mass, share) in zip(rows, expected, strict=True):
        assert close(row[8], mass)
        assert row[9] == "" if share is None else close(row[9], share)


def summarise(layers, segment, tmp_path):
    """Return the tensors of a trace and the rows of its summary, by word, occurrence, sample."""
    about = manifest(layers)
    files = tensors(about)
    table = run(make_trace(about, files), WordsOptions()).columns[SUMMARY.format(segment)]
    rows = read(table, tmp_path)
    return files, {(row["word"], int(row["occurrence"]), int(row["sample"])): row for row in rows}


@SEGMENTS
def test_summary(tmp_path, layers, segment, words):
    """Mass and share of the summary are means over steps, heads and layers."""
    files, rows = summarise(layers, segment, tmp_path)
    assert list(rows) == [(*word, sample) for word in words for sample in range(2)]
    for (word, number, sample), row in rows.items():
        positions = words[word, number]
        assert (row["segment"], row["tokens"]) == (segment, str(len(positions)))
        for measure in ("mass", "share") if positions else ():
            means = [
                stored(files, layer, measure, step)[sample][..., positions].sum(-1).mean()
                for layer in layers
                for step in range(3)
            ]
            assert close(row[measure], np.mean(means))


@SEGMENTS
def test_peaks(tmp_path, layers, segment, words):
    """Peaks are where the word's map is largest, in rows and columns of the finest grid."""
    files, rows = summarise(layers, segment, tmp_path)
    for (word, number, sample), row in rows.items():
        if words[word, number]:
            heat = plain_maps(manifest(layers), files, words[word, number], sample)
            peak = np.unravel_index(heat.argmax(), heat.shape)
            assert (int(row["peak_row"]), int(row["peak_column"])) == peak


def test_summary_of_a_word_without_tokens(tmp_path):
    """Nothing is known of a word that did not fit: its cells are empty, not zero."""
    _, rows = summarise(JOINT, "t5", tmp_path)
    row = rows["bobcat", 1, 0]
    cells = [row[name] for name in ("mass", "share", "peak_row", "peak_column", "tokens")]
    assert cells == ["", "", "", "", "0"]


def test_negative_prompt(tmp_path):
    """The guidance row of the negative prompt has the words and tokens of that prompt."""
    about = manifest(branches=("cond", "uncond"))
    files = tensors(about)
    result = run(make_trace(about, files), WordsOptions(branch="uncond"))
    rows = read(result.columns["clip/tables/words.csv"], tmp_path)
    assert list(dict.fromkeys(row["word"] for row in rows)) == ["blurry", "cat"]
    assert {row["branch"] for row in rows} == {"uncond"}
    first = stored(files, CROSS[0], "mass", 0, branch=1)[0, :, [1, 2]].sum(0).mean()
    assert close(rows[0]["mass"], first)


def test_a_skipped_layer_is_left_out(tmp_path):
    """A layer that a step left out (NaN) is an empty cell, and in no mean."""
    about = manifest(samples=1)
    files = tensors(about)
    for name, tensor in files[shard_file(about.steps[1])].items():
        if name.startswith("3/"):
            tensor[:] = np.nan
    result = run(make_trace(about, files), WordsOptions())
    rows = read(result.columns["clip/tables/words.csv"], tmp_path)
    empty = [(row["layer"], row["step"]) for row in rows if not row["mass"]]
    assert set(empty) == {("3", "1")}
    summary = read(result.columns["clip/tables/words_summary.csv"], tmp_path)
    masses = [
        [stored(files, layer, "mass", step)[0, :, 2].mean() for step in range(3)] for layer in CROSS
    ]
    assert close(summary[1]["mass"], np.mean([np.nanmean(steps) for steps in masses]))


PHRASES = {"A cat": [1, 2], "cat a": [2, 4]}
"""Phrases of the prompt, with the positions of their tokens."""


@pytest.mark.parametrize("kind", ["words", "phrases"])
def test_raw_probabilities(tmp_path, kind):
    """Every mass and share of words and phrases is what a spreadsheet makes of the whole rows."""
    trace, about, probs = make_full()
    known = CLIP_WORDS
    if kind == "phrases":
        known = {(name, 1): phrase for name, phrase in PHRASES.items()}
    table = run(trace, WordsOptions(phrases=tuple(PHRASES), heads=True)).columns[
        f"clip/tables/{kind}.csv"
    ]
    rows = read(table, tmp_path)
    heads = sum(layer.num_heads + 1 for layer in about.layers)
    assert len(rows) == len(known) * heads * len(about.steps) * about.samples
    for row in rows:
        phrase = known[row[kind.removesuffix("s")], int(row["occurrence"])]
        layer = about.layers[[str(item.index) for item in about.layers].index(row["layer"])]
        whole = probs[int(row["step"]), layer.index][:1, int(row["sample"])][:, None]
        mass = block(whole, layer, "image.text")[0, 0][..., phrase].sum(-1).mean(-1)
        assert close(row["mass"], mass.mean() if row["head"] == "mean" else mass[int(row["head"])])
        if row["head"] == "mean":
            assert close(row["share"], share_of(whole, layer)[0, 0][:, phrase].sum(-1).mean())
