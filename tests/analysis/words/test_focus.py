"""Which layer shows what the picture shows."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from attn.analysis.words import concentration, focus, words
from attn.errors import AnalysisError
from attn.trace.store import shard_file
from attn.trace.trace import open_trace
from attn.trace.writer import TraceWriter
from tests.helpers import toy_traces

GRID = (6, 10)


def test_worked_example():
    """An even map, a single place, and a map that is the picture's red."""
    red = np.arange(60.0).reshape(GRID)
    colours = np.stack([red, red**2, np.ones(GRID)])
    single = np.zeros(GRID)
    single[2, 3] = 7
    maps = np.stack([np.ones(GRID), single, 3 * red, 0 * red])
    measured = focus.measure_focus(maps, focus.colour_basis(colours))
    assert measured.concentration[:2] == pytest.approx([0, 1])
    assert measured.follows[[0, 2]] == pytest.approx([0, 1])
    assert measured.follows[1] < 0.1
    assert np.isnan(measured.focus[3])
    part = red[red > 0] / red.sum()
    assert measured.focus[2] == pytest.approx(1 + (part * np.log(part)).sum() / np.log(60))


def test_fit_is_that_of_least_squares():
    """R² of a fit with a constant, also where colours depend on each other."""
    rng = np.random.default_rng(4)
    maps, colours = rng.random((2, *GRID)), rng.random((3, *GRID))
    for given in (colours, np.stack([colours[0], 2 * colours[0], colours[1]])):
        columns = np.column_stack([np.ones(60), *given.reshape(3, 60)])
        follows = focus.measure_focus(maps, focus.colour_basis(given)).follows
        for part, found in zip(maps, follows, strict=True):
            flat = part.ravel() / part.sum()
            fit = columns @ np.linalg.lstsq(columns, flat, rcond=None)[0]
            assert found == pytest.approx(1 - ((flat - fit) ** 2).sum() / flat.var() / 60)


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """A picture of one bright corner, which only layer 3 looks at; layer 1 sees another one."""
    folder = tmp_path_factory.mktemp("focus") / "run"
    about = toy_traces.manifest(samples=1)
    files = toy_traces.tensors(about)
    for step in about.steps:
        shard = files[shard_file(step)]
        for layer in about.layers:
            rows, columns = layer.grid
            maps = np.full((1, 1, rows, columns, len(about.kept.columns)), 0.01, np.float16)
            maps[:, :, : rows // 2, : columns // 2] = 0.5 if layer.index == 3 else 0.01
            maps[:, :, rows // 2 :, columns // 2 :] = 0.5 if layer.index == 1 else 0.01
            name = f"{layer.index}/map.image.text"
            shard[name] = maps.reshape(shard[name].shape)
    pixels = np.zeros((36, 60, 3), np.uint8)
    pixels[:18, :30] = 255
    with TraceWriter(folder, about) as writer:
        for step in about.steps:
            writer.put(step, files[shard_file(step)])
        (folder / "outputs").mkdir()
        Image.fromarray(pixels).save(folder / "outputs" / "image.png")
        writer.finish(replace(about, outputs=("outputs/image.png",)))
    return open_trace(folder)


def test_layers_are_told_apart(trace):
    """The layer that looks at the bright corner has the focus; the other is as concentrated."""
    result = concentration.run(trace, concentration.ConcentrationOptions())
    table = result.tables[concentration.LAYERS].set_index("layer")
    assert table.loc[3, "follows"] == pytest.approx(1, abs=1e-4)
    assert table.loc[3, "focus"] > 5 * table.loc[1, "focus"] > 0
    assert result.notes[0].startswith("of 2 layers the maps of block.3 follow the image most")


def test_best_layer_is_drawn_and_told(trace):
    """`layers=best` is that layer; without it the sheet says that it is clearer."""
    best = words.run(trace, words.WordsOptions(layers=("best",)))
    assert best.arrays["clip"].attrs["layers"] == [3]
    assert best.arrays["clip"].attrs["told"] == ""
    mean = words.run(trace, words.WordsOptions())
    told = mean.arrays["clip"].attrs["told"]
    assert told in mean.notes
    assert told.startswith("maps of the layer block.3 follow the image ")


def test_heads_are_measured_apart():
    """Traces with single heads have a row for each."""
    about = toy_traces.manifest(level="heads", samples=1)
    trace = toy_traces.make_trace(about)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(focus, "read_image", lambda *_: None)
        result = concentration.run(trace, concentration.ConcentrationOptions(heads=True))
    table = result.tables[concentration.LAYERS]
    assert [(row.layer, row.head) for row in table.itertuples()] == [
        *(("mean", "mean"), (1, "mean"), (1, 0), (1, 1)),
        *((3, "mean"), (3, 0), (3, 1), (3, 2)),
    ]
    assert table["follows"].isna().all()


def test_best_needs_a_picture(monkeypatch):
    """Without one, what a map follows cannot be said."""
    monkeypatch.setattr(focus, "read_image", lambda *_: None)
    with pytest.raises(AnalysisError, match="layers=best needs a picture"):
        words.run(toy_traces.make_trace(), words.WordsOptions(layers=("best",)))
