"""Sinks are the keys that receive most on the run that is not changed; controls are others."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from attn.engine.interventions.draws import draw_heads, draw_layers, draw_offsets
from attn.engine.interventions.resolve import RequestLayout
from attn.engine.interventions.targets import BranchText
from attn.schema import CutTarget, Intervention
from attn.verbs.ablate.treatments import make_treatment
from tests.engine.interventions.test_families import has_text, open_request, run

pytestmark = pytest.mark.usefixtures("demo_cache")


def test_sinks_are_those_of_the_plain_run():
    """The two keys of the greatest mean probability over the first step are hidden."""
    session, request = open_request("fake", steps=1)
    target = CutTarget(sinks=2, queries="all", branch="cond")
    cut = replace(request, interventions=(Intervention(target),))
    _, before = run(session, request, None)
    _, after = run(session, cut, make_treatment(session, [cut]))
    layers = [layer for layer in session.layers(request) if has_text(layer)]
    means = {}
    for layer in layers:
        probs = before[f"{layer.index}/headmap.all.all"][0, 0].astype(np.float64)
        received = probs.mean((0, 1))
        for segment in layer.keys:
            for offset in range(segment.length):
                of = means.setdefault((segment.name, offset), [])
                of.append(received[segment.start + offset])
    most = sorted(means, key=lambda key: -np.mean(means[key]))[:2]
    layer = layers[0]
    starts = {segment.name: segment.start for segment in layer.keys}
    hidden = [starts[name] + offset for name, offset in most if name in starts]
    assert after[f"{layer.index}/headmap.all.all"][0, 0][..., hidden].max() == 0


def test_random_keys_are_as_many_others_of_the_segment():
    """A control has as many keys as the cut, none of them, of the same role if there are some."""
    session, request = open_request("sd15")
    layers = [layer for layer in session.layers(request) if has_text(layer)]
    text = BranchText(request.prompt, session.sequence(request, "cond"))
    cut = frozenset({("clip", 2)})
    drawn = [draw_offsets(cut, layers, text, Random(seed)) for seed in range(9)]
    assert set().union(*drawn) == {("clip", 1), ("clip", 3)}
    assert drawn[0] == draw_offsets(cut, layers, text, Random(0))


def test_random_keys_of_a_causal_model_leave_the_first():
    """Without the first key the first row has none, which would end a comparison; behind it not."""
    session, request = open_request("sd15")
    layers = [layer for layer in session.layers(request) if has_text(layer)]
    text = BranchText(request.prompt, session.sequence(request, "cond"))
    written = tuple(replace(of, queries=of.keys) for of in layers)
    layout = RequestLayout(written, {"cond": text}, is_causal=True)
    cut = Intervention(CutTarget(positions=(("clip", 70),), queries="all", branch="cond"))
    spared = layout.spared(cut, written)
    assert spared == {("clip", 0)}
    count = written[0].num_keys - 2
    drawn = [
        draw_offsets(frozenset({("clip", 70)}), written, text, Random(seed), spared)
        for seed in range(3 * count)
    ]
    assert ("clip", 0) not in frozenset().union(*drawn)
    assert layout.spared(replace(cut, act="scale"), written) == frozenset()


def test_random_heads_and_layers_are_others_of_the_kind():
    """Cross-attention is held against cross-attention."""
    session, request = open_request("sd15")
    layers = session.layers(request)
    cross = [layer for layer in layers if layer.kind == "cross"]
    drawn = draw_layers(cross[:2], layers, Random(5))
    assert len(drawn) == 2
    assert all(layer in cross[2:] for layer in drawn)
    heads = draw_heads([(cross[0].index, 1)], layers, Random(5))
    assert len(heads) == 1
    assert heads[0][0] in {layer.index for layer in cross}
    assert heads[0] != (cross[0].index, 1)
