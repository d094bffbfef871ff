"""Sinks: every table against raw probabilities in float64."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from attn.analysis.compare.terms import find_terms
from attn.analysis.sinks.roles import read_keys
from attn.analysis.sinks.sinks import SinksOptions, run
from attn.analysis.sinks.tables import Rules, find_sinks
from attn.analysis.tables import write_table
from attn.analysis.words import curves
from attn.errors import AnalysisError
from attn.schema import Column, Layer, Segment, Token, part, positions
from attn.trace.trace import MemoryFiles, Trace
from attn.trace.words.prompts import read_prompt
from attn.viz.figures import Subject
from attn.viz.sinks import draw
from tests.helpers.toy_probs import (
    IMAGE_SINK,
    NOISE,
    SINK,
    block,
    fold,
    full_manifest,
    make_full,
    make_probs,
    share_of,
)
from tests.helpers.toy_traces import CROSS, make_trace, manifest, read_csv

TEXT = 11 + 13
"""Text keys of the toy layers."""


def read(table, tmp_path):
    """Return the rows of a table as they are on disk."""
    write_table(table, tmp_path / "table.csv")
    return read_csv(tmp_path / "table.csv")


def layer_of(about, row):
    """Return the layer that a row is about."""
    return next(layer for layer in about.layers if str(layer.index) == row["layer"])


def test_first_token_metrics(tmp_path):
    """Mass, share, text_share and ratio_to_uniform of every step, layer, head and branch."""
    trace, about, probs = make_full()
    table = run(trace, SinksOptions(token=12)).columns["sinks/first_token_metrics.csv"]
    rows = read(table, tmp_path)
    assert len(rows) == 2 * 2 * 3 * (3 + 4)  # branches, samples, steps, heads and their mean
    assert {(row["segment"], row["role"], row["position"]) for row in rows} == {
        ("t5", "word", "12")
    }
    for row in rows:
        layer, branch = layer_of(about, row), ("cond", "uncond").index(row["branch"])
        whole = probs[int(row["step"]), layer.index][branch, int(row["sample"])]
        text = block(whole[None, None], layer, "image.text")[0, 0].mean(1)  # head, key
        own = text.mean(0) if row["head"] == "mean" else text[int(row["head"])]
        assert float(row["mass"]) == pytest.approx(own[12], rel=1e-6)
        assert float(row["text_share"]) == pytest.approx(own[12] / own.sum(), rel=1e-6)
        assert float(row["ratio_to_uniform"]) == pytest.approx(own[12] / own.mean(), rel=1e-6)
        share = share_of(whole[None, None], layer)[0, 0].mean(0)[12]
        expected = pytest.approx(share, rel=1e-6) if row["head"] == "mean" else None
        assert (float(row["share"]) if row["share"] else None) == expected


def test_time_and_layers_are_in_order(tmp_path):
    """Rows are by guidance row, sample and step in generation order, layers by number."""
    trace, *_ = make_full()
    rows = read(run(trace, SinksOptions()).columns["sinks/first_token_metrics.csv"], tmp_path)
    order = [
        (row["branch"], int(row["sample"]), int(row["step"]), int(row["layer"])) for row in rows
    ]
    assert order == sorted(order)
    assert list(dict.fromkeys(row["noise"] for row in rows)) == [f"{noise:.9g}" for noise in NOISE]


def plain_sinks(about, probs, branch, sample, layer, rows):
    """Return by key: listed, and the parts of all cells in which either rule holds."""
    selected = slice(None) if rows == "all" else positions(part(layer.queries, "image"))
    cells = np.stack(
        [probs[step, layer.index][branch, sample][:, selected].mean(1) for step in range(3)]
    )  # step, head, key

    def sums(mass):
        """The column sums of a square matrix: rows times the mean."""
        columns = mass * layer.num_keys
        others = (columns.sum(-1, keepdims=True) - columns) / (layer.num_keys - 1)
        return columns > others + 3, mass > 0.3

    by_head, means = sums(cells), sums(cells.mean(1))
    listed = (means[0] | means[1]).any(0)
    return listed, by_head[0].mean((0, 1)), by_head[1].mean((0, 1)), cells


def key_at(row, layer):
    """Return the place of a row's key in the layer."""
    return (
        int(row["position"])
        + (15 if row["segment"] != "image" and layer.index == 0 else 0)
        + (60 if row["segment"] != "image" and layer.index == 2 else 0)
    )


