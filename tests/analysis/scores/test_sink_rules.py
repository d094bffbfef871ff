"""What published rules call a sink."""

import numpy as np

from attn.analysis.scores.sink_rules import find_rule_sinks, tabulate_rules
from tests.helpers import toy_texts, toy_traces


def test_rules_of_one_row():
    """Each rule on numbers worked out by hand: eleven keys, one of half, one of 0.31."""
    mass = np.full(11, 0.19 / 9)
    mass[[2, 7]] = 0.5, 0.31
    sinks = find_rule_sinks(mass, np.array(11.0))
    found = {rule: np.flatnonzero(flags).tolist() for rule, flags in sinks.items()}
    # others of key 2 have 0.05 each: 11 · 0.5 > 0.55 + 3; of key 7 0.069: 3.41 < 0.76 + 3
    assert found == {
        "rulli": [2],
        "gu": [2, 7],
        "floating": [2],
        "top-1": [2],
        "top-5": [0, 1, 2, 3, 7],
    }


def test_floating_takes_the_largest_key_of_even_rows():
    """Its threshold on means cannot be reached, so that it names a sink where there is none."""
    sinks = find_rule_sinks(np.full((3, 1, 13), 1 / 13), np.full((3, 1), 13.0))
    assert {rule: int(flags.sum()) for rule, flags in sinks.items()} == {
        "rulli": 0,
        "gu": 0,
        "floating": 3,
        "top-1": 3,
        "top-5": 15,
    }


def means(trace, layer, block):
    """Return (sample, step, key), mean over heads."""
    mass = trace.mass(layer, block).sel(branch="cond").mean("head")
    return mass.transpose("sample", "step", "key").values


def test_dominant_keys_of_pictures():
    """The key that receives most is that of the masses, named by its token."""
    about = toy_traces.manifest()
    trace = toy_traces.make_trace(about)
    rules, keys, changes = tabulate_rules(trace)
    mass = means(trace, 3, "image.text")
    rows = [at for at, layer in enumerate(keys["layer"]) if layer == 3]
    assert keys["position"][rows].tolist() == mass.argmax(-1).ravel().tolist()
    np.testing.assert_allclose(keys["mass"][rows], mass.max(-1).ravel(), rtol=1e-6)
    counted = [at for at, layer in enumerate(changes["layer"]) if layer == 3]
    best = mass.argmax(-1)
    assert changes["changes"][counted].tolist() == (np.diff(best, axis=1) != 0).sum(1).tolist()
    np.testing.assert_allclose(changes["variance"][counted], best.var(1))
    assert set(rules["rule"]) == {"rulli", "gu", "floating", "top-1", "top-5"}


def test_dominant_keys_of_texts():
    """Models that write are looked at over all rows of the text, with the same columns."""
    trace, _ = toy_texts.make_text()
    rules, keys, _ = tabulate_rules(trace)
    assert set(rules["rows"]) == {"all"}
    mass = means(trace, 4, "all.all")
    rows = [at for at, layer in enumerate(keys["layer"]) if layer == 4]
    assert keys["position"][rows].tolist() == mass.argmax(-1).ravel().tolist()
