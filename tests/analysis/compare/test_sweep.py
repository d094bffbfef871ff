"""Differences between requests, and sweeps over one of them."""

from dataclasses import replace

import numpy as np
import pytest

from attn.analysis.compare.differences import Difference, find_differences, list_differences
from attn.analysis.compare.pairs import PairOptions, compare_pair
from attn.analysis.compare.sweep import (
    find_files,
    find_scales,
    make_sweep,
    name_training,
    name_unit,
    place_files,
)
from attn.analysis.tables import make_frame
from attn.schema import Lora
from tests.helpers.toy_traces import make_trace, manifest


def asked(**changes):
    """Return a manifest of a request."""
    about = manifest(samples=1)
    return replace(about, request=replace(about.request, **changes))


def lora(scale, sha256="ab" * 32):
    """Return the LoRAs of a request."""
    return {"loras": (Lora("x/style.safetensors", scale, sha256),)}


@pytest.mark.parametrize(
    ("base", "variant", "text"),
    [
        ({}, {"seed": 5}, ""),
        ({"guidance": 3.0, "negative": ""}, {"guidance": 7.0, "negative": "dog"},
         "negative none → dog, guidance 3 → 7"),
        ({}, lora(0.8), "LoRA style none → 0.8"),
        (lora(0.8), lora(0.8, "cd" * 32), "LoRA style 0.8 (abababab) → 0.8 (cdcdcdcd)"),
        ({"options": {"sketch": "a/b.png", "x": 1}}, {"options": {"sketch": "c/b.png", "x": 2}},
         "x 1 → 2"),
    ],
)  # fmt: skip
def test_differences(base, variant, text):
    """Every setting that differs is listed with both values, but for the seed."""
    assert list_differences(find_differences(asked(**base), asked(**variant))) == text


def scale(value, *more):
    """Return the differences of a variant with a LoRA."""
    return [Difference("LoRA style", None, value), *more]


GUIDANCE = Difference("guidance", 3.0, 7.0)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([scale(0.5), scale(1.0)], ("LoRA style", 0.0, [0.5, 1.0])),
        ([scale(0.5, GUIDANCE), scale(1.0, GUIDANCE)], ("LoRA style", 0.0, [0.5, 1.0])),
        ([[GUIDANCE], [Difference("guidance", 3.0, 5.0)], []], ("guidance", 3.0, [7.0, 5.0, 3.0])),
        ([scale(0.5)], None),
        ([scale(0.5), []], None),
        ([scale(0.5), [GUIDANCE]], None),
        ([scale(0.5), scale("unet=0.8,te=0.4")], None),
        ([scale(0.5), [Difference("LoRA eyes", None, 1.0)]], None),
        ([[], []], None),
    ],
)
def test_what_is_a_sweep(differences, expected):
    """Runs that differ in one number alone are a sweep; a LoRA that is not there has scale 0."""
    assert find_scales(differences) == expected


def files(*names, strength=1.0):
    """Return the differences of variants with one LoRA each."""
    return [[Difference(f"LoRA {name}", None, strength)] for name in names]


@pytest.mark.parametrize(
    ("differences", "found", "places", "unit"),
    [
        (files("style-000010", "style-000002", "style"), ("10", "2", "end"), [10, 2, 18], "epoch"),
        (files("v2-e1-s500", "v2-e2-s1000"), ("1-500", "2-1000"), [1, 2], "file"),
        (files("checkpoint-500", "checkpoint-1500", strength=0.8), ("500", "1500"), [500, 1500],
         "step"),
        (files("style-0", "style-3"), ("0", "3"), [1, 2], "file"),
        (files("epoch-07", "epoch"), ("7", "end"), [7, 14], "epoch"),
        (files("style-1"), None, None, None),
        (files("style-1", "eyes-2"), None, None, None),
        (files("style", "eyes"), None, None, None),
        ([*files("s-1"), *files("s-2", strength=0.5)], None, None, None),
        ([*files("s-1"), [*files("s-2")[0], GUIDANCE]], None, None, None),
        ([*files("s-1"), [Difference("LoRA s-2", 1.0, None)]], None, None, None),
        ([], None, None, None),
    ],
)  # fmt: skip
def test_what_is_a_training(differences, found, places, unit):
    """Files whose names are equal but for numbers are those of one training, at these numbers."""
    assert find_files(differences) == found
    if found is not None:
        assert place_files(found) == places
        assert name_unit(differences, found) == unit


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("style-000010", "style-000002", "style"), "file of LoRA style"),
        (("v2-s1", "v2-s10"), "file of LoRA v2-s"),
        (("1", "12"), "LoRA file"),
    ],
)
def test_a_training_has_a_name(names, told):
    """The axis of a training's files says of which LoRA they are."""
    assert name_training(files(*names)) == told
    assert name_training(files(*names), "epoch") == told.replace("file", "epoch")


SEEDS = range(5)
FACTORS = {0.5: 0.0, 1.0: 0.02, 2.0: 0.3}
LEVELS = {0.5: 2.0, 1.0: 4.5, 2.0: 20.0}


