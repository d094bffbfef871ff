"""The shapes world: scenes, captions, masks, and the captions kept from training."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn.demo import judge, rendering, scenes
from attn.demo.tokenizers import clip_tokenizer, t5_tokenizer

SIZES = (31, 64, 128)
seeds = st.integers(0, 2**32)


def draw(seed: int) -> scenes.Scene:
    return scenes.sample(np.random.default_rng(seed))


@given(seeds, st.sampled_from(SIZES))
def test_masks_partition_the_picture(seed: int, size: int) -> None:
    """Every pixel belongs to exactly one object or to the background, and none is empty."""
    scene = draw(seed)
    masks = rendering.masks(scene, size)
    assert masks.shape == (len(scene.things) + 1, size, size)
    assert (masks.sum(0) == 1).all()
    assert masks.any((1, 2)).all()


@given(seeds, st.sampled_from(SIZES))
def test_picture_has_the_colour_of_the_mask(seed: int, size: int) -> None:
    """Masks say where each colour really is: off the edges, pixels have it exactly."""
    scene = draw(seed)
    picture = rendering.render(scene, size)
    colors = [scenes.COLORS[thing.kind.color] for thing in scene.things]
    colors.append(scenes.BACKGROUNDS[scene.content.background])
    edges = np.any([abs(rendering.distance(thing, size)) < 0.5 for thing in scene.things], axis=0)
    for color, mask in zip(colors, rendering.masks(scene, size), strict=True):
        assert (picture[mask & ~edges] == color).all()


@given(seeds)
def test_seed_decides_everything(seed: int) -> None:
    """Training and tests can be repeated: the same seed gives the same scene."""
    assert draw(seed) == draw(seed)
    assert not np.array_equal(
        rendering.render(draw(seed), 64), rendering.render(draw(seed + 1), 64)
    )


@given(seeds)
def test_objects_differ_and_keep_their_distance(seed: int) -> None:
    """Colour and shape each name one object, and objects neither touch nor leave the picture."""
    scene = draw(seed)
    for thing in scene.things:
        outside = min(*thing.center, *(1 - at for at in thing.center))
        assert outside > rendering.REACH * thing.radius
    if scene.content.relation:
        first, second = scene.things
        assert first.kind.color != second.kind.color
        assert first.kind.shape != second.kind.shape
        apart = np.hypot(*np.subtract(first.center, second.center))
        assert apart > rendering.REACH * (first.radius + second.radius)


@given(seeds)
def test_relation_is_read_from_the_places(seed: int) -> None:
    """What the caption says of the places is what the picture shows."""
    scene = draw(seed)
    if scene.content.relation:
        first, second = (
            judge.PaintedObject("", None, thing.center, 1.0, np.ones((1, 1), bool))
            for thing in scene.things
        )
        assert judge.relation(first, second) == scene.content.relation


def test_centre_is_the_centroid() -> None:
    """Relations compare centroids: each shape's lies where its scene says."""
    for shape in scenes.SHAPES:
        thing = scenes.Thing(scenes.ObjectKind("red", shape), (0.4, 0.55), 0.2)
        rows, columns = np.nonzero(rendering.distance(thing, 512) < 0)
        center = ((columns.mean() + 0.5) / 512, (rows.mean() + 0.5) / 512)
        assert center == pytest.approx(thing.center, abs=2e-3)


def test_captions() -> None:
    """The three forms of a caption, with their articles."""
    star, circle = scenes.ObjectKind("red", "star"), scenes.ObjectKind("orange", "circle")
    assert scenes.caption(scenes.Content((circle,), None, "gray")) == (
        "an orange circle on a gray background"
    )
    assert scenes.caption(scenes.Content((star, circle), "left of", "white")) == (
        "a red star left of an orange circle on a white background"
    )
    assert scenes.caption(scenes.Content((circle, star), "above", "black")) == (
        "an orange circle above a red star on a black background"
    )


def test_caption_round_trip() -> None:
    """A caption says everything: each of the 4392 is read back as what it was made of."""
    contents = scenes.contents()
    assert len(contents) == 72 + 4320
    assert [scenes.read(scenes.caption(content)) for content in contents] == contents


def test_other_captions_are_not_read() -> None:
    """A caption from another world is an error."""
    with pytest.raises(KeyError):
        scenes.read("a red cat on a white background")


def test_words_are_single_tokens() -> None:
    """A word's heatmap is one token's map, for CLIP and for T5."""
    words = {word for content in scenes.contents() for word in scenes.caption(content).split()}
    for tokenizer in (clip_tokenizer(), t5_tokenizer()):
        for word in words:
            assert len(tokenizer(word, add_special_tokens=False).input_ids) == 1


def test_training_never_sees_held_out_captions() -> None:
    """Scores on held-out captions are about captions that are new to the model."""
    rng = np.random.default_rng(0)
    seen = {scenes.sample(rng, training=True).content for _ in range(2000)}
    assert not seen & set(scenes.held_out())
    assert {scenes.sample(rng).content for _ in range(2000)} & set(scenes.held_out())


def test_held_out_captions_are_mixed() -> None:
    """The first 200, which scores are made of, hold every colour, shape, relation, background."""
    first = scenes.held_out()[:200]
    kinds = [kind for content in first for kind in content.kinds]
    assert {kind.color for kind in kinds} == set(scenes.COLORS)
    assert {kind.shape for kind in kinds} == set(scenes.SHAPES)
    assert {content.relation for content in first} == {None, *scenes.RELATIONS}
    assert {content.background for content in first} == set(scenes.BACKGROUNDS)


def test_held_out_captions_stay_the_same() -> None:
    """Trained weights ship: another choice of captions would have been seen in training."""
    held_out = scenes.held_out()
    assert [len(content.kinds) for content in held_out].count(1) == 12
    text = "\n".join(map(scenes.caption, held_out))
    assert (len(held_out), hashlib.sha256(text.encode()).hexdigest()[:16]) == (
        300,
        "79e3f38ccd87a041",
    )
