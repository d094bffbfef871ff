"""What the page is told of matrices."""

from dataclasses import replace

import msgspec

from attn.explorer.description import describe
from attn.schema import block_columns, part, positions
from tests.helpers.toy_texts import LENGTH, PROMPT, make_growing
from tests.helpers.toy_texts import manifest as text_manifest
from tests.helpers.toy_traces import JOINT, manifest


def test_a_text():
    """Rows and columns of a text are its positions, and all layers of it have a common mean."""
    facts = describe(text_manifest())
    (kind,) = facts["matrices"]
    every = [[int(at >= PROMPT), at] for at in range(LENGTH)]
    assert (facts["screen"], kind["name"], kind["segments"]) == (
        "text",
        "denoiser",
        ["prompt", "generated"],
    )
    assert (kind["rows"], kind["columns"]) == (every, every)
    assert (kind["queries"], kind["keys"]) == ([*range(LENGTH)], [[at] for at in range(LENGTH)])
    assert [layer["index"] for layer in kind["layers"]] == [1, 4]
    assert kind["masses"] == ["all", "prompt", "generated"]


def test_windows_of_a_growing_text():
    """Each step says which rows and keys it has."""
    (kind,) = describe(make_growing()[0].manifest)["matrices"]
    assert kind["windows"] == [[0, 5, 0, 5], *([at, at + 1, 0, at + 1] for at in range(5, 11))]


def test_a_picture_has_its_other_blocks():
    """What places read of places is described beside the words, where it was kept."""
    layers = tuple(replace(layer, blocks=("image.text", "image.all")) for layer in JOINT)
    about = manifest(layers)
    about = replace(about, kept=replace(about.kept, blocks=("image.text", "image.all")))
    kinds = describe(about)["matrices"]
    assert [kind["name"] for kind in kinds] == ["denoiser", "denoiser (2)"]
    for kind, layer in zip(kinds, layers, strict=True):
        indices = positions(part(layer.keys, "all"))
        assert kind["grid"] == layer.grid
        assert sorted(at for keys in kind["keys"] for at in keys) == indices
        assert len(kind["columns"]) == len(block_columns(layer, "image.all", about.kept.columns))
    assert msgspec.json.encode(kinds)