@pytest.fixture(scope="module")
def sweep():
    """Return a sweep in which the words follow the scale, from the second one on."""
    about = manifest(samples=1)
    rng = np.random.default_rng(1)
    runs = []
    for at in (2.0, 0.5, 1.0):
        pairs = []
        for seed in SEEDS:
            trace = make_trace(replace(about, request=replace(about.request, seed=seed)))
            pair = compare_pair(trace, trace, PairOptions(), {})
            mass = pair.base.mass.copy()
            word = next(i for i, term in enumerate(pair.terms) if term.text == "cat")
            mass[:, word] *= 1 + FACTORS[at] + (rng.normal() / 1000 if FACTORS[at] else 0)
            level = LEVELS[at] + rng.normal() / 100
            images = np.array([[level, 0.5]])
            pairs.append(replace(pair, variant=replace(pair.variant, mass=mass), images=images))
        runs.append((f"style:{at}", at, pairs))
    return make_sweep("LoRA style", 0.0, runs), runs


def test_marks(sweep):
    """It works where the word first leaves 0, and breaks where images change twice as fast."""
    result, _ = sweep
    assert (result.word.term.text, result.works, result.breaks) == ("cat", 1.0, 2.0)
    assert (result.visible, result.call(result.visible)) == (1.0, "scale 1")
    assert result.table["scale"].tolist() == [0.5, 1.0, 2.0]
    assert result.table["works"].tolist() == [0, 1, 0]
    assert result.table["breaks"].tolist() == [0, 0, 1]


def test_table(sweep):
    """The numbers of a scale are means over its pairs, in float64."""
    result, runs = sweep
    frame = make_frame(result.table)
    row = frame[frame["scale"] == 2.0].to_dict("records")[0]
    pairs = next(pairs for _, at, pairs in runs if at == 2.0)
    word = next(i for i, term in enumerate(pairs[0].terms) if term.text == "cat")
    changes = [
        np.mean(pair.variant.mass[0, word, :, 0] - pair.base.mass[0, word, :, 0]) for pair in pairs
    ]
    levels = [pair.images[0, 0] for pair in pairs]
    before = [pair.images[0, 0] for pair in next(of for _, at, of in runs if at == 1.0)]
    assert row["change"] == pytest.approx(np.mean(changes))
    assert row["low"] < row["change"] < row["high"]
    assert row["level"] == pytest.approx(np.mean(levels))
    assert row["step"] == pytest.approx(np.mean(np.subtract(levels, before)) / (2.0 - 1.0))


def test_steady(sweep):
    """Where images change at an even pace nothing breaks, and without intervals nothing works."""
    _, runs = sweep
    even = [
        (label, at, [replace(pair, images=np.array([[3 * at, 0.5]])) for pair in pairs[:3]])
        for label, at, pairs in runs
    ]
    result = make_sweep("LoRA style", 0.0, even)
    assert (result.works, result.breaks) == (None, None)


def test_invisible(sweep):
    """However much faster images change, nothing breaks where nobody would see the difference."""
    _, runs = sweep
    faint = [
        (label, at, [replace(pair, images=pair.images / 8) for pair in pairs])
        for label, at, pairs in runs
    ]
    result = make_sweep("LoRA style", 0.0, faint)
    assert (result.visible, result.breaks) == (None, None)


def test_files(sweep):
    """Files of a training are swept by their numbers, in a column of their own."""
    _, runs = sweep
    numbers = {0.5: 2.0, 1.0: 10.0, 2.0: 18.0}
    moved = [(f"style-{at}", numbers[at], pairs) for _, at, pairs in runs]
    result = make_sweep("LoRA epoch", 0.0, moved, files=("2", "10", "end"), unit="epoch")
    assert result.table["file"].tolist() == [2.0, 10.0, 18.0]
    assert [result.spell(value) for value in (0.0, 2.0, 18.0)] == ["none", "2", "end"]
    assert [result.call(value) for value in (2.0, 18.0)] == ["epoch 2", "the last file"]


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_told_of_a_broken_sweep(sweep, sign):
    """The leading word, and the point of the sentences, are of what does not break the images."""
    _, runs = sweep
    moved = []
    for label, at, pairs in runs:
        term = next(i for i, term in enumerate(pairs[0].terms) if term.text == "bobcat")
        factor = np.ones((len(pairs[0].terms), 1, 1))
        factor[term] = 9.0 if at == 2.0 else 1.0  # the break moves another word, and more
        moved.append(
            (
                label,
                sign * at,
                [
                    replace(p, variant=replace(p.variant, mass=p.variant.mass * factor))
                    for p in pairs
                ],
            )
        )
    result = make_sweep("LoRA style", 0.0, moved)
    assert (result.breaks, result.told.scale) == (sign * 2.0, sign * 1.0)
    assert [point.scale for point in result.whole] == sorted([sign * 0.5, sign * 1.0])
    assert result.word.term.text == "cat"
    assert len(result.table["scale"]) == 3
