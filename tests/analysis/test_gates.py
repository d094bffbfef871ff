"""Gates: every table against all values of the gates in float64."""

from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.gates import GatesOptions, run
from attn.analysis.registry import plan
from attn.analysis.tables import write_table
from attn.analysis.words.select import select_layers
from attn.errors import AnalysisError
from attn.schema import Gate
from attn.trace.store import shard_file
from tests.helpers.toy_traces import JOINT, make_trace, manifest, read_csv, tensors

COUNT = 37
"""Values of a gate per head."""
GATES = {0: ("image", "text"), 2: ("image",)}
LAYERS = tuple(
    replace(one, gates=tuple(Gate(part, f"{one.path}.{part}") for part in GATES[one.index]))
    for one in JOINT
)


def statistics(values):
    """Return what is kept of values, along the last axis."""
    shares = (values < 0.5).mean(-1), (values < 0.1).mean(-1)
    return np.stack([values.mean(-1), values.std(-1), *shares], -1)


@pytest.fixture(scope="module")
def made():
    """Return a trace with gates, and all their values by step, layer and part.

    Those have the axes branch, sample, head, value.
    """
    rng = np.random.default_rng(3)
    about = manifest(LAYERS, branches=("cond", "uncond"))
    files, values = tensors(about), {}
    for step in about.steps:
        for layer in LAYERS:
            for gate in layer.gates:
                drawn = rng.beta(0.7, 0.9, size=(2, 2, layer.num_heads, COUNT))
                values[step.index, layer.index, gate.part] = drawn
                name = f"{layer.index}/gate.{gate.part}"
                files[shard_file(step)][name] = statistics(drawn).astype(np.float32)
    return make_trace(about, files), values


def on_disk(trace, name, tmp_path, **options):
    """Return the rows of a table as they are on disk."""
    write_table(run(trace, GatesOptions(**options)).columns[f"gates/{name}"], tmp_path / name)
    return read_csv(tmp_path / name)


def numbers(row):
    """Return the statistics of a row."""
    return [float(row[name]) for name in ("mean", "std", "below_0.5", "below_0.1")]


def of_row(values, row):
    """Return the values that a row is about, of one step."""
    branch = ("cond", "uncond").index(row["branch"])
    own = values[branch, int(row["sample"])]
    return own.ravel() if row["head"] == "mean" else own[int(row["head"])]


def test_by_step(made, tmp_path):
    """Each row is what its gate's values give; `mean` is all heads together."""
    trace, values = made
    rows = on_disk(trace, "gates.csv", tmp_path)
    assert len(rows) == 2 * 2 * 3 * (2 * 3 + 4)  # branches, samples, steps; heads and their mean
    for row in rows:
        own = of_row(values[int(row["step"]), int(row["layer"]), row["part"]], row)
        np.testing.assert_allclose(numbers(row), statistics(own), rtol=0, atol=1e-6)
        assert row["path"] == f"blocks.{row['layer']}.attn"


def test_summary(made, tmp_path):
    """Over steps, a row is what the values of all steps together give."""
    trace, values = made
    rows = on_disk(trace, "gates_summary.csv", tmp_path, steps=("1-2",))
    assert len(rows) == 2 * 2 * (2 * 3 + 4)
    for row in rows:
        own = [of_row(values[step, int(row["layer"]), row["part"]], row) for step in (1, 2)]
        wanted = statistics(np.concatenate(own))
        np.testing.assert_allclose(numbers(row), wanted, rtol=0, atol=1e-6)


def test_order(made, tmp_path):
    """Rows are by guidance row, sample and step in generation order, layers by number."""
    rows = on_disk(made[0], "gates.csv", tmp_path)
    keys = [
        (row["branch"], *(int(row[key]) for key in ("sample", "step", "layer"))) for row in rows
    ]
    assert keys == sorted(keys)
    assert [row["timestep"] for row in rows if row["step"] == "2"][:1] == ["998"]


@pytest.mark.parametrize("value", ["mean", "below_0.1"])
def test_pictures(made, value):
    """What is drawn are means of the first guidance row; heads that a layer lacks are NaN."""
    trace, values = made
    arrays = run(trace, GatesOptions(value=value)).arrays
    assert list(arrays) == ["heads image", "steps image", "heads text", "steps text"]
    index = {"mean": 0, "below_0.1": 3}[value]
    heads, steps = arrays["heads image"], arrays["steps image"]
    assert heads.sizes == {"layer": 2, "head": 3}
    assert np.isnan(heads.sel(layer=0).values[2])
    own = np.stack([values[step, 2, "image"][0] for step in range(3)])
    wanted = statistics(np.moveaxis(own, 2, 0).reshape(3, -1))[:, index]
    np.testing.assert_allclose(heads.sel(layer=2), wanted, atol=1e-6)
    wanted = statistics(own.reshape(3, -1))[:, index]
    np.testing.assert_allclose(steps.sel(layer=2), wanted, atol=1e-6)
    assert steps["step"].values.tolist() == [0, 1, 2]


def test_layers(made, tmp_path):
    """Layers without gates cannot be chosen."""
    rows = on_disk(made[0], "gates.csv", tmp_path, layers=("2",))
    assert {row["layer"] for row in rows} == {"2"}
    with pytest.raises(AnalysisError, match="no captured layer matches '1'"):
        run(made[0], GatesOptions(layers=("1",)))
    first, last = made[0].layers
    with pytest.raises(AnalysisError, match="no layer with gates matches '0', which is blocks"):
        select_layers([last], ("0",), captured=(first, last), having="gates")


def test_only_of_gated_models(made):
    """Other traces are not said to lack gates, unless somebody asks for them by name."""
    assert "gates" in [one.name for one in plan(made[0]).runnable]
    plain = make_trace(manifest(JOINT))
    assert "gates" not in plan(plain).skipped
    with pytest.raises(AnalysisError, match="'gates' needs gates, which act on no captured layer"):
        plan(plain, ["gates"])
