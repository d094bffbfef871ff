"""The export in the shape of sd3.5-attention-analysis' dump."""

import json
from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.words.stepavg import REBUILT, StepMeansOptions, run
from attn.schema import Column, Segment
from tests.helpers.toy_traces import JOINT, make_trace, manifest, plain_maps, stored, tensors


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Export a trace with maps of all keys; return it, its tensors and the folder."""
    folder = tmp_path_factory.mktemp("stepavg")
    about = manifest(JOINT)
    columns = [Column(token.segment, token.position) for token in about.tokens["cond"]]
    about = replace(about, kept=replace(about.kept, keys="all", columns=tuple(columns)))
    files = tensors(about)
    for path, file in run(make_trace(about, files), StepMeansOptions(half=False)).files.items():
        file.write(folder / path)
    return about, files, folder / "stepavg"


def test_arrays(exported):
    """Every array is recomputed from the tensors of the trace, steps in generation order."""
    about, files, folder = exported
    with np.load(folder / "stepavg_token_maps_v1.npz", allow_pickle=False) as held:
        arrays = dict(held)
    assert {name: array.shape for name, array in arrays.items()} == {
        "sum_token_map": (2, 6, 10, 24),
        "per_block_step_token_mean": (2, 2, 3, 24),
        "per_block_step_token_max": (2, 2, 3, 24),
        "N": (),
    }
    assert arrays["N"] == 6
    expected = 6 * plain_maps(about, files, [5], 1)
    np.testing.assert_allclose(arrays["sum_token_map"][1, :, :, 5], expected, rtol=1e-5)
    for name, measure in (("mean", "share"), ("max", "share_max")):
        own = arrays[f"per_block_step_token_{name}"][:, 1, 2]
        np.testing.assert_allclose(own, stored(files, JOINT[1], measure, 2), rtol=1e-6)


def test_metadata(exported):
    """The metadata has the fields of the original, and what it lacks."""
    about, _, folder = exported
    data = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    assert data["canonical_size"] == [6, 10]
    assert data["blocks"] == ["blocks.0.attn", "blocks.2.attn"]
    assert data["block_latent_sizes"]["blocks.0.attn"] == [3, 5]
    assert data["tokens"][0] == ["<s>", "A</w>", "cat</w>", ",</w>", "a</w>", "bob", "cat</w>"]
    assert data["special_mask"][0] == [True] + [False] * 6
    assert (data["T_from_model"], data["batch_size"]) == (24, 2)
    assert data["negative_prompt"] == [about.request.negative] * 2
    assert (data["step_order"], data["timesteps"]) == ("generation", [1000.0, 999.0, 998.0])
    assert data["segments"] == {"clip": [0, 11], "t5": [11, 24]}
    assert data["timestamp"] is None


def test_spelling():
    """Tokens are as their tokenizer spells them; where a trace does not say it, that is said."""
    about = manifest(JOINT)
    assert run(make_trace(about), StepMeansOptions()).notes == (REBUILT,)
    spelled = [replace(token, piece=f"{token.text}</w>") for token in about.tokens["cond"]]
    about = replace(about, tokens={"cond": tuple(spelled)})
    result = run(make_trace(about), StepMeansOptions())
    tokens = result.files["stepavg/metadata.json"].content["tokens"][0]
    assert (tokens[:2], result.notes) == (["<s></w>", "A</w>"], ())


def test_segments_behind_the_picture(exported, tmp_path):
    """Behind a picture, as in SD3.5, the text still begins at 0 on the axis of keys."""
    about, files, _ = exported
    behind = [
        replace(segment, start=segment.start + 60, stop=segment.stop + 60)
        for segment in about.segments["cond"]
        if segment.kind == "text"
    ]
    about = replace(about, segments={"cond": (Segment("image", "image", 0, 60), *behind)})
    run(make_trace(about, files), StepMeansOptions()).files["stepavg/metadata.json"].write(
        tmp_path / "m"
    )
    data = json.loads((tmp_path / "m").read_text(encoding="utf-8"))
    assert data["segments"] == {"clip": [0, 11], "t5": [11, 24]}


def test_half():
    """By default numbers are rounded once, to half precision."""
    about = manifest(JOINT)
    archive = run(make_trace(about), StepMeansOptions()).files["stepavg/stepavg_token_maps_v1.npz"]
    assert archive.arrays["sum_token_map"].dtype == np.float16
