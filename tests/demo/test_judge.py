"""Finding objects in pictures, and comparing them with captions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attn.demo import judge, rendering, scenes
from attn.demo.scenes import Content, ObjectKind

STAR, CIRCLE = ObjectKind("red", "star"), ObjectKind("orange", "circle")
CONTENT = Content((STAR, CIRCLE), "left of", "white")


def paint(content: Content, size: int = 128, seed: int = 0) -> np.ndarray:
    return rendering.render(scenes.arrange(content, np.random.default_rng(seed)), size)


def blur(picture: np.ndarray, times: int) -> np.ndarray:
    """Average each pixel with its neighbours, again and again, as a poor decoder does."""
    blurred = picture.astype(float)
    for axis in (0, 1) * times:
        padded = np.pad(blurred, [(1, 1) if axis == each else (0, 0) for each in range(3)], "edge")
        before, after = (padded.take(range(at, at + len(picture)), axis) for at in (0, 2))
        blurred = (before + 2 * blurred + after) / 4
    return blurred.round().astype(np.uint8)


@pytest.mark.parametrize("size", [96, 128])
def test_true_scenes_agree_with_their_captions(size: int) -> None:
    """The judge that scores models makes no mistake on 100 true pictures."""
    rng = np.random.default_rng(size)
    for _ in range(100):
        scene = scenes.sample(rng)
        result = judge.find(rendering.render(scene, size))
        assert judge.agreement(scene.content, result).is_complete, scene


def test_masks_are_those_of_the_scene() -> None:
    """Heatmaps are scored against the masks that the judge finds: they are the true ones."""
    scene = scenes.arrange(CONTENT, np.random.default_rng(1))
    result = judge.find(rendering.render(scene, 128))
    for kind, true in zip(CONTENT.kinds, rendering.masks(scene, 128), strict=False):
        match = judge.match(kind, result)
        assert match is not None
        assert (match.mask & true).sum() > 0.97 * (match.mask | true).sum()


@pytest.mark.parametrize("background", scenes.BACKGROUNDS)
@pytest.mark.parametrize("color", scenes.COLORS)
def test_soft_edges_are_no_objects(color: str, background: str) -> None:
    """Between orange and white lies a rim of yellow, which is nothing to be found."""
    content = Content((ObjectKind(color, "star"),), None, background)
    result = judge.find(blur(paint(content), 4))
    assert judge.agreement(content, result).is_complete


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        (replace(CONTENT, background="gray"), {"background"}),
        (replace(CONTENT, relation="right of"), {"relation"}),
        (replace(CONTENT, kinds=(ObjectKind("red", "square"), CIRCLE)), {"shapes"}),
        (
            replace(CONTENT, kinds=(ObjectKind("green", "star"), CIRCLE)),
            {"colors", "shapes", "relation"},
        ),
        (replace(CONTENT, kinds=(STAR,), relation=None), {"number"}),
    ],
)
def test_what_is_wrong_is_named(asked: Content, wrong: set[str]) -> None:
    """Each way in which a picture can fail its caption is told from the others."""
    verdict = judge.agreement(asked, judge.find(paint(CONTENT)))
    fields = ("background", "number", "colors", "shapes", "relation")
    right = {name: np.all(getattr(verdict, name) is not False) for name in fields}
    right |= {name: all(getattr(verdict, name)) for name in ("colors", "shapes")}
    assert {name for name in fields if not right[name]} == wrong
    assert not verdict.is_complete


def test_shapes_are_judged_one_by_one() -> None:
    """With one of two shapes wrong, the other counts as right."""
    requested = replace(CONTENT, kinds=(STAR, ObjectKind("orange", "square")))
    verdict = judge.agreement(requested, judge.find(paint(CONTENT)))
    assert (verdict.colors, verdict.shapes) == ((True, True), (True, False))


def test_two_objects_of_one_colour_are_two() -> None:
    """A picture with an object too many has the wrong number of them."""
    item = Content((STAR,), None, "white")
    twice = np.concatenate([paint(item, 64), paint(item, 64, seed=1)], axis=1)
    square = np.concatenate([twice, np.full_like(twice, 245)])
    result = judge.find(square)
    assert [it.color for it in result.objects] == ["red", "red"]
    assert not judge.agreement(item, result).number


def test_specks_are_no_objects() -> None:
    """Noise of single pixels changes nothing."""
    picture = paint(CONTENT)
    specks = np.random.default_rng(0).random(picture.shape[:2]) < 0.01
    picture[specks] = scenes.COLORS["blue"]
    assert judge.agreement(CONTENT, judge.find(picture)).is_complete


def test_colours_may_be_off() -> None:
    """A model's red is rarely the exact one."""
    picture = np.clip(paint(CONTENT) * 0.9 + 12, 0, 255).astype(np.uint8)
    assert judge.agreement(CONTENT, judge.find(picture)).is_complete


def test_other_shapes_have_no_name() -> None:
    """A long bar is no square, though no shape is nearer."""
    picture = np.full((128, 128, 3), 245, np.uint8)
    picture[60:70, 10:110] = scenes.COLORS["red"]
    (bar,) = judge.find(picture).objects
    assert (bar.color, bar.shape) == ("red", None)
    assert bar.fit < judge.SMALLEST_FIT


def test_empty_picture_holds_nothing() -> None:
    """A plain picture has a background and no object, so no colour, shape or relation is right."""
    result = judge.find(np.full((64, 64, 3), 20, np.uint8))
    assert (result.background, result.objects) == ("black", ())
    verdict = judge.agreement(CONTENT, result)
    assert verdict == judge.Verdict(False, False, (False, False), (False, False), False)
