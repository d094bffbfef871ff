"""What the form of a family is made of, and what its fields hold when another model is chosen."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from attn.backends import find
from attn.errors import RequestError
from attn.studio.worker import families
from attn.studio.worker.families import describe_family, values_after

DEFAULTS = {"a": (3, 2.0, 64, 96), "b": (31, 5.0, 112, 80)}
MULTIPLE = {"a": 8, "b": 16}


class Session:
    """Fills in the defaults of a model, and takes sizes of its multiple."""

    def __init__(self, model):
        self.model = model

    def complete(self, request):
        names = ("steps", "guidance", "width", "height")
        defaults = dict(zip(names, DEFAULTS[self.model], strict=True))
        filled = {n: v for n, v in defaults.items() if getattr(request, n) is None}
        done = replace(request, **filled)
        if done.steps < 1 or done.width < 1 or done.width % MULTIPLE[self.model]:
            raise RequestError("no")
        return done


@pytest.mark.parametrize(
    ("values", "after"),
    [
        ((3, 2.0, "64x96"), (31, 5.0, "112x80")),
        ((7, 2.5, "96x64"), (7, 2.5, "96x64")),
        ((0, 2.0, "88x64"), (31, 5.0, "112x80")),
        ((2.5, 9, "axb"), (31, 9, "112x80")),
        ((None, None, ""), (None, None, "")),
    ],
)
def test_another_model(values, after, monkeypatch):
    """What was typed stays where the model takes it; defaults follow the model."""
    family = SimpleNamespace(
        example_prompt="a cat", Options=object, open=lambda model, *_: Session(model)
    )
    monkeypatch.setattr(families, "find", str)
    monkeypatch.setattr(families, "guarded", lambda name: family)
    names = ("steps", "guidance", "size")
    held = dict(zip(names, values, strict=True))
    assert values_after("toy", "a", "b", held) == dict(zip(names, after, strict=True))


@pytest.mark.parametrize(
    ("backend", "loras"), [("scribble", ["demo"]), ("sd35", ["demo:sd35"]), ("mmada", [])]
)
def test_loras_of_a_family(backend, loras):
    """Of the demos' LoRAs those are offered that fit."""
    assert describe_family(find(backend), "demo")["loras"] == loras


@pytest.mark.parametrize(("found", "lacks"), [(None, ["canny"]), (object(), [])])
def test_what_lacks_a_package(found, lacks, monkeypatch):
    """Edges of a photo are said to be missing where OpenCV is, and what brings it."""
    monkeypatch.setattr(families, "find_spec", lambda name: found)
    options = {each["name"]: each for each in describe_family(find("scribble"), "demo")["options"]}
    assert options["edges"]["lacks"] == lacks
    assert options["edges"]["help"].endswith("canny needs pip install 'attn[sketch]'")
    assert options["fit"]["lacks"] == []