def test_sinks(tmp_path):
    """The listed keys are those for which a rule holds, over both kinds of rows."""
    trace, about, probs = make_full()
    rows = read(run(trace, SinksOptions()).columns["sinks/sinks.csv"], tmp_path)
    assert rows
    result = {}
    for row in rows:
        layer = layer_of(about, row)
        branch, sample = ("cond", "uncond").index(row["branch"]), int(row["sample"])
        cell = (branch, sample, layer.index, row["rows"])
        _, epsilon, share, cells = plain_sinks(about, probs, branch, sample, layer, row["rows"])
        key = key_at(row, layer)
        result.setdefault(cell, set()).add(key)
        own = cells[:, :, key]
        expected = (own.mean(), own.max(), own.mean() * layer.num_keys, epsilon[key], share[key])
        names = ("mass", "mass_max", "ratio", "epsilon_part", "share_part")
        for name, number in zip(names, expected, strict=True):
            assert float(row[name]) == pytest.approx(number, rel=1e-6)
    for cell in product((0, 1), (0, 1), about.layers, ("image", "all")):
        listed = plain_sinks(about, probs, *cell)[0]
        own = result.get((*cell[:2], cell[2].index, cell[3]), set())
        assert own == set(np.flatnonzero(listed).tolist())


def test_planted_sinks():
    """What was made a sink is found: a special token, and a place of the picture."""
    trace, *_ = make_full()
    columns = run(trace, SinksOptions()).columns["sinks/sinks.csv"]
    rows = set(
        zip(
            columns["layer"],
            columns["segment"],
            columns["role"],
            columns["position"],
            columns["token"],
            strict=True,
        )
    )
    assert (0, "clip", "bos", 0, "<s>") in rows
    assert (0, "image", "image", IMAGE_SINK, "") in rows
    assert SINK == 15


def test_without_image_keys():
    """From the small measures alone the same text keys are found: a row's sum is known."""
    full, *_ = make_full()
    small, *_ = make_full(blocks=("image.text",))
    tables = [run(trace, SinksOptions()).columns["sinks/sinks.csv"] for trace in (full, small)]
    selected = (tables[0]["rows"] == "image") & (tables[0]["segment"] != "image")
    for name, column in tables[1].items():
        np.testing.assert_array_equal(column, tables[0][name][selected])


def test_heads():
    """`heads` lists what is a sink in a single head and step too."""
    trace, *_ = make_full()
    few, many = (
        len(run(trace, SinksOptions(heads=heads, epsilon=0.6)).tables["sinks/sinks.csv"])
        for heads in (False, True)
    )
    assert many > few


def test_rules():
    """Epsilon is against the mean of the others; the share rule is a bound on the mass itself."""
    mass = np.array([0.45, 0.1, 0.05])
    rules = Rules(epsilon=3.0, threshold=0.3, heads=False)
    epsilon, share = find_sinks(mass, np.array(1.0), 10, rules)
    # ratios 4.5, 1, 0.5 against others (10 - ratio) / 9 = 0.61, 1, 1.06
    assert (epsilon.tolist(), share.tolist()) == ([True, False, False], [True, False, False])
    stricter = replace(rules, epsilon=3.9, threshold=0.45)
    assert [flags.any() for flags in find_sinks(mass, np.array(1.0), 10, stricter)] == [
        False,
        False,
    ]


def test_no_sinks(tmp_path):
    """If nothing is a sink, the table has its header and no rows."""
    result = run(make_full()[0], SinksOptions(epsilon=1e9, threshold=1.0))
    assert read(result.columns["sinks/sinks.csv"], tmp_path) == []
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").startswith("branch,sample,rows,")


def test_roles(tmp_path):
    """What all roles of a row receive adds up to 1; each is the sum over its keys."""
    trace, about, probs = make_full()
    rows = read(run(trace, SinksOptions()).columns["sinks/roles.csv"], tmp_path)
    sums = {}
    for row in rows:
        cell = tuple(row[name] for name in ("branch", "sample", "rows", "layer"))
        sums[cell] = sums.get(cell, 0) + float(row["mass"])
    assert len(sums) == 2 * 2 * 2 * 2
    np.testing.assert_allclose(list(sums.values()), 1, atol=1e-6)
    (row,) = (
        row
        for row in rows
        if [row[name] for name in ("branch", "sample", "rows", "layer", "segment", "role")]
        == ["cond", "1", "image", "2", "t5", "padding"]
    )
    layer = about.layers[1]
    text = [block(probs[step, 2], layer, "image.text")[0, 1] for step in range(3)]
    expected = np.mean([item[..., 11 + 5 :].sum(-1).mean() for item in text])
    assert float(row["mass"]) == pytest.approx(expected, rel=1e-6)
    assert row["keys"] == "8"
    assert float(row["ratio"]) == pytest.approx(expected * layer.num_keys / 8, rel=1e-6)


def test_roles_without_image_keys(tmp_path):
    """What the picture gets is known as the rest of the row."""
    small = run(make_full(blocks=("image.text",))[0], SinksOptions()).columns["sinks/roles.csv"]
    full = run(make_full()[0], SinksOptions()).columns["sinks/roles.csv"]
    for table in (small, full):
        assert list(dict.fromkeys(table["role"]))[:4] == ["bos", "word", "punctuation", "padding"]
    rows = full["rows"] == "image"
    np.testing.assert_allclose(small["mass"], full["mass"][rows], atol=1e-6)
    assert small["keys"].tolist() == full["keys"][rows].tolist()


