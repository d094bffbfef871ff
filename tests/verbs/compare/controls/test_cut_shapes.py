"""What a cut did to objects, by the judge of the shapes world."""

from types import SimpleNamespace

import numpy as np
import pytest

from attn.analysis.compare import images
from attn.demo import rendering, scenes
from attn.trace import trace
from attn.verbs.compare.controls.cut_shapes import shape_changes

BEFORE = "a red star left of a blue circle on a white background"
AFTER = "a red star left of a green circle on a white background"


def paint(caption):
    scene = scenes.arrange(scenes.read(caption), np.random.default_rng(3))
    return rendering.render(scene, 96)


@pytest.mark.parametrize(("word", "name"), [("blue", "colour"), ("star", "other colour")])
def test_changes_are_of_the_object_that_is_cut(word, name, monkeypatch):
    """Words name their object; pictures of other prompts have no row."""
    monkeypatch.setattr(trace, "open_trace", lambda folder: folder)
    monkeypatch.setattr(images, "image_pairs", lambda *folders: [map(paint, folders)])
    members = [
        (SimpleNamespace(prompt=prompt, seed=5, folder=BEFORE), SimpleNamespace(folder=AFTER))
        for prompt in (BEFORE, "a cat")
    ]
    values = shape_changes(SimpleNamespace(all_members=members), [word])
    assert {key for key, of in values.items() if set(of.values()) == {1.0}} == {name}
    assert values[name] == {(BEFORE, 5, 0): 1.0}
