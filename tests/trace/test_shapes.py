"""Tensors are held against the manifest before any of them is read."""

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import attn
from attn.errors import DamagedError
from attn.files.disk import encode_json
from attn.schema import block_columns
from attn.trace.shapes import Shapes
from tests.helpers.editing import edit
from tests.helpers.toy_traces import JOINT, manifest, tensors, write_trace

FILE, NAME = "attention/step-0001.safetensors", "1/map.image.text"


@pytest.fixture
def forged(tmp_path):
    """Change the tensors of one step of a trace that vouches for them all the same."""

    def forge(change):
        write_trace(tmp_path / "run")
        path = tmp_path / "run" / FILE
        held = load_file(path)
        change(held)
        save_file({name: np.ascontiguousarray(value) for name, value in held.items()}, path)
        data = path.read_bytes()
        facts = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
        edit(tmp_path / "run/trace.json", lambda about: about["shards"][1].update(facts))
        return attn.open(tmp_path / "run")

    return forge


CHANGES = {
    "an axis more": lambda held: held.update({NAME: held[NAME][np.newaxis]}),
    "an axis less": lambda held: held.update({NAME: held[NAME][0]}),
    "a column less": lambda held: held.update({NAME: held[NAME][..., :-1]}),
    "a sample more": lambda held: held.update({NAME: np.repeat(held[NAME], 2, 1)}),
    "a query less": lambda held: held.update({NAME: held[NAME][:, :, 1:]}),
    "whole numbers": lambda held: held.update({NAME: held[NAME].astype(np.int32)}),
    "no such tensor": lambda held: held.pop(NAME),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tensors_that_do_not_fit(forged, change):
    """Also of a step that is not the first, a tensor of another shape is an error with its file."""
    trace = forged(CHANGES[change])
    with pytest.raises(DamagedError, match=FILE.replace(".", "[.]")):
        trace.maps(1).load()


@pytest.mark.parametrize("level", ["mass", "means", "maps", "heads"])
def test_all_that_is_written_fits(level):
    """Every tensor of every level has the shape that follows from the manifest."""
    about = manifest(JOINT, level=level, branches=("cond", "uncond"))
    shapes = Shapes(about)
    for files in tensors(about).values():
        for name, file in files.items():
            dtype = {2: "F16", 4: "F32"}[file.dtype.itemsize]
            assert shapes.misfit(name, file.shape, dtype) is None
            assert shapes.misfit(name, (*file.shape, 1), dtype)


def test_columns_as_the_views_have_them():
    """The number of columns is that of what a view lays out, which would cost memory."""
    about = manifest(JOINT)
    for layer in about.layers:
        expected = len(block_columns(layer, "image.all", about.kept.columns))
        text = Shapes(about).misfit(f"{layer.index}/map.image.all", (1, 2, 3), "F32")
        assert text.endswith(f"x{expected}")


def test_sizes_that_are_lies(tmp_path):
    """A segment of millions of positions that no tensor has is refused before it is laid out."""
    about = manifest()
    long = replace(about.segments["cond"][0], stop=2**22)
    layers = tuple(replace(layer, keys=(long,)) for layer in about.layers)
    write_trace(tmp_path / "run")
    facts = {
        "segments": {"cond": [json.loads(encode_json(long))]},
        "layers": [json.loads(encode_json(layer)) for layer in layers],
    }
    edit(tmp_path / "run/trace.json", lambda data: data.update(facts))
    trace = attn.open(tmp_path / "run")
    with pytest.raises(DamagedError, match=r"mass\.image\.text has shape .*x4194304"):
        trace.mass(1)