def test_roles_of_a_drawing():
    """Tokens of a drawing are what they are; none of them begins or ends a text."""
    told = {"id": -1, "special": True, "padding": False, "start": 0, "stop": 0, "word": None}
    tokens = [Token(11 + index, "sketch", text=f"<sketch {index}>", **told) for index in range(3)]
    about = manifest(CROSS)
    read = (*about.tokens["cond"], *tokens)
    columns = [Column(token.segment, token.position) for token in read]
    roles = [key.role for key in read_keys(columns, read)]
    assert (roles[0], roles[-3:]) == ("bos", ["sketch"] * 3)
    terms = find_terms(read_prompt(replace(about, tokens={"cond": read}), "cond"))
    sinks = {term.text: term.tokens for term in terms if term.kind == "sink"}
    assert sinks == {
        "<s>": (("clip", 0),),
        "all tokens": (("sketch", 11), ("sketch", 12), ("sketch", 13)),
    }


def test_cross_attention():
    """Layers that read text only have text rows that add up to 1, and no picture's keys."""
    columns = run(make_trace(manifest(CROSS)), SinksOptions()).columns["sinks/roles.csv"]
    assert set(columns["segment"]) == {"clip"}


@pytest.mark.parametrize("token", [TEXT, -1, 10**9])
def test_token_out_of_range(token):
    """A token that there is not is an error that says which there are."""
    message = rf"token {token} is out of range: there are 24 text keys, clip 0-10, t5 11-23"
    with pytest.raises(AnalysisError, match=message):
        run(make_full()[0], SinksOptions(token=token))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"epsilon": float("nan")}, "epsilon must be a number, got nan"),
        ({"epsilon": float("inf")}, "epsilon must be a number, got inf"),
        ({"threshold": float("nan")}, "threshold is a mass, 0 to 1; got nan"),
        ({"threshold": -0.1}, "threshold is a mass, 0 to 1; got -0.1"),
        ({"threshold": 30.0}, "threshold is a mass, 0 to 1; got 30"),
    ],
)
def test_rules_that_hold_of_nothing(rule, message):
    """A rule that means nothing is refused instead of giving an empty table."""
    with pytest.raises(ValueError, match=message):
        SinksOptions(**rule)


def test_tokens():
    """tokens.json has the text keys by index, cut as the model read them."""
    content = run(make_full()[0], SinksOptions()).files["sinks/tokens.json"].content
    assert content["tokens"][0][:3] == ["<s>", "A", "cat"]
    assert (len(content["tokens"][0]), content["unconditional"]) == (TEXT, True)
    assert content["keys"]["uncond"][12]["index"] == 12
    assert content["keys"]["uncond"][12]["segment"] == "t5"


def test_layers_without_text_keys():
    """Layers that read the picture alone have sinks and roles, and no token to follow."""
    about = full_manifest()
    files = fold(about, make_probs(about))
    image = Segment("image", "image", 0, 15, (3, 5))
    layer = Layer(3, "denoiser", "attn2", "self", 2, (image,), (image,), ("image.image",))
    rows = np.random.default_rng(0).gamma(0.5, size=(2, 2, 2, 15, 15))
    rows[..., IMAGE_SINK] *= 30
    rows /= rows.sum(-1, keepdims=True)
    for shard in files.values():
        shard["3/mass.image.image"] = rows.mean(3).astype(np.float32)
        shard["3/total.image"] = rows.sum(-1).mean(-1)[..., np.newaxis].astype(np.float32)
    trace = Trace(MemoryFiles(replace(about, layers=(*about.layers, layer)), files))
    result = run(trace, SinksOptions(layers=("*attn2",)))
    sinks, roles = (result.columns[f"sinks/{name}.csv"] for name in ("sinks", "roles"))
    assert set(zip(sinks["layer"], sinks["position"], strict=True)) == {(3, IMAGE_SINK)}
    np.testing.assert_allclose(roles["mass"], 1, rtol=1e-6)
    assert result.notes == ("the chosen layers have no text keys, so no token is followed",)
    assert (len(result.tables), list(result.arrays), list(result.digests)) == (
        2,
        ["roles"],
        ["3 roles by layer"],
    )
    assert [item.path for item in draw(result, Subject("a cat", 7, "toy", (None, None)))] == [
        "sinks/roles.png"
    ]
    with pytest.raises(AnalysisError, match="no layer with text keys matches '3', which is attn2"):
        curves.run(trace, curves.CurvesOptions(layers=("3",)))


def test_arrays():
    """Pictures show means over samples of the first guidance row; missing heads are NaN."""
    trace, about, probs = make_full()
    arrays = run(trace, SinksOptions()).arrays
    heads = arrays["heads"]
    assert (heads["layer"].values.tolist(), heads.shape) == ([0, 2], (2, 3))
    assert np.isnan(heads.values[0]).tolist() == [False, False, True]
    own = [block(probs[step, 0], about.layers[0], "image.text")[0, :, 1, :, 0] for step in range(3)]
    assert float(heads[0, 1]) == pytest.approx(np.mean(own), rel=1e-6)
    assert arrays["steps"].dims == ("layer", "step")
    assert arrays["roles"]["role"].values.tolist()[-1] == "image"
