"""Maps of some concepts, made of the queries and keys that a capture kept, against float64."""

from dataclasses import replace

import numpy as np
import pytest

from attn.errors import AnalysisError, TraceError
from attn.trace.store import shard_file
from attn.trace.words.concept_keys import find_groups
from tests.helpers.toy_traces import CROSS, JOINT, make_trace, manifest, tensors

CONCEPTS = ("sky", "tall grass", "dog", "a+b")
LENGTHS = (1, 3, 2, 1)
CHANNELS = 7
SCALE = 0.31


def softmax(logits):
    """Return a softmax over the last axis in float64."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def make(*, layers=CROSS, missing=(), skipped=()):
    """Return a trace with factors of two samples, without some tensors or layers of some steps."""
    about = manifest([replace(layer, head_dim=CHANNELS) for layer in layers], level="factors")
    about = replace(about, request=replace(about.request, concepts=CONCEPTS))
    files, rng = tensors(replace(about, kept=replace(about.kept, level="maps"))), make_rng()
    for step in about.steps:
        for layer in about.layers:
            shape = (1, 2, layer.num_heads)
            key = rng.normal(size=(*shape, 4, max(LENGTHS), CHANNELS))
            for concept, length in enumerate(LENGTHS):
                key[..., concept, length:, :] = np.nan
            made = {
                "query": rng.normal(size=(*shape, layer.num_queries, CHANNELS)),
                "concept_key": key,
                "scale": np.full((1, 2), SCALE),
                "concepts.image": rng.random((1, 2, layer.num_queries, 4)),
            }
            for name in made.keys() - {*missing}:
                dtype = np.float16 if name.endswith("image") else np.float32
                value = np.nan if (step.index, layer.index) in skipped else 1
                files[shard_file(step)][f"{layer.index}/{name}"] = (made[name] * value).astype(
                    dtype
                )
    return make_trace(about, files)


def make_rng():
    """Return the numbers of every test."""
    return np.random.default_rng(11)


def expect(trace, groups, layer, step):
    """Return the maps of groups in one layer and step, (sample, query, group), float64."""
    query, key = (
        trace.measure(name, layer).values[step, 0].astype(np.float64)
        for name in ("query", "concept_key")
    )
    logits = [
        np.log(np.exp(SCALE * query @ key[:, :, concept, :length].swapaxes(2, 3)).mean(-1))
        for concept, length in enumerate(LENGTHS)
    ]
    of_groups = [np.log(np.mean([np.exp(logits[at]) for at in group], 0)) for group in groups]
    return softmax(np.stack(of_groups, -1)).mean(1)


GROUPS = {
    ("dog", "sky"): [(2,), (0,)],
    ("SKY + dog", "tall  grass", "a+b"): [(0, 2), (1,), (3,)],
    CONCEPTS: [(0,), (1,), (2,), (3,)],
}


@pytest.mark.parametrize("among", GROUPS)
def test_maps_are_those_of_only_these_concepts(among):
    """Of queries and keys that were kept, a subset or groups get a float64 softmax of their own."""
    trace = make()
    maps = trace.concept_maps(among=among, layers=[3], steps=[1])
    expected = expect(trace, GROUPS[among], 3, 1)
    assert maps.dims == ("sample", "concept", "row", "column")
    laid = np.moveaxis(maps.values, 1, 3).reshape(expected.shape)
    np.testing.assert_allclose(laid, expected, atol=1e-6)
    assert list(maps.concept.values) == [
        "+".join(CONCEPTS[at] for at in group) for group in GROUPS[among]
    ]


def test_mean_is_over_layers_that_ran():
    """Layers of other grids are averaged on the finest; one that did not run does not count."""
    trace = make(skipped={(step, 1) for step in (0, 1, 2)} | {(2, 3)})
    maps = trace.concept_maps(among=["dog", "sky"])
    steps = [expect(trace, [(2,), (0,)], 3, step) for step in (0, 1)]
    laid = np.moveaxis(maps.values, 1, 3).reshape(steps[0].shape)
    np.testing.assert_allclose(laid, np.mean(steps, 0), atol=1e-6)
    assert maps.attrs["layers"] == [3]


WRONG = {
    ("dog",): "name two or more of sky, tall grass, dog, a\\+b; got dog",
    (
        "dog",
        "tall gras",
    ): "there is no concept 'tall gras' in this trace; .* Did you mean 'tall grass'",
    ("dog", "sky+dog"): "concept 'dog' is named twice",
    ("dog", ""): "there is no concept ''",
}


@pytest.mark.parametrize("among", WRONG)
def test_wrong_names(among):
    """What cannot be held against each other is refused with the concepts that there are."""
    with pytest.raises(AnalysisError, match=WRONG[among]):
        find_groups(CONCEPTS, among)


def test_what_was_not_kept():
    """Without factors, or without keys of the concepts, it says what to capture."""
    with pytest.raises(TraceError, match="has no query of layer 1"):
        make(missing=("query",)).concept_maps(among=["sky", "dog"])
    with pytest.raises(TraceError, match="has no concept_key of layer 1"):
        make(missing=("concept_key",)).concept_maps(among=["sky", "dog"])


def test_stream():
    """In joint layers concepts read each other, so that some of them alone have other maps."""
    with pytest.raises(AnalysisError, match="concepts attend to each other"):
        make(layers=JOINT).concept_maps(among=["sky", "dog"])
